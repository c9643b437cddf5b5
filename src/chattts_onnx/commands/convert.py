"""``chattts convert``: a checkpoint in the published layout becomes a model directory."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Optional

from chattts_onnx.commands.console import ProgressBar, note
from chattts_onnx.errors import InputError
from chattts_onnx.hub.resolve import PRECISIONS, PULLED_NAME, models_directory


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", metavar="SRC", type=Path, help="checkpoint directory (with asset/ in it)")
    parser.add_argument("-o", "--output", metavar="DIR", type=Path, help="model directory (default: in the cache)")
    add_precision(parser)
    parser.add_argument(
        "--calibration", metavar="FILE", type=Path, help="for int8-static: what `chattts calibrate` recorded"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress, no closing line")


def add_precision(parser: argparse.ArgumentParser) -> None:
    """Declare ``--precision`` as every command that converts has it."""
    parser.add_argument("--precision", default="int8", choices=PRECISIONS, help="of the weights (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    """Convert."""
    if not args.source.is_dir():
        raise InputError(
            f"{args.source} is not a directory: give the checkpoint's directory, the one that holds asset/"
        )
    destination = args.output or models_directory() / f"{_name(args.source)}-{args.precision}"
    convert(args.source, destination, args.precision, calibration=args.calibration, quiet=args.quiet)
    return 0


def convert(
    source: Path, destination: Path, precision: str, *, calibration: Optional[Path] = None, quiet: bool = False
) -> None:
    """Convert with a bar, then say where it went."""
    from chattts_onnx.convert.package import convert as convert_checkpoint

    bar = ProgressBar(quiet=quiet)
    started = time.monotonic()
    try:
        convert_checkpoint(
            source,
            destination,
            precision,
            calibration=calibration,
            progress=lambda label, done, total: bar.update("converting", done, total, str(label)),
        )
    finally:
        bar.clear()
    if not quiet:
        note(f"converted {source} to {destination} ({precision}) in {time.monotonic() - started:.0f} s")


def _name(source: Path) -> str:
    """What the checkpoint calls itself; the published one does not, and is the one that the name means."""
    places = (source / "asset" / "model.json", source / "model.json")
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        return PULLED_NAME
    try:
        name = json.loads(path.read_text(encoding="utf-8")).get("name")
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): correct it, or remove it for the published values"
        ) from None
    if not isinstance(name, str) or not name or Path(name).name != name:
        raise InputError(f"{path} gives no usable name: give the model directory with -o")
    return name
