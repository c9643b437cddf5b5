"""Segments of speech to one continuous sound, while they are being made.

Each segment is trimmed at its ends, followed by the pause its punctuation asks for (the model's own silence as far as
it reaches, since digital silence in the middle of a voice is heard as a hole), faded at the cuts and cross-faded where
there is no pause. A segment that begins unusually loud or soft is brought nearer to those before by one bounded factor,
taken from its first moments: it is constant inside the segment, so nothing pumps, and it needs no more of the future
than those moments, so a stream and a file are the same samples.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.loudness import amplitude, decibels
from chattts_onnx.audio.silence import SilenceTrimmer

FloatArray = npt.NDArray[np.float32]

_LEVEL_SECONDS = 0.6
"""How much of a segment's beginning is measured; it is held back that long, except in the first segment."""
_LEVELS_KEPT = 8
_USUAL_DB = 3.0
"""Beginnings of equally loud sentences differ by this much; only what goes beyond is taken for a jump. Following every
difference would double the spread of a steady voice."""


class Joiner:
    """Push the samples of a segment, end it with its pause, go on; `finish` after the last."""

    def __init__(
        self,
        sample_rate: int,
        *,
        trim: bool = True,
        crossfade_ms: float = 12.0,
        tail_ms: float = 120.0,
        level_db: float = 3.0,
    ) -> None:
        """Join segments.

        Args:
            sample_rate: Of all segments, in Hz.
            trim: Cut silence at the ends of segments; False joins them as they are.
            crossfade_ms: Length of the fades at cuts, and of the cross-fade where the pause is shorter than this.
            tail_ms: Silence of the model's own that is kept after the last segment, at most.
            level_db: How far a segment may be turned up or down towards those before; 0 leaves levels alone.
        """
        self._rate = sample_rate
        self._trim = trim
        self._fade = round(sample_rate * crossfade_ms / 1000)
        self._tail = round(sample_rate * tail_ms / 1000)
        self._level_db = level_db
        self._level_samples = round(sample_rate * _LEVEL_SECONDS)
        self._levels: List[float] = []
        self._position = 0
        self._spans: List[Tuple[int, int]] = []
        # The end of the segment before: how it is faded is known when it is known what follows.
        self._last_sound = _nothing()
        self._last_silence = _nothing()
        self._pause = 0
        self._open_segment()

    @property
    def spans(self) -> List[Tuple[int, int]]:
        """First and last sample (exclusive) of each ended segment in the joined sound, pauses not counted."""
        return list(self._spans)

    @property
    def position(self) -> int:
        """Samples returned so far."""
        return self._position

    def push(self, samples: FloatArray) -> FloatArray:
        """Add samples of the current segment; returns what can be played."""
        if len(samples):
            self._touched = True
        trimmed = np.asarray(samples, np.float32) if self._trimmer is None else self._trimmer.push(samples)
        return self._count(self._level(trimmed, last=False))

    def end_segment(self, pause_ms: float = 0.0) -> FloatArray:
        """The segment is complete; the pause after it comes with the next one. A silent segment adds nothing."""
        sound, silence = (_nothing(), _nothing()) if self._trimmer is None else self._trimmer.finish()
        ready = self._count(self._level(sound, last=True))
        if self._start is None:
            self._spans.append((self._position, self._position))
        else:
            self._spans.append((self._start, self._start + self._fed))
            self._last_sound = self._hold
            self._last_silence = silence * np.float32(self._gain or 1.0)
            self._pause = max(0, round(self._rate * pause_ms / 1000))
        self._open_segment()
        return ready

    def finish(self) -> FloatArray:
        """The rest of the sound; the pause after the last segment is not played."""
        ready = self.end_segment() if self._touched else _nothing()
        ending = np.concatenate((self._last_sound, self._last_silence[: self._tail]))
        self._last_sound = self._last_silence = _nothing()
        return np.concatenate((ready, self._count(self._faded_out(ending))))

    def _open_segment(self) -> None:
        self._touched = False
        self._trimmer: Optional[SilenceTrimmer] = SilenceTrimmer(self._rate) if self._trim else None
        self._gain: Optional[float] = 1.0 if self._level_db <= 0 or not self._levels else None
        self._beginning = _nothing()
        self._measured = self._level_db <= 0
        self._hold = _nothing()
        self._start: Optional[int] = None
        self._fed = 0

    def _level(self, samples: FloatArray, *, last: bool) -> FloatArray:
        """Measure the beginning of the segment, then let it through with its factor."""
        if not self._measured:
            delayed = self._gain is None
            self._beginning = np.concatenate((self._beginning, samples))
            if len(self._beginning) < self._level_samples and not last:
                return _nothing() if delayed else self._feed(samples, last=False)
            self._measured = True
            if len(self._beginning):
                self._measure(self._beginning[: self._level_samples])
            if delayed:
                samples = self._beginning
            self._beginning = _nothing()
        gain = 1.0 if self._gain is None else self._gain
        return self._feed(samples if gain == 1.0 else samples * np.float32(gain), last=last)

    def _measure(self, beginning: FloatArray) -> None:
        level = decibels(float(np.sqrt(np.mean(np.square(beginning)))))
        if self._gain is None:
            missing = float(np.median(self._levels)) - level
            beyond = max(0.0, abs(missing) - _USUAL_DB)
            self._gain = amplitude(float(np.copysign(min(self._level_db, beyond), missing)))
        self._levels = [*self._levels, level + decibels(self._gain)][-_LEVELS_KEPT:]

    def _feed(self, samples: FloatArray, *, last: bool) -> FloatArray:
        """Put the samples behind what is held; returns all but the end that a fade may still need."""
        self._fed += len(samples)
        self._hold = np.concatenate((self._hold, samples))
        before = _nothing()
        if self._start is None:
            if len(self._hold) == 0 or (len(self._hold) < self._fade and not last):
                return before
            before = self._seam()
        count = max(0, len(self._hold) - self._fade)
        ready, self._hold = self._hold[:count], self._hold[count:]
        return np.concatenate((before, ready))

    def _seam(self) -> FloatArray:
        """Start the segment in ``_hold``: returns what lies between it and the one before."""
        hold = self._hold.copy()
        if self._pause > self._fade or not len(self._last_sound):
            own = np.concatenate((self._last_sound, self._last_silence[: self._pause]))
            missing = len(self._last_sound) + self._pause - len(own)
            before = np.concatenate((self._faded_out(own), np.zeros(missing, np.float32)))
            ramp = _ramp(min(self._fade, len(hold)))
            hold[: len(ramp)] *= ramp
        else:
            overlap = min(self._fade, len(hold), len(self._last_sound))
            ramp = _ramp(overlap)
            before, end = np.split(self._last_sound, [len(self._last_sound) - overlap])
            hold[:overlap] = hold[:overlap] * ramp + end * ramp[::-1]
        self._hold = hold
        self._start = self._position + len(before)
        self._last_sound = self._last_silence = _nothing()
        self._pause = 0
        return before

    def _faded_out(self, samples: FloatArray) -> FloatArray:
        faded: FloatArray = np.array(samples, np.float32)
        count = min(self._fade, len(faded))
        if count:
            faded[-count:] *= _ramp(count)[::-1]
        return faded

    def _count(self, samples: FloatArray) -> FloatArray:
        self._position += len(samples)
        return samples


def _ramp(count: int) -> FloatArray:
    """A raised cosine from 0 to 1 whose mirror image adds up with it to 1."""
    ramp: FloatArray = (0.5 - 0.5 * np.cos(np.pi * (np.arange(count) + 0.5) / max(1, count))).astype(np.float32)
    return ramp


def _nothing() -> FloatArray:
    return np.zeros(0, np.float32)
