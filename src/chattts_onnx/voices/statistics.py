"""Random voices by seed: the same numbers on every machine, device and library version.

A voice of the published model is ``mean + std * n`` with n standard normal. The reference draws n from torch, whose
numbers differ between devices and types, so its users' seeds do not travel. Here n comes from the Philox 4x64
counter generator (Salmon et al., SC 2011), whose bits NumPy guarantees, by the Box-Muller transform written out, since
NumPy does not promise that its own normal numbers stay the same between versions.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Sequence, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.errors import InputError, ModelFormatError
from chattts_onnx.voices.voice import Voice, mix

FloatArray = npt.NDArray[np.float32]

MAX_SEED = 2**63 - 1


@dataclass(frozen=True, eq=False)
class VoiceStatistics:
    """Mean and standard deviation of a model's voice space, float32 [H] each."""

    mean: FloatArray
    std: FloatArray

    @classmethod
    def load(cls, path: Path) -> VoiceStatistics:
        """Read the model directory's ``voice_statistics.npz``.

        Raises:
            ModelFormatError: it is missing or damaged.
        """
        try:
            # From memory: NumPy leaves a damaged archive open.
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                mean, std = arrays["mean"].astype(np.float32), arrays["std"].astype(np.float32)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise ModelFormatError(f"{path} cannot be read ({error}): convert or pull the model again") from None
        if mean.ndim != 1 or mean.shape != std.shape or not np.isfinite(mean).all() or not np.isfinite(std).all():
            raise ModelFormatError(f"{path} does not hold a mean and a std of one width: convert the model again")
        return cls(mean, std)

    def sample(self, seed: int) -> Voice:
        """The voice of a seed."""
        embedding = self.mean + self.std * standard_normal(seed, len(self.mean))
        return Voice(
            f"seed-{seed}", embedding.astype(np.float32), provenance=f"drawn from the model's statistics, seed {seed}"
        )

    def sample_as_torch(self, seed: int) -> Voice:
        """The voice that ``torch.manual_seed(seed)`` gives the reference on a CPU: users know voices by such seeds."""
        embedding = self.mean + self.std * torch_normal(seed, len(self.mean))
        provenance = f"drawn from the model's statistics as PyTorch on a CPU does, seed {seed}"
        return Voice(f"torch-{seed}", embedding.astype(np.float32), provenance=provenance)


def standard_normal(seed: int, count: int) -> FloatArray:
    """Standard normal numbers of a seed, float32 [count].

    Philox 4x64 with the key (seed, 0) and the counter starting at 1, as NumPy's bit generator runs it, gives 64-bit
    words w; u = (floor(w / 2^11) + 1) / 2^53 lies in (0, 1]. Words 2k and 2k + 1 give the numbers 2k and 2k + 1:
    sqrt(-2 ln u1) times cos and sin of 2 pi u2.
    """
    uniform = _uniforms(seed, 2 * ((count + 1) // 2)).reshape(-1, 2)
    radius = np.sqrt(-2.0 * np.log(uniform[:, 0]))
    angle = 2.0 * np.pi * uniform[:, 1]
    pairs = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1)
    result: FloatArray = pairs.ravel()[:count].astype(np.float32)
    return result


def torch_normal(seed: int, count: int) -> FloatArray:
    """What ``torch.manual_seed(seed); torch.randn(count)`` gives on a CPU, to rounding; ``count`` in steps of 16.

    MT19937 seeded by the low 32 bits; the low 24 bits of each word over 2^24 are the uniform numbers; in each block of
    16 the first eight, u1, and the last eight, u2, give sqrt(-2 ln(1 - u1)) times cos and sin of 2 pi u2.
    """
    if count % 16:
        raise ValueError(f"{count} is not a multiple of 16: PyTorch draws other lengths in another way")
    # NumPy's frozen legacy generator: its stream is promised never to change.
    words = np.random.RandomState(checked_seed(seed) & 0xFFFFFFFF).randint(0, 2**32, count, dtype=np.uint32)
    uniform = ((words & np.uint32(0xFFFFFF)).astype(np.float32) * np.float32(2.0**-24)).reshape(-1, 2, 8)
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - uniform[:, 0]))
    angle = np.float32(2.0 * np.pi) * uniform[:, 1]
    result: FloatArray = np.stack((radius * np.cos(angle), radius * np.sin(angle)), axis=1).reshape(-1)
    return result


def sample_between(presets: Sequence[Voice], seed: int) -> Voice:
    """The voice of a seed for a model without statistics: a convex mix of its presets, uniform over all mixes.

    Weights are exponential draws over their sum (the flat Dirichlet distribution), sharpened by a square so that the
    result is usually nearer to one or two presets than to the average of all, which always sounds the same.
    """
    usable = sorted((voice for voice in presets if voice.embedding is not None), key=lambda voice: voice.name)
    if not usable:
        raise InputError("this model has neither voice statistics nor presets: give a voice file or string instead")
    if len(usable) == 1:
        return usable[0].renamed(f"seed-{seed}")
    weights = np.square(-np.log(_uniforms(seed, len(usable))))
    if not weights.sum() > 0:
        weights[:] = 1.0
    parts: Sequence[Tuple[Voice, float]] = [(voice, float(weight)) for voice, weight in zip(usable, weights)]
    return mix(parts, name=f"seed-{seed}")


def checked_seed(seed: int) -> int:
    """A seed in range.

    Raises:
        InputError: negative or of more than 63 bits.
    """
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"a voice seed must be from 0 to {MAX_SEED}, not {seed}")
    return seed


def _uniforms(seed: int, count: int) -> npt.NDArray[np.float64]:
    words = np.asarray(np.random.Philox(key=[checked_seed(seed), 0]).random_raw(count), np.uint64)
    uniforms: npt.NDArray[np.float64] = ((words >> np.uint64(11)).astype(np.float64) + 1.0) / 2.0**53
    return uniforms
