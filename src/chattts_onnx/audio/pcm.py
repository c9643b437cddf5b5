"""The one place where float samples become 16-bit integers, and back.

Everywhere else sound is float32 in [-1, 1]. Rounding is to nearest, out-of-range values saturate (a limiter belongs
before this), and the optional dither is triangular (TPDF, two least significant bits wide): it turns the rounding
error of quiet passages from distortion into a steady hiss at -98 dBFS.
"""

from __future__ import annotations

from typing import Optional

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Int16Array = npt.NDArray[np.int16]


class Dither:
    """Triangular noise that goes on from chunk to chunk; the same seed gives the same bytes."""

    def __init__(self, seed: int = 0) -> None:
        self._generator = np.random.Generator(np.random.Philox(key=seed))

    def noise(self, count: int) -> FloatArray:
        """Noise in (-1, 1) least significant bits, float32 [count]."""
        # One draw of pairs per sample, so that the noise does not depend on where chunks are cut.
        pairs = self._generator.random((count, 2), dtype=np.float32)
        noise: FloatArray = pairs[:, 0] - pairs[:, 1]
        return noise


def to_int16(samples: FloatArray, dither: Optional[Dither] = None) -> Int16Array:
    """Float samples in [-1, 1] to int16; values outside saturate, NaN becomes 0."""
    scaled = np.asarray(samples, np.float32) * np.float32(32767.0)
    if dither is not None:
        scaled += dither.noise(len(scaled))
    np.nan_to_num(scaled, copy=False, nan=0.0, posinf=32767.0, neginf=-32768.0)
    np.rint(scaled, out=scaled)
    np.clip(scaled, -32768.0, 32767.0, out=scaled)
    result: Int16Array = scaled.astype(np.int16)
    return result


def to_float(samples: Int16Array) -> FloatArray:
    """Samples int16 to float32, the inverse of `to_int16`."""
    result: FloatArray = samples.astype(np.float32) / np.float32(32767.0)
    return result
