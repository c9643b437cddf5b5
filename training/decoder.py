"""Teach Decoder mels that could be real ones: `python -m training.decoder --work DIR`.

The distance of a mel to the real one is least where all that the hidden states leave open is averaged away, and Vocos
makes of such a mel a voice behind a curtain. So a judge of mels (`discriminators.Texture`) learns what is
missing, and Decoder to put it back; no waveform is made, so that a step is cheap. Begins with Decoder as the GPT stage
or an earlier polish left it, and writes it to polish.pt beside the Vocos that is there, or that of vocos.pt.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch

from .discriminators import Jury, judges_of_mels
from .polish import HiddenBatches
from .tools import Averages, Log, cosine, descend, load_state, save, seed_all


def train(args: argparse.Namespace) -> None:
    path, polish = args.work / "ckpt" / "decoder.pt", args.work / "ckpt" / "polish.pt"
    seed_all(int(time.time()))
    feeder = HiddenBatches(args.work, args.batch, args.frames, np.random.default_rng(int(time.time())))
    decoder = feeder.decoder
    state = load_state(path) if path.exists() else {}
    if state:
        decoder.load_state_dict(state["decoder"])
    elif polish.exists():
        decoder.load_state_dict(load_state(polish)["ema_decoder"])
    step, spent = state.get("step", 0), state.get("spent", 0.0)
    params = [p for p in decoder.parameters() if p.requires_grad]
    jury = Jury(judges_of_mels(), params[0].device, state.get("judge"), args.look_on, args.judge_lr)
    optimizer = torch.optim.AdamW(params, lr=args.lr, betas=(0.8, 0.99), weight_decay=0.01)
    average = Averages(decoder)
    log = Log(args.work / "log" / "decoder.jsonl")
    began = time.time()

    def checkpoint(step: int) -> None:
        save(path, decoder=decoder.state_dict(), judge=jury.judges.state_dict(), step=step,
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
        descend(loss, params, [optimizer], 5.0)
        average.update()
        log.add(parts)
        if (number + 1) % 50 == 0:
            log.write(step=number + 1, min=minutes, **log.means())
        if (number + 1) % 200 == 0:
            checkpoint(number + 1)
    checkpoint(number)
    vocos = load_state(polish if polish.exists() else args.work / "ckpt" / "vocos.pt")["ema"]
    save(polish, model=vocos, ema=vocos, step=0, spent=0.0, decoder=decoder.state_dict(), ema_decoder=average.state,
         mel_judge=jury.judges.state_dict())  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=0, help="train to this step, whatever time it takes")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--frames", type=int, default=96)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--judge-lr", type=float, default=2e-3)
    parser.add_argument("--mel", type=float, default=1.0, help="weight of the distance to the real mel")
    parser.add_argument("--gan", type=float, default=0.3, help="weight of what the judges make of it")
    parser.add_argument("--look-on", type=int, default=200, help="steps that new judges learn before they are heard")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
