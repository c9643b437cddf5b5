"""Change of sample rate, incremental: soxr where it is installed, else an own polyphase filter.

soxr is better and faster, but it is an optional package without wheels for every platform, and a model at 24 kHz must
still be able to answer a telephone at 8 kHz. The own filter is a windowed sinc (Kaiser, beta 9, 32 zero crossings a
side): pass band to 0.92 of the lower Nyquist frequency, stop band at least 80 dB down. Both give the same samples
however the input is cut into pieces.
"""

from __future__ import annotations

from math import gcd
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_ZERO_CROSSINGS = 32
_KAISER_BETA = 9.0
_ROLLOFF = 0.95


class Resampler(Protocol):
    """What both implementations offer."""

    def push(self, samples: FloatArray) -> FloatArray:
        """Add samples; returns those that are ready."""

    def flush(self) -> FloatArray:
        """The rest."""


def create_resampler(source_rate: int, target_rate: int) -> Resampler:
    """The best resampler available between two rates, in Hz."""
    if source_rate <= 0 or target_rate <= 0:
        raise ValueError(f"sample rates must be positive, not {source_rate} and {target_rate}")
    if source_rate == target_rate:
        return _Unchanged()
    try:
        import soxr
    except ImportError:
        return PolyphaseResampler(source_rate, target_rate)
    return _SoxrResampler(soxr.ResampleStream(source_rate, target_rate, 1, dtype="float32"))


def resample(samples: FloatArray, source_rate: int, target_rate: int) -> FloatArray:
    """Resample a whole signal, float32 [n] to about ``n * target_rate / source_rate`` samples."""
    resampler = create_resampler(source_rate, target_rate)
    return np.concatenate((resampler.push(np.asarray(samples, np.float32)), resampler.flush()))


class _Unchanged:
    def push(self, samples: FloatArray) -> FloatArray:
        return samples

    def flush(self) -> FloatArray:
        return np.zeros(0, np.float32)


class _SoxrResampler:
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def push(self, samples: FloatArray) -> FloatArray:
        ready: FloatArray = self._stream.resample_chunk(np.ascontiguousarray(samples, np.float32))
        return ready

    def flush(self) -> FloatArray:
        rest: FloatArray = self._stream.resample_chunk(np.zeros(0, np.float32), last=True)
        return rest


class PolyphaseResampler:
    """Windowed-sinc resampling by a ratio of whole numbers, in NumPy alone.

    The phases of the filter repeat, so a block of outputs is one matrix times a stretch of input, and many blocks are
    one product of matrices: that is where NumPy is fast. A block reads about twice the filter's length.
    """

    def __init__(self, source_rate: int, target_rate: int) -> None:
        divisor = gcd(source_rate, target_rate)
        self._up = target_rate // divisor
        self._down = source_rate // divisor
        bank = _filter_bank(self._up, self._down)
        taps = bank.shape[1]
        periods = -(-taps // self._down)
        self._block_in = periods * self._down
        self._block_out = periods * self._up
        self._matrix = np.zeros((taps + self._block_in, self._block_out), np.float32)
        for column in range(self._block_out):
            first, phase = divmod(column * self._down, self._up)
            self._matrix[first : first + taps, column] = bank[phase]
        # Output 0 is centred on input 0, so the filter begins before the signal does.
        self._buffer = np.zeros(taps // 2 - 1, np.float32)
        self._received = 0
        self._made = 0

    def push(self, samples: FloatArray) -> FloatArray:
        """Add samples; returns the blocks whose whole filter has arrived."""
        self._received += len(samples)
        self._buffer = np.concatenate((self._buffer, np.asarray(samples, np.float32)))
        return self._run((len(self._buffer) - len(self._matrix)) // self._block_in + 1)

    def flush(self) -> FloatArray:
        """The rest: the signal is taken as silent after its end."""
        total = -(-self._received * self._up // self._down)
        missing = total - self._made
        blocks = -(-missing // self._block_out)
        self._buffer = np.concatenate((self._buffer, np.zeros(len(self._matrix) + self._block_in, np.float32)))
        return self._run(blocks)[: max(0, missing)]

    def _run(self, blocks: int) -> FloatArray:
        if blocks <= 0:
            return np.zeros(0, np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, len(self._matrix))[:: self._block_in]
        result = np.ascontiguousarray(windows[:blocks]) @ self._matrix
        self._buffer = self._buffer[blocks * self._block_in :].copy()
        self._made += result.size
        output: FloatArray = result.ravel()
        return output


def _filter_bank(up: int, down: int) -> FloatArray:
    """One filter per phase: [up, taps], each of unit gain at zero frequency."""
    cutoff = _ROLLOFF * min(1.0, up / down)
    half = int(np.ceil(_ZERO_CROSSINGS / cutoff))
    offsets = np.arange(-half + 1, half + 1)[None, :] - np.arange(up)[:, None] / up
    window = np.i0(_KAISER_BETA * np.sqrt(np.maximum(0.0, 1.0 - np.square(offsets / half)))) / np.i0(_KAISER_BETA)
    bank = cutoff * np.sinc(cutoff * offsets) * window
    bank /= bank.sum(axis=1, keepdims=True)
    result: FloatArray = bank.astype(np.float32)
    return result
