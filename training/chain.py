"""Where naturalness is lost: `python -m training.chain --work DIR [--rounds 0 1 2 4 8] [--strength 0 0.5 0.8]`.

Distill-MOS (distillmos: see docs/evaluation.md) of the same clips of each voice as they are, after Vocos on their real
mels, and after Decoder and Vocos on the hidden states of the GPT that is told the clip's own codes, with so many rounds
of `chattts_onnx.audio.phase`, and with a postfilter of such a strength before Vocos. What sampling adds is in
`chattts eval --quality`.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import soxr
import torch

from chattts_onnx.evaluation.quality import distill_mos

from . import codec, data
from .gpt import VOICES, load_model
from .gpt_data import Item, collate, phonemes
from .gpt_model import rope
from .nets import PHASE_ROUNDS, RATE
from .postfilter import mean_spectrum, postfilter
from .vocoder import load_vocos

STAGES = ("real mel", "hidden states")
Way = Tuple[int, float]  # rounds of phase, strength of the postfilter


@torch.no_grad()
def stages(
    row: Dict[str, Any], work: Path, nets: Dict[str, Any], vocab: Dict[str, int], ways: Sequence[Way]
) -> List[np.ndarray]:
    """The waveforms of one clip: itself, then `STAGES` for each of ``ways``."""
    audio = data.load_audio(work, row).astype(np.float32) / 32768
    mel = data.load_mel(work, row).float()
    _, codes = nets["dvae"].encode(mel[None])
    item = Item(row, codes[0].numpy(), mel.numpy(), vocab, VOICES.index(row["voice"]))
    batch = collate([item], vocab, np.random.default_rng(0), 0.0)
    gpt = nets["model"].gpt
    text = gpt.embed_text(batch["ids"], batch["voice"], vocab["[spk_emb]"])
    x = torch.where(batch["is_code"][..., None], gpt.embed_codes(batch["codes"]), text)
    last, _, _ = gpt.trunk(x, *rope(x.shape[1]))
    hidden = last[0][batch["at"][0, : len(item.codes)]].T[None]
    vocos, out = nets["vocos"], [audio]
    mels = (mel, nets["model"].decoder(hidden)[0])
    for rounds, strength in ways:
        weight, bias = postfilter(nets["mean"], strength)
        for one in mels:
            polar = vocos.head.polar(vocos.backbone((weight @ one + bias[:, None])[None]))
            out.append(vocos.head.wave(*polar, rounds=rounds)[0].numpy())
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--clips", type=int, default=3, help="of each voice")
    parser.add_argument("--rounds", type=int, nargs="+", default=[PHASE_ROUNDS], help="default: %(default)s")
    parser.add_argument("--strength", type=float, nargs="+", default=[0.0], help="default: %(default)s")
    args = parser.parse_args()
    torch.set_num_threads(1)
    work, vocab = args.work, phonemes.vocabulary()
    nets = {"model": load_model(work)[0], "vocos": load_vocos(work), "dvae": codec.load(work)}
    nets["mean"], ways = mean_spectrum(work), list(itertools.product(args.rounds, args.strength))
    rng = np.random.default_rng(5)
    found: List[List[float]] = []
    with distill_mos() as score:
        for voice in VOICES:
            rows = [r for r in data.rows(work) if r["voice"] == voice and 2 * RATE < r["samples"] < 6 * RATE]
            for i in rng.permutation(len(rows))[: args.clips]:
                sounds = stages(rows[i], work, nets, vocab, ways)
                found.append([score(soxr.resample(s, RATE, 16000))["distill_mos"] for s in sounds])
                print(f"{voice:9s} {rows[i]['lang']}", *(f"{v:.2f}" for v in found[-1]), flush=True)
    recording, *rest = np.mean(found, 0)
    print(f"{len(found)} clips: recording {recording:.2f}")
    for (number, strength), pair in zip(ways, np.reshape(rest, (-1, len(STAGES)))):
        print(
            f"{number} rounds, strength {strength:g}:",
            ", ".join(f"{name} {value:.2f}" for name, value in zip(STAGES, pair)),
        )


if __name__ == "__main__":
    main()
