"""Train the GPT together with Decoder: `python -m training.gpt --work DIR --minutes 90`.

Cross-entropy on the four heads alone learns to babble long before it learns to read. Three extra
teachers, all from the known symbol durations and all absent from the export, make it read within
minutes: two attention heads told which symbol is being spoken (and which is next), auxiliary heads
that name the symbol heard now and the next two, and the mel that Decoder makes of the hidden states.
"""

from __future__ import annotations

import argparse
import copy
import os
import time
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gpt_data import Corpus, Item, by_kind, collate, lengthened, phonemes, share_matrix
from .gpt_model import GPT, GPTConfig, rope
from .nets import BOOKS, Decoder
from .teacher import BLENDS, HIBARI_VOICE
from .tools import Log, Muon, Peers, autocast, device, load_state, save, seed_all

VOICES = [*BLENDS, HIBARI_VOICE]
MEL_SHARE = 3  # one row in three is decoded to mel
BOOK_WEIGHTS = (1.0, 0.7, 1.0, 0.7)  # the residual books are mostly noise to a reader


class Model(nn.Module):
    """GPT and Decoder as one trainable."""

    def __init__(self, cfg: GPTConfig, share: Tensor) -> None:
        super().__init__()
        self.gpt = GPT(cfg, share)
        self.decoder = Decoder(cfg.width, 128, 192, 5, 192)

    def losses(self, batch: Dict[str, Tensor], spk_id: int, weights: bool = True) -> Dict[str, Tensor]:
        gpt = self.gpt
        text = gpt.embed_text(batch["ids"], batch["voice"], spk_id)
        x = torch.where(batch["is_code"][..., None], gpt.embed_codes(batch["codes"]), text)
        cos, sin = (r.to(x.device) for r in rope(x.shape[1]))
        last, mid, attn = gpt.trunk(x, cos, sin, look=2 if weights else 0)
        at = batch["at"]
        hidden = torch.gather(last, 1, at[..., None].expand(-1, -1, last.shape[-1]))
        flat = batch["target"].reshape(-1, BOOKS)
        real = flat[:, 0] >= 0
        logits = gpt.logits(hidden.reshape(-1, hidden.shape[-1])[real])
        goal = flat[real]
        books = [F.cross_entropy(logits[:, q], goal[:, q]) for q in range(BOOKS)]
        out = {"ce": sum(books) / BOOKS, "code": sum(w * b for w, b in zip(BOOK_WEIGHTS, books)) / sum(BOOK_WEIGHTS)}
        speech = batch["aux"][..., 0] >= 0
        symbols = batch["aux"][speech]
        for name, state, head in (("mid", mid, gpt.aux_mid), ("last", last, gpt.aux_last)):
            chosen = torch.gather(state, 1, at[..., None].expand(-1, -1, state.shape[-1]))[speech]
            guess = head(chosen).float().view(-1, 3, gpt.cfg.vocab)
            out["aux_" + name] = F.cross_entropy(guess.flatten(0, 1), symbols.flatten())
            out["acc_" + name] = (guess[:, 0].argmax(-1) == symbols[:, 0]).float().mean().detach()
        if attn is not None:
            rows = torch.arange(len(at), device=at.device)[:, None].expand_as(at)[speech]
            cut = attn.permute(0, 2, 1, 3)[rows, at[speech]]  # [N, 2, T]
            total = F.pad(cut.cumsum(-1), (1, 0))
            low, high = batch["low"][speech], batch["high"][speech]
            total_now = total[:, 0].gather(1, high[:, None] + 1) - total[:, 0].gather(1, low[:, None])
            total_next = total[:, 1].gather(1, high[:, None] + 2) - total[:, 1].gather(1, low[:, None] + 1)
            out["attn"] = (
                -(torch.log(total_now.clamp(min=1e-5)).mean() + torch.log(total_next.clamp(min=1e-5)).mean()) / 2
            )
        some = torch.randperm(len(at))[
            : -(-len(at) // MEL_SHARE)
        ]  # Decoder costs as much as the trunk: a share of the rows
        mel = self.decoder((hidden * speech[..., None])[some].transpose(1, 2)).float()
        mask = speech[some].repeat_interleave(2, 1)[:, None].float()
        out["mel"] = ((mel - batch["mel"][some]).abs() * mask).sum() / (mask.sum() * mel.shape[1])
        return out


def total_loss(parts: Dict[str, Tensor]) -> Tensor:
    return parts["code"] + 0.25 * parts["aux_mid"] + 0.15 * parts["aux_last"] + 0.3 * parts["attn"] + 1.5 * parts["mel"]


def build(**overrides: Any) -> Model:
    vocab = phonemes.vocabulary()
    cfg = GPTConfig(vocab=len(vocab), voices=len(VOICES), **overrides)
    return Model(cfg, share_matrix(vocab))


def load_decoder(model: Model, work: Path) -> None:
    """Give the model the polished Decoder, where there is one."""
    path = work / "ckpt" / "polish.pt"
    if path.exists():
        model.decoder.load_state_dict(load_state(path)["ema_decoder"])


def load_model(work: Path, *, weights: str = "ema", polished: bool = True) -> Tuple[Model, int, float]:
    """The trained model, ready to be used, the step it was trained to, and in how many minutes."""
    model = build()
    state = load_state(work / "ckpt" / "gpt.pt")
    model.load_state_dict(state[weights])
    if polished:
        load_decoder(model, work)
    return model.eval(), state["step"], state["spent"] / 60


def rate(done: float, warm: float = 0.01, flat: float = 0.5, floor: float = 0.04) -> float:
    """Warm-up, constant, then linear to the floor: any point of the constant part can be extended."""
    if done < warm:
        return (done + 1e-3) / (warm + 1e-3)
    return 1.0 if done < flat else max(floor, 1 - (1 - floor) * (done - flat) / (1 - flat))


def train(args: argparse.Namespace) -> None:
    work, dev = args.work, device()
    peers = Peers(args.meet)
    seed_all(2)
    vocab = phonemes.vocabulary()
    spk = vocab["[spk_emb]"]
    model = build().to(dev)
    corpus = Corpus(work, VOICES, vocab, args.joined, args.cut)
    matrices = [p for n, p in model.named_parameters() if n.startswith("gpt.layers") and p.dim() == 2]
    known = {id(p) for p in matrices}
    others = [p for n, p in model.named_parameters() if id(p) not in known and p.requires_grad]
    if args.polished:
        model.decoder.requires_grad_(False)
    muon = Muon(matrices, lr=args.muon)
    adam = torch.optim.AdamW(others, lr=args.lr, betas=(0.9, 0.98), weight_decay=0.01)
    ema = copy.deepcopy(model)
    step, spent = 0, 0.0
    path = work / "ckpt" / "gpt.pt"
    if path.exists():
        state = load_state(path, dev)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        if "muon" in state:  # not where training.restore made the checkpoint
            muon.load_state_dict(state["muon"])
            adam.load_state_dict(state["adam"])
        step, spent = state["step"], state["spent"]
        if args.polished:
            for m in (model, ema):
                load_decoder(m, work)
    else:
        sample = np.concatenate(
            [i.mel[:, ::7].astype(np.float32) for i in corpus.items[:: max(1, len(corpus.items) // 300)]], 1
        )
        for m in (model, ema):
            m.decoder.coef.data = torch.from_numpy(np.sqrt((sample**2).mean(1)))[None, :, None].to(dev)
    frames = sum(len(i.codes) for i in corpus.items)
    layers = sum(p.numel() for p in model.gpt.layers.parameters())
    print(f"{len(corpus.items)} clips, {frames * 0.032 / 3600:.2f} h, {layers / 1e6:.2f} M parameters in the layers")
    log = Log(work / "log" / "gpt.jsonl")
    rng = np.random.default_rng(step * 7 + peers.rank)
    torch.manual_seed(step * 7 + peers.rank)
    trained = [p for p in model.parameters() if p.requires_grad]
    elapsed = spent
    done = elapsed / (args.minutes * 60)
    began, seen, sums = time.time(), 0, {}
    saved = time.time()

    def checkpoint() -> None:
        save(path, model=model.state_dict(), ema=ema.state_dict(), muon=muon.state_dict(), adam=adam.state_dict(),
             step=step, spent=spent + time.time() - began)  # fmt: skip

    while True:
        for items in corpus.batches(args.tokens, 160 if step < args.short else 10**6, rng):
            if done >= 1 or (args.steps and step >= args.steps):
                if not peers.rank:
                    checkpoint()
                return
            factor = rate(done)
            for group, base in ((muon.param_groups[0], args.muon), (adam.param_groups[0], args.lr)):
                group["lr"] = base * factor
            batch = {k: v.to(dev) for k, v in collate(items, vocab, rng, 0.06).items()}
            with autocast(dev):
                parts = model.losses(batch, spk)
            loss = total_loss(parts)
            muon.zero_grad()
            adam.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(others, 1.0)
            muon.step()
            adam.step()
            step += 1
            if step % peers.every == 0:
                stop = 1e6 if (work / "STOP").exists() else 0.0
                elapsed = peers.mean(trained, spent + time.time() - began + stop)
                done = elapsed / (args.minutes * 60)
                with torch.no_grad():
                    keep = min(0.97, step / (step + 100))
                    for a, b in zip(ema.parameters(), model.parameters()):
                        a.lerp_(b, 1 - keep)
            if peers.rank:
                continue
            seen += batch["ids"].numel()
            for k, v in parts.items():
                sums[k] = sums.get(k, 0.0) + v.item()
            if step % 25 == 0:
                log.write(step=step, min=elapsed / 60, lr=factor, pos=seen, **{k: v / 25 for k, v in sums.items()})
                sums = {}
            if step % 300 == 0:
                log.write(step=step, **validate(ema, corpus, spk, vocab, dev))
            if step % peers.every == 0 and time.time() - saved > args.save:
                checkpoint()
                saved = time.time()


def validate(
    model: Model, corpus: Corpus, spk: int, vocab: Dict[str, int], dev: torch.device
) -> Dict[str, Dict[str, float]]:
    """Losses of clips that were held out: alone, read on from each other, and as clones do, with no voice named."""
    rng = np.random.default_rng(0)
    alone = sorted(corpus.valid, key=len)[:96]
    kinds = by_kind(alone)
    joined = sorted((lengthened(item, kinds, rng) for item in alone), key=len)
    return {
        "valid": losses_of(model, alone, spk, vocab, dev),
        "valid_joined": losses_of(model, joined, spk, vocab, dev),
        "valid_nameless": losses_of(model, [item.continued(nameless=True) for item in joined], spk, vocab, dev),
    }


@torch.no_grad()
def losses_of(model: Model, items: List[Item], spk: int, vocab: Dict[str, int], dev: torch.device) -> Dict[str, float]:
    rng, sums, count = np.random.default_rng(0), {}, 0
    for i in range(0, len(items), 16):
        batch = {k: v.to(dev) for k, v in collate(items[i : i + 16], vocab, rng, 0.0).items()}
        with autocast(dev):
            parts = model.losses(batch, spk)
        for k, v in parts.items():
            sums[k] = sums.get(k, 0.0) + v.item()
        count += 1
    return {k: round(v / max(count, 1), 4) for k, v in sums.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument(
        "--minutes", type=float, default=90, help="training time the schedule is laid out for, over all runs"
    )
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--tokens", type=int, default=6144, help="positions a step")
    parser.add_argument("--short", type=int, default=150, help="steps on short clips only at the start")
    parser.add_argument("--joined", type=float, default=0.0, help="share of the clips read on from others")
    parser.add_argument("--cut", type=float, default=0.0, help="share of the clips with commas that end at one")
    parser.add_argument("--muon", type=float, default=0.02)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument(
        "--polished", action="store_true", help="after the polish: its Decoder stays, hidden states fit it"
    )
    parser.add_argument("--validate", action="store_true", help="only print the losses of held-out clips")
    parser.add_argument("--meet", type=int, default=6, help="steps between the ranks' averages (torchrun)")
    parser.add_argument("--save", type=float, default=120.0, help="seconds between checkpoints")
    args = parser.parse_args()
    if "OMP_NUM_THREADS" in os.environ:
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    if not args.validate:
        train(args)
        return
    model, step, _ = load_model(args.work, polished=False)
    vocab = phonemes.vocabulary()
    for name, losses in validate(model, Corpus(args.work, VOICES, vocab), vocab["[spk_emb]"], vocab, device()).items():
        print(step, name, losses)


if __name__ == "__main__":
    main()
