"""Train the DVAE, then write every clip's codes: `python -m training.codec --work DIR`.

log-mel -> 4 books of 625 codes at 31.25 Hz -> log-mel, straight through the quantiser. Resumable;
the codes land in DIR/codes/*.npy and are only recomputed with --recode.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from . import data
from .nets import DVAE, DVAEConfig, MelSpectrogram
from .tools import Log, autocast, cosine, device, load_state, save, seed_all


def batch(mels: list, size: int, frames: int, rng: np.random.Generator) -> torch.Tensor:
    picks = []
    while len(picks) < size:
        mel = mels[rng.integers(len(mels))]
        if mel.shape[1] < frames:
            mel = torch.cat([mel, mels[rng.integers(len(mels))]], 1)
        if mel.shape[1] < frames:
            continue
        at = int(rng.integers(0, mel.shape[1] - frames + 1))
        picks.append(mel[:, at : at + frames])
    return torch.stack(picks).float()


def train(work: Path, steps: int, size: int, frames: int, lr: float, limit: float) -> DVAE:
    seed_all(1)
    rows = data.rows(work)
    mel = MelSpectrogram()
    mels = [data.load_mel(work, r, mel) for r in rows]
    dev = device()
    model = DVAE(DVAEConfig()).to(dev)
    sample = torch.cat([mels[i].float() for i in range(0, len(mels), max(1, len(mels) // 200))], 1)
    model.coef.data = sample.square().mean(1).sqrt()[None, :, None].to(dev)
    path = work / "ckpt" / "dvae.pt"
    start = 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
    if path.exists():
        state = load_state(path, dev)
        model.load_state_dict(state["model"])
        if "optimizer" in state:  # not where training.restore made the checkpoint
            optimizer.load_state_dict(state["optimizer"])
        start = state["step"]
    log = Log(work / "log" / "codec.jsonl")
    rng = np.random.default_rng(start)
    began = time.time()
    for step in range(start, steps):
        done = max(step / steps, (time.time() - began) / limit)
        if done >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = lr * cosine(done, 0.02)
        target = batch(mels, size, frames, rng).to(dev)
        with autocast(dev):
            out, codes = model(target)
        out = out.float()
        diff = out - target
        loss = diff.abs().mean() + 0.05 * diff.square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 25 == 0:
            used = [len(codes[:, q].unique()) for q in range(4)]
            log.write(step=step, l1=diff.abs().mean().item(), used=used, s=time.time() - began)
        if step % 200 == 199:
            save(path, model=model.state_dict(), optimizer=optimizer.state_dict(), step=step + 1)
    save(path, model=model.state_dict(), optimizer=optimizer.state_dict(), step=steps)
    return model


def load(work: Path) -> DVAE:
    model = DVAE(DVAEConfig())
    model.load_state_dict(load_state(work / "ckpt" / "dvae.pt")["model"])
    return model.eval()


@torch.no_grad()
def encode_all(work: Path, again: bool, shard: str = "0/1") -> None:
    model = load(work)
    number, shards = (int(x) for x in shard.split("/"))
    out = work / "codes"
    out.mkdir(exist_ok=True)
    mel = MelSpectrogram()
    for row in data.rows(work)[number::shards]:
        path = out / f"{row['id']}.npy"
        if again or not path.exists():
            with autocast(torch.device("cpu")):
                _, codes = model.encode(data.load_mel(work, row, mel)[None].float())
            np.save(path, codes[0].to(torch.int16).numpy())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--frames", type=int, default=160)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop (annealed) after this long")
    parser.add_argument("--encode-only", action="store_true")
    parser.add_argument("--recode", action="store_true")
    parser.add_argument("--shard", default="0/1", help="encode every n-th clip only")
    args = parser.parse_args()
    if not args.encode_only:
        train(args.work, args.steps, args.batch, args.frames, args.lr, args.minutes * 60)
    encode_all(args.work, args.recode, args.shard)


if __name__ == "__main__":
    main()
