"""The inverse short-time Fourier transform, beside the graph and incremental.

ONNX has no inverse STFT, and one written with convolutions costs more than all of Vocos; NumPy's real FFT does ten
seconds in a few milliseconds. It is incremental because a stream must not start over: each call returns the samples
that no later frame can touch, and keeps the overlap. One shot is the stream with a single call, so both are one code
path and cannot differ.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
ComplexArray = npt.NDArray[np.complex64]

NO_WEIGHT = np.float32(1e-11)
"""In place of a sum of squared windows that is zero: only at the outermost samples, where a Hann window is."""


@lru_cache(maxsize=4)
def hann_window(length: int) -> FloatArray:
    """The periodic Hann window (``0.5 - 0.5 cos(2 pi n / length)``), float32 [length], made once and read-only."""
    phase = 2.0 * np.pi * np.arange(length) / length
    window: FloatArray = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    window.flags.writeable = False
    return window


def in_blocks(frames: FloatArray, hop_length: int) -> FloatArray:
    """Frames [F, n_fft] cut into blocks of one hop [F, blocks, hop]; the last block may be partly empty."""
    blocks = -(-frames.shape[1] // hop_length)
    missing = blocks * hop_length - frames.shape[1]
    if missing:
        frames = np.pad(frames, ((0, 0), (0, missing)))
    return frames.reshape(len(frames), blocks, hop_length)


def add_overlapping(total: FloatArray, blocks: FloatArray) -> None:
    """Add frames in blocks [F, blocks, hop] to ``total`` [F + blocks - 1, hop], each one hop after the one before."""
    for index in range(blocks.shape[1]):
        total[index : index + len(blocks)] += blocks[:, index]


class InverseSTFT:
    """Overlap-add over the sum of squared windows, with ``n_fft / 2`` samples trimmed at both ends.

    The convention is ``center=True``: frame f is centred on sample ``f * hop``, so F frames give ``(F - 1) * hop``
    samples. Window and transform have the same length.
    """

    def __init__(self, n_fft: int, hop_length: int) -> None:
        if n_fft % 2 or not 0 < hop_length <= n_fft // 2:
            raise ValueError(f"n_fft {n_fft} must be even and hop_length {hop_length} between 1 and half of it")
        self._n_fft = n_fft
        self._hop = hop_length
        self._window = hann_window(n_fft)
        self._squared = in_blocks(np.square(self._window)[None], hop_length)
        self._blocks = self._squared.shape[1]
        self._sum = np.zeros((self._blocks - 1, hop_length), np.float32)
        self._weight = np.zeros((self._blocks - 1, hop_length), np.float32)
        self._skip = n_fft // 2
        self._frames = 0

    def push(self, spectrum: ComplexArray) -> FloatArray:
        """Add frames [F, n_fft/2+1] and return the samples that are now final (float32, may be empty)."""
        count = len(spectrum)
        if count == 0:
            return np.zeros(0, np.float32)
        frames = np.fft.irfft(spectrum, self._n_fft, axis=1).astype(np.float32, copy=False)
        frames *= self._window
        total = np.zeros((count + self._blocks - 1, self._hop), np.float32)
        weight = np.zeros_like(total)
        total[: self._blocks - 1] = self._sum
        weight[: self._blocks - 1] = self._weight
        add_overlapping(total, in_blocks(frames, self._hop))
        add_overlapping(weight, np.broadcast_to(self._squared, (count, *self._squared.shape[1:])))
        self._sum = total[count:].copy()
        self._weight = weight[count:].copy()
        self._frames += count
        return self._emit(total[:count].ravel(), weight[:count].ravel())

    def finish(self) -> FloatArray:
        """The samples after the last complete hop; the object is then spent."""
        if self._frames == 0:
            return np.zeros(0, np.float32)
        remaining = self._n_fft // 2 - self._hop
        return self._emit(self._sum.ravel()[:remaining], self._weight.ravel()[:remaining])

    def _emit(self, total: FloatArray, weight: FloatArray) -> FloatArray:
        skipped = min(self._skip, len(total))
        self._skip -= skipped
        samples: FloatArray = total[skipped:] / np.maximum(weight[skipped:], NO_WEIGHT)
        return samples
