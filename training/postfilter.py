"""A postfilter for Decoder's mels: `python -m training.postfilter --work DIR`.

A network that is taught by distances gives the mean of what could be, and the mean of spectra is a flat one: formants
lower, valleys shallower. Speech coders and parametric synthesis have the same trouble and the same remedy, a filter
behind the decoder that exaggerates the contrast of each spectrum (Chen and Gersho, "Adaptive postfiltering for quality
enhancement of coded speech", IEEE Trans. Speech and Audio Processing, 1995; Toda and Tokuda, "A speech parameter
generation algorithm considering global variance", IEICE Trans., 2007). On a log-mel that is a linear map,

    y = x + STRENGTH * (d - smooth(d)),   d = x - mean,

with a Gaussian over bands for `smooth` and the mean spectrum of the corpus, whose own shape is not to be exaggerated.
Loudness and tilt, which are smooth, stay as they are. The converter puts the map behind Decoder; report.md has what
strengths and widths sounded like.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Dict, Tuple

import numpy as np
import torch
from torch import Tensor

from . import data
from .nets import MELS
from .tools import load_state, save

STRENGTH = 1.2
BANDS = 20.0  # standard deviation of the smoothing, in mel bands
CLIPS = 500


def mean_spectrum(work: Path) -> np.ndarray:
    """Of a part of the corpus, [MELS]."""
    rows = data.rows(work)
    chosen = np.random.default_rng(0).permutation(len(rows))[:CLIPS]
    mels = [data.load_mel(work, rows[i]).numpy().astype(np.float32) for i in chosen]
    return np.concatenate(mels, axis=1).mean(axis=1)


def postfilter(mean: np.ndarray, strength: float = STRENGTH, bands: float = BANDS) -> Tuple[Tensor, Tensor]:
    """The map as weight [MELS, MELS] and bias [MELS], for the ``mean`` spectrum [MELS]."""
    at = np.arange(MELS)
    smooth = np.exp(-0.5 * np.square((at[:, None] - at) / bands))
    smooth /= smooth.sum(axis=1, keepdims=True)
    weight = (1 + strength) * np.eye(MELS) - strength * smooth
    return torch.from_numpy(weight).float(), torch.from_numpy(mean - weight @ mean).float()


def load_postfilter(work: Path) -> Dict[str, Tensor]:
    """``weight`` [MELS, MELS] and ``bias`` [MELS].

    Raises:
        SystemExit: it was not made yet.
    """
    path = work / "ckpt" / "postfilter.pt"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run python -m training.postfilter --work {work}")
    return load_state(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--strength", type=float, default=STRENGTH)
    parser.add_argument("--bands", type=float, default=BANDS)
    args = parser.parse_args()
    weight, bias = postfilter(mean_spectrum(args.work), args.strength, args.bands)
    save(args.work / "ckpt" / "postfilter.pt", weight=weight, bias=bias)
    print(f"bias from {bias.min():.2f} to {bias.max():.2f}")


if __name__ == "__main__":
    main()
