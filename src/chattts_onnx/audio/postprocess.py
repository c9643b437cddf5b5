"""Between the vocoder and the encoder: speed, sample rate, gain and limiter, as one incremental chain.

The order is fixed: tempo first (it is cheapest at the model's rate), then the rate, then the fixed gain and the limiter
last, because a resampling filter may overshoot. Nothing in the chain depends on how the sound is cut into chunks, so a
streamed answer, a file and a test are the same samples.
"""

from __future__ import annotations

from typing import Optional

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.loudness import amplitude, soft_limit
from chattts_onnx.audio.resample import create_resampler
from chattts_onnx.audio.stretch import TimeStretcher

FloatArray = npt.NDArray[np.float32]


class PostProcessor:
    """Push samples at the model's rate, get samples ready for an encoder."""

    def __init__(
        self,
        sample_rate: int,
        target_rate: Optional[int] = None,
        *,
        speed: float = 1.0,
        gain_db: float = 0.0,
        limit: bool = True,
    ) -> None:
        """Build the chain.

        Args:
            sample_rate: Of what is pushed, in Hz.
            target_rate: Of what is returned; None: unchanged.
            speed: 0.25 to 4, tempo without change of pitch.
            gain_db: A fixed gain; see `loudness.gain_for_loudness`.
            limit: Keep the result inside [-1, 1] by the soft limiter.

        Raises:
            InputError: the speed is out of range.
        """
        self.sample_rate = target_rate or sample_rate
        self.speed = speed
        self._stretcher = TimeStretcher(sample_rate, speed)
        self._resampler = create_resampler(sample_rate, self.sample_rate)
        self._gain = np.float32(amplitude(gain_db))
        self._limit = limit

    def push(self, samples: FloatArray) -> FloatArray:
        """Add samples; returns those that are ready."""
        return self._level(self._resampler.push(self._stretcher.push(np.asarray(samples, np.float32))))

    def flush(self) -> FloatArray:
        """The rest."""
        rest = self._resampler.push(self._stretcher.flush())
        return self._level(np.concatenate((rest, self._resampler.flush())))

    def seconds(self, input_seconds: float) -> float:
        """Where a moment of the input lies in the output: subtitles need it."""
        return input_seconds / self.speed

    def _level(self, samples: FloatArray) -> FloatArray:
        if self._gain != 1.0:
            samples = samples * self._gain
        return soft_limit(samples) if self._limit else samples


def fade(samples: FloatArray, sample_rate: int, *, fade_in_ms: float = 0.0, fade_out_ms: float = 0.0) -> FloatArray:
    """Fade the ends of a whole signal with raised cosines; returns a copy."""
    result = np.array(samples, np.float32)
    for milliseconds, view in ((fade_in_ms, result), (fade_out_ms, result[::-1])):
        count = min(len(result), round(sample_rate * milliseconds / 1000))
        if count:
            view[:count] *= (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / count)).astype(np.float32)
    return result


def postprocess(pcm: npt.ArrayLike, sample_rate: int, target_sample_rate: int) -> bytes:
    """Float samples to a finished 16-bit mono WAV in memory: resampled, limited, converted.

    Args:
        pcm: Samples in about [-1, 1], [n].
        sample_rate: Of ``pcm``, in Hz.
        target_sample_rate: Of the WAV, in Hz.

    Returns:
        The bytes of the file, its header with exact sizes.
    """
    from chattts_onnx.audio.formats import to_bytes

    chain = PostProcessor(sample_rate, target_sample_rate)
    samples = np.concatenate((chain.push(np.asarray(pcm, np.float32)), chain.flush()))
    return to_bytes(samples, target_sample_rate, format="wav")
