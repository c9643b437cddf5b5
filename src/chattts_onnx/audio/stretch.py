"""Speech faster or slower at the same pitch: WSOLA (Verhelst and Roelands, ICASSP 1993), incremental.

Written here because the libraries for it are either GPL, a subprocess, or have no wheels for Python 3.8; and because a
stream must give the same samples however it is cut, which needs positions counted from the beginning, not state that
depends on the calls. Each output hop of 20 ms cross-fades the continuation of the piece before into that piece of the
input, within 12.5 ms of where it should be taken from, which continues it best. Input time is never lost or
accumulated: the nominal position of hop k is ``round(k * hop * speed)``.
"""

from __future__ import annotations

from typing import List

import numpy as np
import numpy.typing as npt

from chattts_onnx.errors import InputError

FloatArray = npt.NDArray[np.float32]

MIN_SPEED = 0.25
MAX_SPEED = 4.0

_HOP_SECONDS = 0.020
_SEARCH_SECONDS = 0.0125
_COARSE = 4
"""The search looks at every fourth sample of a smoothed signal first, then at single samples around the best."""


class TimeStretcher:
    """Change the tempo by ``speed`` (2: twice as fast); exactly the input at speed 1."""

    def __init__(self, sample_rate: int, speed: float) -> None:
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise InputError(f"speed must be from {MIN_SPEED:g} to {MAX_SPEED:g}, not {speed!r}")
        self._speed = float(speed)
        self._hop = _COARSE * max(1, round(sample_rate * _HOP_SECONDS / _COARSE))
        self._search = _COARSE * max(1, round(sample_rate * _SEARCH_SECONDS / _COARSE))
        phase = np.pi * (np.arange(self._hop) + 0.5) / self._hop
        self._fade_in = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
        self._fade_out = (0.5 + 0.5 * np.cos(phase)).astype(np.float32)
        # Silence before the first sample, so that the search may look to the left of it.
        self._buffer = np.zeros(self._search, np.float32)
        self._buffer_start = -self._search
        self._received = 0
        self._hops = 0
        self._previous = 0

    def push(self, samples: FloatArray) -> FloatArray:
        """Add samples; returns those that are ready."""
        if self._speed == 1.0:
            return samples
        self._received += len(samples)
        self._buffer = np.concatenate((self._buffer, np.asarray(samples, np.float32)))
        return self._run(self._received)

    def flush(self) -> FloatArray:
        """The rest: the whole output has ``round(n / speed)`` samples."""
        if self._speed == 1.0:
            return np.zeros(0, np.float32)
        total = round(self._received / self._speed)
        made = self._hops * self._hop
        if made >= total:
            return np.zeros(0, np.float32)
        hops = -(-total // self._hop)
        end = round(hops * self._hop * self._speed) + self._search + 3 * self._hop
        self._buffer = np.concatenate((self._buffer, np.zeros(max(0, end - self._received), np.float32)))
        return self._run(end)[: total - made]

    def _run(self, available: int) -> FloatArray:
        parts: List[FloatArray] = []
        hop = self._hop
        while True:
            nominal = round(self._hops * hop * self._speed)
            # The template and the furthest candidate must both be there, and so much input that the output is due.
            due = int((self._hops + 1) * hop * self._speed) + 1
            if max(max(nominal + self._search, self._previous + hop) + hop, due) > available:
                break
            if self._hops == 0:
                position = 0
                part = self._slice(0, hop)
            else:
                tail = self._slice(self._previous + hop, hop)
                position = self._best(nominal, tail)
                part = tail * self._fade_out + self._slice(position, hop) * self._fade_in
            parts.append(part)
            self._previous = position
            self._hops += 1
        self._drop()
        return np.concatenate(parts) if parts else np.zeros(0, np.float32)

    def _best(self, nominal: int, template: FloatArray) -> int:
        """The position near ``nominal`` whose sound is most like ``template`` (normalised cross-correlation)."""
        if float(np.dot(template, template)) < 1e-9 * len(template):
            return nominal
        start = nominal - self._search
        region = self._slice(start, 2 * self._search + self._hop)
        coarse = _most_similar(region.reshape(-1, _COARSE).mean(axis=1), template.reshape(-1, _COARSE).mean(axis=1))
        low = max(0, coarse * _COARSE - _COARSE)
        high = min(2 * self._search, coarse * _COARSE + _COARSE)
        return start + low + _most_similar(region[low : high + self._hop], template)

    def _slice(self, start: int, length: int) -> FloatArray:
        offset = start - self._buffer_start
        return self._buffer[offset : offset + length]

    def _drop(self) -> None:
        next_nominal = round(self._hops * self._hop * self._speed)
        keep = min(next_nominal - self._search, self._previous + self._hop)
        if keep > self._buffer_start:
            self._buffer = self._buffer[keep - self._buffer_start :].copy()
            self._buffer_start = keep


def _most_similar(region: FloatArray, template: FloatArray) -> int:
    products = np.correlate(region, template, "valid")
    squares = np.concatenate((np.zeros(1), np.cumsum(np.square(region, dtype=np.float64))))
    energy = squares[len(template) :] - squares[: -len(template)]
    return int(np.argmax(products / np.sqrt(np.maximum(energy, 0.0) + 1e-9)))
