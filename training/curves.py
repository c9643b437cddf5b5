"""Draw the logs as PNGs: `python -m training.curves --work DIR --out training/curves`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Dict, List

from .synth import read_lines


def column(rows: List[Dict[str, Any]], x: str, y: str) -> tuple:
    """Values of two keys where both are there."""
    pairs = [(r[x], r[y]) for r in rows if x in r and y in r]
    return tuple(zip(*pairs)) if pairs else ((), ())


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--out", type=Path, default=Path("training/curves"))
    args = parser.parse_args()
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    args.out.mkdir(parents=True, exist_ok=True)
    log = args.work / "log"

    def draw(name: str, panels: List[tuple]) -> None:
        figure, axes = plt.subplots(1, len(panels), figsize=(4.2 * len(panels), 3.2))
        for axis, (title, lines, unit) in zip(axes if len(panels) > 1 else [axes], panels):
            for label, (x, y) in lines:
                axis.plot(x, y, label=label, marker="." if len(x) < 30 else None, linewidth=1)
            axis.set_title(title, fontsize=9)
            axis.set_xlabel(unit, fontsize=8)
            axis.tick_params(labelsize=7)
            axis.legend(fontsize=7)
            axis.grid(alpha=0.3)
        figure.tight_layout()
        figure.savefig(args.out / f"{name}.png", dpi=70)
        plt.close(figure)

    codec = list(read_lines(log / "codec.jsonl"))
    draw("codec", [("DVAE: log-mel L1", [("train", column(codec, "step", "l1"))], "step")])
    gpt = list(read_lines(log / "gpt.jsonl"))
    valid, joined, nameless = (
        [{"step": r["step"], **r[name]} for r in gpt if name in r]
        for name in ("valid", "valid_joined", "valid_nameless")
    )
    train = [r for r in gpt if "ce" in r and r["ce"] > 1.5][2:]  # the first row after a resume is partial
    draw(
        "gpt",
        [
            (
                "cross-entropy of the codes",
                [
                    ("train (noised)", column(train, "step", "ce")),
                    ("held out", column(valid, "step", "ce")),
                    ("held out, joined", column(joined, "step", "ce")),
                    ("and nobody named", column(nameless, "step", "ce")),
                ],
                "step",
            ),
            ("symbol heard now: right", [(k, column(train, "step", "acc_" + k)) for k in ("mid", "last")], "step"),
            ("alignment loss, mel L1", [(k, column(train, "step", k)) for k in ("attn", "mel")], "step"),
        ],
    )
    heard = list(read_lines(log / "evaluate.jsonl"))
    draw(
        "evaluate", [("errors through whisper-base", [(k, column(heard, "step", k)) for k in ("zh", "en")], "GPT step")]
    )
    vocoder, decoder, polish = (list(read_lines(log / f"{name}.jsonl")) for name in ("vocoder", "decoder", "polish"))
    panels = [
        ("Vocos on real mels", [(k, column(vocoder, "step", k)) for k in ("stft", "mel", "mag", "phase")], "step")
    ]
    if decoder:
        lines = [(k, column(decoder, "step", k)) for k in ("mel", "liveliness", "d", "adv", "feat")]
        panels.append(("Decoder and a judge of mels", lines, "step"))
    if polish:
        panels.append(
            (
                "Decoder + Vocos on hidden states",
                [(k, column(polish, "step", k)) for k in ("stft", "mel", "mel_in", "mag", "phase")],
                "step",
            )
        )
    draw("vocoder", panels)


if __name__ == "__main__":
    main()
