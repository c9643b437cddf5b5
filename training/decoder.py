"""Teach Decoder mels that could be real ones: `python -m training.decoder --work DIR`.

The distance of a mel to the real one is least where all that the hidden states leave open is averaged away, and Vocos
makes of such a mel a voice behind a curtain. So a judge of mels (`discriminators.MelDiscriminators`) learns what is
missing, and Decoder to put it back; no waveform is made, so that a step is cheap. What sounds more natural is
understood less well, so at the end the weights it began with are mixed in again (--keep; Wortsman et al., "Robust
fine-tuning of zero-shot models", CVPR 2022). Begins with Decoder as the GPT stage or an earlier polish left it, and
writes it to polish.pt beside the Vocos that is there, or that of vocos.pt.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any, Dict

import numpy as np
import torch
from torch import nn

from .discriminators import Jury, MelDiscriminators
from .polish import HiddenBatches
from .tools import Averages, Log, cosine, save, seed_all


def train(args: argparse.Namespace) -> None:
    path, polish = args.work / "ckpt" / "decoder.pt", args.work / "ckpt" / "polish.pt"
    seed_all(int(time.time()))
    feeder = HiddenBatches(args.work, args.batch, args.frames, np.random.default_rng(int(time.time())))
    decoder = feeder.decoder
    state = _load(path)
    if state:
        decoder.load_state_dict(state["decoder"])
        first = state["first"]
    else:
        if polish.exists():
            decoder.load_state_dict(_load(polish)["ema_decoder"])
        first = {k: v.detach().cpu().clone() for k, v in decoder.state_dict().items()}
    step, spent = state.get("step", 0), state.get("spent", 0.0)
    params = [p for p in decoder.parameters() if p.requires_grad]
    jury = Jury(MelDiscriminators(), params[0].device, state.get("judge"), args.look_on, args.judge_lr)
    optimizer = torch.optim.AdamW(params, lr=args.lr, betas=(0.8, 0.99), weight_decay=0.01)
    average = Averages(decoder)
    log = Log(args.work / "log" / "decoder.jsonl")
    sums: Dict[str, float] = {}
    began = time.time()

    def checkpoint(step: int) -> None:
        save(path, decoder=decoder.state_dict(), first=first, judge=jury.judges.state_dict(), step=step,
             spent=spent + time.time() - began)  # fmt: skip

    for number, (mel, _, real) in zip(itertools.count(step), feeder):
        minutes = (spent + time.time() - began) / 60
        done = number / args.steps if args.steps else minutes / args.minutes
        if done >= 1:
            break
        optimizer.param_groups[0]["lr"] = args.lr * cosine(done, 0.02)
        parts = {"mel": (mel - real).abs().mean()}
        opinion, said = jury.weigh(real, mel, done)
        parts.update(said)
        # How much of the real movement from frame to frame is there: a mean of possible mels moves too little.
        parts["liveliness"] = mel.diff(dim=2).abs().mean() / real.diff(dim=2).abs().mean()
        loss = args.mel * parts["mel"] + args.gan * opinion
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 5.0)
        optimizer.step()
        average.update()
        for k, v in parts.items():
            sums[k] = sums.get(k, 0.0) + v.item()
        if (number + 1) % 50 == 0:
            log.write(step=number + 1, min=minutes, **{k: v / 50 for k, v in sums.items()})
            sums.clear()
        if (number + 1) % 200 == 0:
            checkpoint(number + 1)
    checkpoint(number)
    mixed = {k: v.cpu().lerp(first[k], args.keep) if v.is_floating_point() else v for k, v in average.state.items()}
    voice = _load(polish if polish.exists() else args.work / "ckpt" / "vocos.pt")["ema"]
    save(polish, model=voice, ema=voice, step=0, spent=0.0, decoder=mixed, ema_decoder=mixed,
         mel_judge=jury.judges.state_dict())  # fmt: skip


def _load(path: Path) -> Dict[str, Any]:
    return torch.load(path, map_location="cpu", weights_only=False) if path.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=0, help="train to this step, whatever time it takes")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--judge-lr", type=float, default=2e-3)
    parser.add_argument("--mel", type=float, default=1.0, help="weight of the distance to the real mel")
    parser.add_argument("--gan", type=float, default=0.3, help="weight of what the judges make of it")
    parser.add_argument("--keep", type=float, default=0.5, help="share of the first weights in the last ones")
    parser.add_argument("--look-on", type=int, default=200, help="steps that new judges learn before they are heard")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
