"""``chattts models``: which models are here, and whether the files of one are what was converted."""

from __future__ import annotations

import argparse

from chattts_onnx.commands.console import bytes_text
from chattts_onnx.config import Manifest
from chattts_onnx.errors import ModelError
from chattts_onnx.hub.resolve import model_directories, resolve_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("action", nargs="?", default="list", choices=("list", "verify"), help="default: %(default)s")
    parser.add_argument("model", nargs="?", metavar="MODEL", help="to verify: a name or a directory")
    parser.add_argument("--precision", help="of the model to verify")


def run(args: argparse.Namespace) -> int:
    """List or verify."""
    if args.action == "verify":
        resolved = resolve_model(args.model, args.precision)
        manifest = Manifest.load(resolved.path)
        manifest.verify(resolved.path)
        print(f"{resolved.description}: {len(manifest.files)} files as they were converted")
        return 0
    default = None
    try:
        default = resolve_model().path
    except ModelError as error:
        print(f"no model speaks by default: {error}")
    for path in model_directories():
        manifest = Manifest.load(path)
        size = bytes_text(sum(entry.size for entry in manifest.files.values()))
        mark = "*" if path == default else " "
        print(f"{mark} {path.name:<20} {manifest.precision:<12} {size:>8}  {manifest.licence}  {path}")
    return 0
