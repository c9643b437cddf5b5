"""Teach the text head to name what is being spoken: `python -m training.text_head --work DIR`.

The layout of ChatTTS has a head from hidden states to text symbols, for refinement, which this model was never taught.
Given the hidden states of speech it can say more useful things here: which symbol each of them speaks. The GPT knows,
since an auxiliary head of its training asked it to; this fits a linear head to the finished GPT, whatever was mixed or
restored since, and the run time aligns what was said with what should have been (`chattts_onnx.synthesizer.alignment`).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gpt import VOICES, Model, load_model
from .gpt_data import Corpus, Item, collate, phonemes
from .gpt_model import rope
from .tools import load_state, save, seed_all

ROWS = 12  # clips of like length at a time
NOISE = 0.04  # share of wrong codes among those given, as in training: speech at run time has its mistakes too
BATCH = 2048


def load_text_head(work: Path) -> Tensor:
    """The head, [V, H].

    Raises:
        SystemExit: it was not fitted yet.
    """
    path = work / "ckpt" / "text_head.pt"
    if not path.exists():
        raise SystemExit(f"{path} is missing: run python -m training.text_head --work {work}")
    weight: Tensor = load_state(path)["weight"]
    return weight


@torch.no_grad()
def hidden_states(
    model: Model, items: List[Item], rng: np.random.Generator, noise: float
) -> Iterator[Tuple[Tensor, Tensor]]:
    """Hidden states [N, H] and the symbol [N] that each of them speaks."""
    vocab = phonemes.vocabulary()
    ordered = sorted(items, key=len)
    for i in range(0, len(ordered), ROWS):
        batch = collate(ordered[i : i + ROWS], vocab, rng, noise)
        text = model.gpt.embed_text(batch["ids"], batch["voice"], vocab["[spk_emb]"])
        x = torch.where(batch["is_code"][..., None], model.gpt.embed_codes(batch["codes"]), text)
        last, _, _ = model.gpt.trunk(x, *rope(x.shape[1]))
        hidden = torch.gather(last, 1, batch["at"][..., None].expand(-1, -1, last.shape[-1]))
        symbol = batch["aux"][..., 0]
        yield hidden[symbol >= 0], symbol[symbol >= 0]


def fit(work: Path, clips: int, passes: int) -> None:
    seed_all(5)
    model, _, _ = load_model(work, polished=False)
    corpus = Corpus(work, VOICES, phonemes.vocabulary())
    rng = np.random.default_rng(5)
    chosen = [corpus.items[i] for i in rng.permutation(len(corpus.items))[:clips]]
    hidden, symbol = (torch.cat(part) for part in zip(*hidden_states(model, chosen, rng, NOISE)))
    held_out = corpus.valid or chosen[:1]
    unseen, truth = (torch.cat(part) for part in zip(*hidden_states(model, held_out, rng, 0.0)))
    head = nn.Linear(hidden.shape[1], model.gpt.cfg.vocab, bias=False)
    nn.init.zeros_(head.weight)
    optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = max(1, passes * len(hidden) // BATCH)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        some = torch.randint(len(hidden), (BATCH,))
        loss = F.cross_entropy(head(hidden[some]), symbol[some])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        guess = head(unseen)
    print(
        f"{len(hidden)} states of {len(chosen)} clips; held out: cross-entropy {F.cross_entropy(guess, truth):.3f}, "
        f"right {(guess.argmax(-1) == truth).float().mean():.1%}"
    )
    save(work / "ckpt" / "text_head.pt", weight=head.weight.detach())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--clips", type=int, default=4000, help="at most, drawn from the corpus")
    parser.add_argument("--passes", type=int, default=12)
    args = parser.parse_args()
    fit(args.work, args.clips, args.passes)


if __name__ == "__main__":
    main()
