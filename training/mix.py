"""The mean of two checkpoints: `python -m training.mix --work DIR --other FILE.pt [--stage gpt] [--share 0.5]`.

Fine-tuning moves a network along a nearly straight valley, and a point between its ends has most of both (Wortsman et
al., "Robust fine-tuning of zero-shot models", CVPR 2022): of what sounds natural and of what is understood, of the
speech learnt before and of that learnt now. Writes DIR/ckpt/polish.pt, or gpt.pt.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Dict

from torch import Tensor

from .tools import load_state, save


def mixed(ours: Dict[str, Tensor], others: Dict[str, Tensor], share: float) -> Dict[str, Tensor]:
    return {k: v.lerp(others[k], share) if v.is_floating_point() else v for k, v in ours.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--other", type=Path, required=True, help="an earlier checkpoint of that stage, same widths")
    parser.add_argument("--stage", choices=("gpt", "polish"), default="polish")
    parser.add_argument("--share", type=float, default=0.5, help="of the other")
    args = parser.parse_args()
    path = args.work / "ckpt" / f"{args.stage}.pt"
    state, other = load_state(path), load_state(args.other)
    mean = mixed(state["ema"], other["ema"], args.share)
    if args.stage == "gpt":
        save(path, model=mean, ema=mean, step=state["step"], spent=0.0)
        return
    decoder = mixed(state["ema_decoder"], other["ema_decoder"], args.share)
    save(path, model=mean, ema=mean, decoder=decoder, ema_decoder=decoder, step=0, spent=0.0,
         mel_judge=state.get("mel_judge"))  # fmt: skip


if __name__ == "__main__":
    main()
