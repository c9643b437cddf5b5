"""Windowed decoding with cached context: what a stream keeps between two chunks, and nothing more.

Every spectral frame is made once, from a window that holds its context: mel frames that no later token can change are
cached, the few after them are decoded again with the next chunk, and the inverse STFT carries its overlap. Time is
linear in the length and memory constant. With the whole receptive field as look-ahead the result is the one-shot
waveform; with less, the frames next to the edge of what is known are approximate, and because each is windowed and
overlapped with its neighbours from another chunk, a join is a cross-fade and never a step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, List, Optional

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.istft import ComplexArray, InverseSTFT
from chattts_onnx.config import AudioConfig

FloatArray = npt.NDArray[np.float32]

_GROWTH = 1.5
"""Tokens waited for while a chunk plays, over the tokens in it: no gap at a real-time factor below 1 / 1.5."""
_LOOKAHEAD_STEP_TOKENS = 1
_REACH_TOKENS = 8
"""Context to either side with which an approximate mel frame is final, at least."""


@dataclass(frozen=True)
class MelContext:
    """A graph that turns tokens into mel frames, and how far each frame sees."""

    to_mel: Callable[[npt.NDArray[Any]], FloatArray]
    """[n, width] to [n_mels, frames_per_token * n]."""
    frames: int
    """Mel frames to either side that one frame depends on."""


class VocoderStream:
    """One utterance in the making: `push` tokens, get samples, `finish` once."""

    def __init__(
        self,
        config: AudioConfig,
        mel: MelContext,
        spectrum: Callable[[FloatArray], ComplexArray],
        spectrum_context: int,
        *,
        lookahead_tokens: Optional[int],
        first_lookahead_tokens: int,
        first_chunk_tokens: int,
        max_chunk_tokens: int,
    ) -> None:
        per_token = config.frames_per_token
        self._per_token = per_token
        self._mel = mel
        self._spectrum = spectrum
        self._spectrum_context = spectrum_context
        exact = mel.frames + spectrum_context
        self._full_lookahead = exact if lookahead_tokens is None else min(exact, lookahead_tokens * per_token)
        self._lookahead = self._full_lookahead
        # Where sound does not wait for the whole future, a whole field of past gains nothing, and with it around every
        # chunk the Decoder would make each frame of a stream several times.
        self._reach = mel.frames
        if lookahead_tokens is not None:
            self._reach = min(mel.frames, max(self._full_lookahead, _REACH_TOKENS * per_token))
            self._lookahead = min(self._full_lookahead, first_lookahead_tokens * per_token)
        self._chunk = max(1, first_chunk_tokens) * per_token
        self._max_chunk = max(first_chunk_tokens, max_chunk_tokens) * per_token
        self._istft = InverseSTFT(config.n_fft, config.hop_length)
        self._pending: List[npt.NDArray[Any]] = []
        self._tokens: Optional[npt.NDArray[Any]] = None
        self._first_token = 0
        self._token_count = 0
        self._cached_mel: Optional[FloatArray] = None
        self._cached_end = 0
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
            self._pending.append(np.array(tokens[start : start + 1]))  # the caller may reuse its buffer
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
        self._tokens = self._cached_mel = None
        return _joined(rest)

    def _plan(self) -> None:
        """How much future the next chunk waits for, and how long it is: both grow out of what is being played."""
        step = min(self._full_lookahead - self._lookahead, _LOOKAHEAD_STEP_TOKENS * self._per_token)
        self._lookahead += step
        self._chunk = min(self._max_chunk, max(self._chunk, int(self._chunk * _GROWTH) - step))

    def _decode_to(self, end: int) -> FloatArray:
        """Make the spectral frames [done, end) and return the samples that they complete."""
        total = self._per_token * self._token_count
        tokens = self._gather()
        start = self._done_frames
        mel_start = max(0, start - self._spectrum_context)
        mel_end = min(total, end + self._spectrum_context)
        # Cached frames are final; those behind them were decoded with too little future and are made again.
        fresh_start = max(self._cached_end, mel_start)
        first = max(0, (fresh_start - self._reach) // self._per_token)
        last = min(self._token_count, -(-(mel_end + self._reach) // self._per_token))
        offset = first * self._per_token
        window = self._mel.to_mel(tokens[first - self._first_token : last - self._first_token])
        mel = window[:, fresh_start - offset : mel_end - offset]
        if self._cached_mel is not None and self._cached_end > mel_start:
            mel = np.concatenate((self._cached_mel[:, mel_start - self._cached_end :], mel), axis=1)
        samples = self._istft.push(self._spectrum(mel)[start - mel_start : end - mel_start])

        keep_from = max(0, end - self._spectrum_context)
        settled = min(mel_end, total if end == total else total - self._reach)
        if settled > keep_from:
            self._cached_mel = mel[:, keep_from - mel_start : settled - mel_start].copy()
            self._cached_end = settled
        else:
            self._cached_mel = None
            self._cached_end = keep_from
        needed = max(0, (self._cached_end - self._reach) // self._per_token)
        self._tokens = tokens[needed - self._first_token :].copy()
        self._first_token = needed
        self._done_frames = end
        return samples

    def _gather(self) -> npt.NDArray[Any]:
        parts = self._pending if self._tokens is None else [self._tokens, *self._pending]
        self._pending = []
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _joined(parts: List[FloatArray]) -> FloatArray:
    if not parts:
        return np.zeros(0, np.float32)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
