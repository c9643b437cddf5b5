"""The mean of two polished checkpoints: `python -m training.mix --work DIR --other FILE.pt [--share 0.5]`.

Fine-tuning moves a network along a nearly straight valley, and a point between its ends has most of both (Wortsman et
al., "Robust fine-tuning of zero-shot models", CVPR 2022): here of what sounds natural and of what is understood. Writes
DIR/ckpt/polish.pt.
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
    parser.add_argument("--other", type=Path, required=True, help="an earlier polish.pt of the same widths")
    parser.add_argument("--share", type=float, default=0.5, help="of the other")
    args = parser.parse_args()
    path = args.work / "ckpt" / "polish.pt"
    state, other = load_state(path), load_state(args.other)
    vocos, decoder = (mixed(state[name], other[name], args.share) for name in ("ema", "ema_decoder"))
    save(path, model=vocos, ema=vocos, decoder=decoder, ema_decoder=decoder, step=0, spent=0.0,
         mel_judge=state.get("mel_judge"))  # fmt: skip


if __name__ == "__main__":
    main()
