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
_BLOCK = 8192


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
    """Windowed-sinc resampling by a ratio of whole numbers, in NumPy alone."""

    def __init__(self, source_rate: int, target_rate: int) -> None:
        divisor = gcd(source_rate, target_rate)
        self._up = target_rate // divisor
        self._down = source_rate // divisor
        self._bank = _filter_bank(self._up, self._down)
        self._half = self._bank.shape[1] // 2
        self._buffer = np.zeros(self._half, np.float32)
        self._buffer_start = -self._half
        self._received = 0
        self._made = 0

    def push(self, samples: FloatArray) -> FloatArray:
        """Add samples; returns those whose whole filter has arrived."""
        self._received += len(samples)
        self._buffer = np.concatenate((self._buffer, np.asarray(samples, np.float32)))
        # Output m reads input positions m * down / up - half + 1 ... + half.
        last = (self._received - self._half - 1) * self._up // self._down
        return self._make(last + 1)

    def flush(self) -> FloatArray:
        """The rest: the signal is taken as silent after its end."""
        total = -(-self._received * self._up // self._down)
        self._buffer = np.concatenate((self._buffer, np.zeros(self._half + 1, np.float32)))
        return self._make(total)

    def _make(self, end: int) -> FloatArray:
        if end <= self._made:
            return np.zeros(0, np.float32)
        output = np.empty(end - self._made, np.float32)
        taps = self._bank.shape[1]
        windows = np.lib.stride_tricks.sliding_window_view(self._buffer, taps)
        for start in range(self._made, end, _BLOCK):
            index = np.arange(start, min(end, start + _BLOCK), dtype=np.int64) * self._down
            rows = index // self._up - self._half + 1 - self._buffer_start
            block = np.einsum("ij,ij->i", windows[rows], self._bank[index % self._up])
            output[start - self._made : start - self._made + len(block)] = block
        self._made = end
        keep = end * self._down // self._up - self._half + 1
        if keep > self._buffer_start:
            self._buffer = self._buffer[keep - self._buffer_start :].copy()
            self._buffer_start = keep
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
