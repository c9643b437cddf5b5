"""Windowed decoding with remembered context: what a stream keeps between two chunks, and nothing more.

What has seen its whole look-ahead is settled: the graphs remember it layer by layer (`convert/history.py`), the
rounds of phase as the spectrum before, and the inverse STFT as its overlap. What comes after it is decoded again with
the next chunk. Time is linear in the length and memory constant. With the whole receptive field as look-ahead the
result is the one-shot waveform; with less, the frames next to the edge of what is known are approximate, and because
each is windowed and overlapped with its neighbours from another chunk, a join is a cross-fade and never a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, Optional, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.istft import ComplexArray, InverseSTFT
from chattts_onnx.audio.phase import consistent_phase, context_frames
from chattts_onnx.config import AudioConfig

AnyArray = npt.NDArray[Any]
FloatArray = npt.NDArray[np.float32]

_GROWTH = 1.5
"""Tokens waited for while a chunk plays, over the tokens in it: no gap at a real-time factor below 1 / 1.5, or 1 / 2
while the look-ahead grows."""
_LOOKAHEAD_STEP_TOKENS = 2
"""From chunk to chunk; with 1 the third chunk of some utterances is less than 40 dB from the one shot."""


@dataclass(frozen=True)
class Stage:
    """A graph of convolutions that is run window after window."""

    run: Callable[[AnyArray, Optional[FloatArray], int], Tuple[AnyArray, FloatArray]]
    """(window, what the run before remembered, frames to remember now) to (result, what to remember)."""
    context: int
    """Frames to either side that one frame of the result depends on."""


def exact_lookahead_tokens(config: AudioConfig, mel: Stage, spectrum: Stage) -> int:
    """Tokens of future context with which a stream equals the one-shot waveform."""
    frames = mel.context + spectrum.context + _phase_context(config)
    return -(-frames // config.frames_per_token)


class VocoderStream:
    """One utterance in the making: `push` tokens, get samples, `finish` once."""

    def __init__(
        self,
        config: AudioConfig,
        mel: Stage,
        spectrum: Stage,
        *,
        lookahead_tokens: Optional[int],
        first_lookahead_tokens: int,
        first_chunk_tokens: int,
        max_chunk_tokens: int,
    ) -> None:
        """Begin an utterance: ``mel`` makes tokens [n, width] a log-mel [n_mels, F], ``spectrum`` that [F, bins]."""
        per_token = config.frames_per_token
        self._per_token = per_token
        self._config = config
        self._mel = mel
        self._spectrum = spectrum
        self._phase_context = _phase_context(config)
        exact = exact_lookahead_tokens(config, mel, spectrum)
        lookahead = exact if lookahead_tokens is None else min(exact, lookahead_tokens)
        self._full_lookahead = lookahead * per_token
        first = lookahead if lookahead_tokens is None else min(lookahead, first_lookahead_tokens)
        self._lookahead = first * per_token
        self._chunk = max(1, first_chunk_tokens) * per_token
        self._max_chunk = max(first_chunk_tokens, max_chunk_tokens) * per_token
        self._istft = InverseSTFT(config.n_fft, config.hop_length)
        self._tokens: List[AnyArray] = []
        self._token_count = 0
        self._mel_past: Optional[FloatArray] = None
        self._spectrum_past: Optional[FloatArray] = None
        self._settled: Optional[ComplexArray] = None
        self._kept_frames = 0
        self._done_frames = 0
        self._finished = False

    @property
    def token_count(self) -> int:
        """Tokens pushed so far."""
        return self._token_count

    def push(self, tokens: npt.NDArray[Any]) -> FloatArray:
        """Add tokens [k, width]; returns the samples now ready (float32, empty until a chunk is full)."""
        if self._finished:
            raise ValueError("the stream is finished: open another one for the next utterance")
        parts: List[FloatArray] = []
        # One token at a time: where a chunk ends, and how much future it has seen, must not depend on how the tokens
        # arrived, or the same seed would give slightly different samples on a busier machine.
        for start in range(len(tokens)):
            self._tokens.append(np.array(tokens[start : start + 1]))  # the caller may reuse its buffer
            self._token_count += 1
            ready = self._per_token * self._token_count - self._lookahead
            if ready - self._done_frames >= self._chunk:
                parts.append(self._decode_to(ready))
                self._plan()
        return _joined(parts)

    def finish(self) -> FloatArray:
        """The rest of the utterance."""
        if self._finished:
            return np.zeros(0, np.float32)
        total = self._per_token * self._token_count
        rest = [self._decode_to(total)] if total > self._done_frames else []
        rest.append(self._istft.finish())
        self._finished = True
        self._tokens = []
        self._mel_past = self._spectrum_past = self._settled = None
        return _joined(rest)

    def _plan(self) -> None:
        """How much future the next chunk waits for, and how long it is: both grow out of what is being played."""
        step = min(self._full_lookahead - self._lookahead, _LOOKAHEAD_STEP_TOKENS * self._per_token)
        self._lookahead += step
        self._chunk = min(self._max_chunk, max(self._chunk, int(self._chunk * _GROWTH) - step))

    def _decode_to(self, end: int) -> FloatArray:
        """Make the spectral frames [done, end) and return the samples that they complete."""
        start, per_token, config = self._kept_frames, self._per_token, self._config
        total = per_token * self._token_count
        # What has seen less than the whole look-ahead is made again, or its error would stay in the layers' memory.
        keep = max(start, min(end, total - self._full_lookahead)) - start
        tokens = self._tokens[0] if len(self._tokens) == 1 else np.concatenate(self._tokens)
        phase_end = min(total, end + self._phase_context)
        mel_end = min(total, phase_end + self._spectrum.context)
        last = -(-(mel_end + self._mel.context - start) // per_token)
        mel, self._mel_past = self._mel.run(tokens[:last], self._mel_past, keep)
        spectrum, self._spectrum_past = self._spectrum.run(mel[:, : mel_end - start], self._spectrum_past, keep)
        spectrum = spectrum[: phase_end - start]
        if self._settled is not None:
            spectrum = np.concatenate((self._settled, spectrum))
            start -= len(self._settled)
        kept = self._kept_frames + keep - start
        self._settled = spectrum[max(0, kept - self._phase_context) : kept].copy()
        spectrum = consistent_phase(spectrum, config.n_fft, config.hop_length, config.phase_rounds, first_frame=start)
        samples = self._istft.push(spectrum[self._done_frames - start : end - start])
        self._tokens = [tokens[keep // per_token :].copy()]
        self._kept_frames += keep
        self._done_frames = end
        return samples


def _phase_context(config: AudioConfig) -> int:
    return context_frames(config.n_fft, config.hop_length, config.phase_rounds)


def _joined(parts: List[FloatArray]) -> FloatArray:
    if not parts:
        return np.zeros(0, np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
