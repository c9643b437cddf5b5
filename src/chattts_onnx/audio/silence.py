"""Silence at the ends of a segment, found while the segment is still being made.

Only the ends are touched: the reference deletes every near-zero sample wherever it is, which compresses pauses inside
speech. Decisions are made on blocks of 10 ms counted from the segment's first sample, with a threshold that knows
only the past, so a stream is cut at the same sample as a file.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

_BLOCK_SECONDS = 0.010
_FLOOR = 10 ** (-50 / 20)
"""A block quieter than -50 dBFS (RMS) is silence,"""
_RELATIVE = 10 ** (-38 / 20)
"""and so is one 38 dB below the loudest block so far: some models breathe a hiss through their pauses."""


class SilenceTrimmer:
    """Drops leading silence but a short run-up, and holds trailing silence back until it proves to be a pause."""

    def __init__(self, sample_rate: int, *, preroll_seconds: float = 0.03, guard_seconds: float = 0.015) -> None:
        self._block = max(1, round(sample_rate * _BLOCK_SECONDS))
        self._preroll = round(sample_rate * preroll_seconds)
        self._guard = round(sample_rate * guard_seconds)
        self._buffer = np.zeros(0, np.float32)
        self._measured = 0
        self._sound_end = 0
        self._loudest = 0.0
        self.started = False

    def push(self, samples: FloatArray) -> FloatArray:
        """Add samples; returns those that are certain to belong to the trimmed segment."""
        self._buffer = np.concatenate((self._buffer, samples)) if len(self._buffer) else np.array(samples, np.float32)
        blocks = (len(self._buffer) - self._measured) // self._block
        if blocks:
            end = self._measured + blocks * self._block
            self._measure(self._buffer[self._measured : end].reshape(blocks, self._block))
        ready = max(0, self._sound_end - self._guard)
        return self._take(ready)

    def finish(self) -> Tuple[FloatArray, FloatArray]:
        """The last samples with sound in them, and the silence after those; the object is then spent."""
        if self._measured < len(self._buffer):
            self._measure(self._buffer[None, self._measured :])
        if not self.started:
            return np.zeros(0, np.float32), np.zeros(0, np.float32)
        sound = self._take(self._sound_end)
        return sound, self._buffer

    def _measure(self, blocks: FloatArray) -> None:
        levels = np.sqrt(np.mean(np.square(blocks), axis=1))
        loudest = np.maximum.accumulate(np.maximum(levels, self._loudest))
        active = np.flatnonzero(levels > np.maximum(_FLOOR, _RELATIVE * loudest))
        self._loudest = float(loudest[-1])
        first = self._measured
        self._measured += blocks.size
        if len(active) == 0:
            if not self.started:
                self._take(self._measured - self._preroll)
            return
        self._sound_end = first + (int(active[-1]) + 1) * blocks.shape[1]
        if not self.started:
            self.started = True
            self._take(first + int(active[0]) * blocks.shape[1] - self._preroll)

    def _take(self, count: int) -> FloatArray:
        """Cut ``count`` samples off the front."""
        count = max(0, count)
        taken, self._buffer = self._buffer[:count], self._buffer[count:]
        self._measured -= count
        self._sound_end -= count
        return taken
