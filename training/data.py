"""The corpus on disk: rows of every meta file, audio, and cached log-mels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Optional

import numpy as np
import soundfile
import torch
from torch import Tensor

from .nets import HOP, MelSpectrogram
from .synth import read_lines

STEP = 2 * HOP  # samples per token


def rows(work: Path) -> List[Dict[str, Any]]:
    """Every finished clip, in file order."""
    out: List[Dict[str, Any]] = []
    for meta in sorted((work / "corpus").glob("*.jsonl")):
        out += list(read_lines(meta))
    return out


def load_audio(work: Path, row: Dict[str, Any]) -> np.ndarray:
    """int16 samples, padded with silence to a whole number of tokens."""
    audio, _ = soundfile.read(work / "corpus" / "audio" / row["file"], dtype="int16")
    return np.pad(audio, (0, -len(audio) % STEP))


def load_mel(work: Path, row: Dict[str, Any], mel: Optional[MelSpectrogram] = None) -> Tensor:
    """float16 log-mel [100, 2T], cached beside the corpus."""
    path = work / "corpus" / "mel" / f"{row['id']}.npy"
    if path.exists():
        return torch.from_numpy(np.load(path))
    path.parent.mkdir(exist_ok=True)
    audio = torch.from_numpy(load_audio(work, row).astype(np.float32) / 32768)
    out = (mel or MelSpectrogram())(audio[None])[0][:, : len(audio) // HOP].half()
    np.save(path, out.numpy())
    return out
