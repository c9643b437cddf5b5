"""``chattts pull``: the published weights, fetched, verified and converted, with their licence shown first."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from chattts_onnx.commands.console import ProgressBar, ask, bytes_text, note
from chattts_onnx.commands.convert import add_precision, convert
from chattts_onnx.errors import InputError
from chattts_onnx.hub.checkpoint import fetch_checkpoint, missing_bytes
from chattts_onnx.hub.published import LICENCE_NOTICE, PUBLISHED_FILES, SOURCES
from chattts_onnx.hub.resolve import pulled_directory

DESCRIPTION = (
    "Fetch the nine published files of 2Noise/ChatTTS (1.2 GB), verify their sha256 and convert them.\n"
    "HF_ENDPOINT, HF_TOKEN, HF_HOME, HF_HUB_OFFLINE and the proxy variables are honoured; an interrupted\n"
    "download goes on where it stopped. Without a network: put the files into DIR/asset by hand and run\n"
    "`chattts convert DIR`."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--source", default="auto", choices=("auto", *SOURCES), help="hub (default: the first that answers)"
    )
    add_precision(parser)
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="model directory (default: in the cache)")
    parser.add_argument("--download-only", action="store_true", help="fetch and verify, do not convert")
    parser.add_argument("-y", "--yes", action="store_true", help="accept the weights' licence without being asked")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def run(args: argparse.Namespace) -> int:
    """Fetch and convert."""
    note(LICENCE_NOTICE)
    files, size = missing_bytes()
    if files and not args.yes:
        answer = ask(f"Fetch {files} files ({bytes_text(size)}) under that licence?")
        if answer is None:
            raise InputError("nobody to ask whether the licence is accepted: say so with --yes")
        if not answer:
            raise InputError("nothing was fetched: the licence was not accepted")
    checkpoint = _fetch(args)
    if args.download_only:
        note(f"verified: {checkpoint}")
        return 0
    destination = args.output or pulled_directory(args.precision)
    convert(checkpoint, destination, args.precision, quiet=args.quiet)
    if args.output is None:
        note('`chattts say "你好"` now speaks with it')
    return 0


def _fetch(args: argparse.Namespace) -> Path:
    bar = ProgressBar(quiet=args.quiet)
    numbers = {file.path: number for number, file in enumerate(PUBLISHED_FILES, 1)}

    def report(path: str, done: int, total: int) -> None:
        label = f"{numbers[path]}/{len(numbers)} {os.path.basename(path)}"  # noqa: PTH119 - a path of the hub
        bar.update(label, done, total, f"{bytes_text(done)} of {bytes_text(total)}")

    try:
        return fetch_checkpoint(args.source, progress=report)
    finally:
        bar.clear()
