"""``chattts eval``: speak fixed sentences, listen to them with a recogniser, and count.

One run is one model and precision over one list of sentences; several runs over the same list are compared sentence
by sentence. Recordings made elsewhere, such as a teacher's, go through the same ear with ``--manifest``: that is the
floor below which no figure means anything.
"""

from __future__ import annotations

import argparse
from pathlib import Path

PREDICTORS = ("distill-mos", "dnsmos")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``chattts eval``."""
    speak = parser.add_argument_group("what speaks")
    speak.add_argument("--model", nargs="+", default=None, help="names or directories (default: the shipped one)")
    speak.add_argument("--precision", nargs="+", default=None, help="one or more; the first is the base")
    speak.add_argument(
        "--voices", default=None, help="comma-separated; sentences take turns (default: each language's)"
    )
    speak.add_argument("--every-voice", action="store_true", help="each voice speaks every sentence")
    speak.add_argument("--seed", type=int, default=1)
    speak.add_argument("--threads", type=int, default=None)
    speak.add_argument("--device", default="cpu")
    text = parser.add_argument_group("what is said")
    text.add_argument("--language", choices=("zh", "en"), default=None, help="only this built-in list")
    text.add_argument("--texts", nargs="+", type=Path, default=None, help="text files, one sentence a line")
    text.add_argument(
        "--manifest", nargs="+", type=Path, default=None, help="score recordings: file<TAB>text<TAB>language"
    )
    text.add_argument("--limit", type=int, default=None, help="at most so many sentences of each list")
    out = parser.add_argument_group("what is kept")
    out.add_argument("--json", default=None, metavar="FILE", help="full report (- for standard output)")
    out.add_argument("--save-audio", type=Path, default=None, metavar="DIR", help="keep the recordings and a manifest")
    out.add_argument("--show", action="store_true", help="print every sentence that was not heard as written")
    out.add_argument("--quality", nargs="+", choices=PREDICTORS, default=[], help="predicted listening scores (dev)")
    out.add_argument("--quality-python", default=None, metavar="PATH", help="a Python that has torch and distillmos")
    out.add_argument("--listen-threads", type=int, default=1, help="cores of the recogniser")


def run(args: argparse.Namespace) -> int:
    """Run ``chattts eval``.

    Raises:
        InputError: a list or manifest cannot be read.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    from chattts_onnx.evaluation.evaluate import evaluate

    evaluate(args)
    return 0
