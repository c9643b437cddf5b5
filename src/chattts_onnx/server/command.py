"""``chattts serve``: settings, model, banner, exit code. Imports FastAPI and uvicorn only when it runs."""

from __future__ import annotations

import argparse
import sys
from typing import TextIO

from chattts_onnx.errors import MissingExtraError
from chattts_onnx.server.settings import ServerSettings, add_setting_arguments, load_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``chattts serve``: one for each setting."""
    add_setting_arguments(parser)
    parser.add_argument("--print-config", action="store_true", help="print the effective settings as TOML and leave")


def run(args: argparse.Namespace) -> int:
    """Serve until a signal says stop.

    Returns:
        0 when all running speech was finished, 1 when some was cut, 3 when the model could not be loaded, 70 when the
        engine died.
    """
    from chattts_onnx.server.request_log import configure_logging

    configure_logging("info", "text")
    settings = load_settings(args)
    if args.print_config:
        print(settings.describe())  # noqa: T201 - what was asked for
        return 0
    configure_logging(settings.log_level, settings.log_format)
    _require("fastapi", "uvicorn", "prometheus_client", "multipart")
    warn_of_exposure(settings, sys.stderr)

    from chattts_onnx.server.http_server import serve

    return serve(settings)


def warn_of_exposure(settings: ServerSettings, out: TextIO) -> None:
    """Say so when anybody on the network may use the server."""
    if not settings.loopback and not settings.api_keys:
        out.write(
            f"warning: listening on {settings.host} without an API key: anyone who reaches this address can use the "
            "server. Set --api-key-file, or listen on 127.0.0.1 behind a proxy.\n"
        )
    if not settings.loopback and sys.version_info < (3, 10):
        out.write(
            "warning: on Python 3.8 and 3.9 the newest web libraries are not available: keep the server on the "
            "loopback or behind a proxy.\n"
        )


def _require(*packages: str) -> None:
    import importlib.util

    for package in packages:
        if importlib.util.find_spec(package) is None:
            names = {"multipart": "python-multipart", "prometheus_client": "prometheus-client"}
            raise MissingExtraError(names.get(package, package), "server", "`chattts serve`")
