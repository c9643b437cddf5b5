"""Which half of its spectrum Vocos loses naturalness in: `python -m training.halves --work DIR [--clips 2]`.

Distill-MOS of clips of each voice rendered from their real mels (distillmos: docs/evaluation.md): as the head says it,
with the rounds that follow it (`chattts_onnx.audio.phase`), and with the magnitudes or the phases of that exchanged
for the recording's; then the head against the recording (`distances.spectrum_loss`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import List

import numpy as np
import soxr
import torch
from torch import Tensor

from chattts_onnx.evaluation.quality import distill_mos

from . import data
from .distances import spectrum_loss
from .gpt import VOICES
from .nets import HOP, N_FFT, RATE
from .vocoder import load_vocos

KINDS = ("the head alone", "Vocos", "its magnitudes, real phases", "real magnitudes, its phases")


def wave(magnitude: Tensor, phase: Tensor, length: int) -> Tensor:
    return torch.istft(torch.polar(magnitude, phase), N_FFT, HOP, window=torch.hann_window(N_FFT), length=length)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--clips", type=int, default=2, help="of each voice")
    args = parser.parse_args()
    torch.set_num_threads(1)
    vocos = load_vocos(args.work)
    rng = np.random.default_rng(5)
    found: List[List[float]] = []
    distances: List[List[float]] = []
    with distill_mos() as score:
        for voice in VOICES:
            rows = [r for r in data.rows(args.work) if r["voice"] == voice and 2 * RATE < r["samples"] < 6 * RATE]
            for i in rng.permutation(len(rows))[: args.clips]:
                mel = data.load_mel(args.work, rows[i]).float()[None]
                log_mag, phase = vocos.head.polar(vocos.backbone(mel))
                out = vocos.head.wave(log_mag, phase)[0]
                recording = data.load_audio(args.work, rows[i])[: len(out)].astype(np.float32) / 32768
                real, ours = vocos.head.stft(torch.from_numpy(recording)), vocos.head.stft(out)
                sounds = (
                    vocos.head.wave(log_mag, phase, rounds=0)[0],
                    out,
                    wave(ours.abs(), real.angle(), len(out)),
                    wave(real.abs(), ours.angle(), len(out)),
                )
                found.append([score(soxr.resample(s.numpy(), RATE, 16000))["distill_mos"] for s in sounds])
                phasor = torch.polar(torch.ones_like(phase), phase)
                distances.append([d.item() for d in spectrum_loss(log_mag, phasor, torch.from_numpy(recording)[None])])
    for kind, mean in zip(KINDS, np.mean(found, 0)):
        print(f"{kind}: {mean:.2f}")
    print("head against recording: magnitude {:.3f}, phase {:.3f}".format(*np.mean(distances, 0)))


if __name__ == "__main__":
    main()
