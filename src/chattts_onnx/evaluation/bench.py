"""``chattts bench``: how fast a model is on this machine, side by side with other precisions and with the reference.

Every configuration is a process of its own, and they are measured in turns, round after round, so that a busy machine
slows all of them alike and ratios stay meaningful. One command prints the tables, and can write JSON and a picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

BATCHES = (1, 2, 4, 8)
GPU_BATCHES = (1, 2, 4, 8, 16, 32)
INPUT_TOKENS = 512
"""Prompt length of the latency table, as in the table this project starts from (docs/benchmarks.md)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``chattts bench``."""
    what = parser.add_argument_group("what is measured")
    what.add_argument("--model", nargs="+", default=None, help="names or directories (default: the shipped one)")
    what.add_argument("--precision", nargs="+", default=None, help="one or more; with --random: what to convert to")
    what.add_argument("--random", choices=("full", "tiny"), default=None, help="a generated model of those dims")
    what.add_argument("--work", type=Path, default=None, metavar="DIR", help="keeps generated models (default: cache)")
    what.add_argument("--compare", choices=("reference",), default=None, help="also PyTorch, in the same run")
    what.add_argument("--reference-python", default=None, metavar="PATH", help="a Python that has torch (and ChatTTS)")
    what.add_argument(
        "--reference-kind", choices=("chattts", "transformers", "torch"), default=None, help="default: the first there"
    )
    how = parser.add_argument_group("how")
    how.add_argument("--batch", nargs="+", type=int, default=None, help="batch sizes (default: 1 2 4 8; GPU: to 32)")
    how.add_argument("--threads", type=int, default=None, help="of each graph (default: the physical cores)")
    how.add_argument("--device", default="cpu")
    how.add_argument("--context", type=int, default=200, help="tokens before the timed steps (default: 200)")
    how.add_argument("--input-tokens", type=int, default=INPUT_TOKENS, help="of a request (default: %(default)s)")
    how.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: count what each process computes, for a machine in other use; take --threads 1 with it",
    )
    how.add_argument("--steps", type=int, default=40, help="timed steps of each measurement (default: 40)")
    how.add_argument("--rounds", type=int, default=3, help="turns of each measurement, the median counts (default: 3)")
    how.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    how.add_argument("--load", type=float, default=0.8, help="of arriving requests, by padded capacity (default: 0.8)")
    how.add_argument("--requests", type=int, default=40, help="arriving requests (default: 40)")
    how.add_argument("--seed", type=int, default=1)
    out = parser.add_argument_group("what is kept")
    out.add_argument("--json", default=None, metavar="FILE", help="full report (- for standard output)")
    out.add_argument("--picture", type=Path, default=None, metavar="FILE.svg", help="latency and throughput over batch")


SECTIONS = ("steps", "requests", "speech", "arrivals", "parts", "operators")


def run(args: argparse.Namespace) -> int:
    """Run ``chattts bench``.

    Raises:
        InputError: an option cannot be used.
        ModelError: no such model, or it is damaged.
        MissingExtraError: ``--random`` needs the extra ``convert``.
    """
    from chattts_onnx.evaluation.bench_report import environment_text, picture, tables
    from chattts_onnx.evaluation.bench_run import measure
    from chattts_onnx.evaluation.report import write_json, write_text

    report = measure(args)
    print(environment_text(report))
    print(tables(report))
    if args.json:
        write_json(report, args.json)
    if args.picture:
        write_text(args.picture, picture(report))
    return 0
