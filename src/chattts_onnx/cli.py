"""The command ``chattts``: parse / run / main.

Parsed in two stages, the sub-command's name first and its own arguments by its own module after, so that
``chattts --help`` answers at once and each sub-command loads only what it needs: nothing here imports NumPy or ONNX
Runtime. What a user can get wrong ends in one line on standard error and the exit code of the error's class.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import sys
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import Dict, List, NoReturn, Optional, Sequence, TextIO, Tuple

from chattts_onnx import __version__
from chattts_onnx.errors import ChatTTSError, InputError, MissingExtraError

INTERRUPTED = 130
BROKEN_PIPE = 141
USAGE = 2
UNEXPECTED = 1


@dataclass(frozen=True)
class Command:
    """A sub-command: the module that has ``add_arguments(parser)`` and ``run(args) -> int``."""

    module: str
    summary: str


COMMANDS: Dict[str, Command] = {
    "say": Command("chattts_onnx.commands.say", "speak text into a file, a pipe or the loudspeaker"),
    "voices": Command("chattts_onnx.commands.voices", "list, show, add, remove, mix, export and clone voices"),
    "serve": Command("chattts_onnx.server", "serve speech over HTTP, as OpenAI's clients expect it"),
    "wyoming": Command("chattts_onnx.server.wyoming", "serve speech to Home Assistant (Wyoming protocol)"),
    "pull": Command("chattts_onnx.commands.pull", "fetch the published weights, verify and convert them"),
    "convert": Command("chattts_onnx.commands.convert", "make a model directory from a checkpoint"),
    "calibrate": Command("chattts_onnx.evaluation.calibrate_command", "record activations for static quantisation"),
    "models": Command("chattts_onnx.commands.models", "list the models here, or verify the files of one"),
    "bench": Command("chattts_onnx.evaluation.bench", "measure speed and memory on this machine"),
    "eval": Command("chattts_onnx.evaluation.command", "measure error rates by speech recognition"),
    "doctor": Command("chattts_onnx.doctor", "check this machine and say what to fix"),
    "completion": Command("chattts_onnx.commands.completion", "print the completion script of a shell"),
}

_EXTRA_OF_PACKAGE = {
    "fastapi": "server",
    "uvicorn": "server",
    "starlette": "server",
    "pydantic": "server",
    "prometheus_client": "server",
    "onnx": "convert",
    "safetensors": "convert",
    "wyoming": "wyoming",
    "faster_whisper": "eval",
    "soundfile": "audio",
    "soxr": "audio",
    "sounddevice": "play",
}


class OneLineParser(argparse.ArgumentParser):
    """argparse, but a wrong argument is one line, as every other error is."""

    def error(self, message: str) -> NoReturn:
        """Raise instead of printing the usage and leaving."""
        raise InputError(f"{message} (see `{self.prog} --help`)")


def parse(argv: Sequence[str]) -> Tuple[Command, argparse.Namespace]:
    """Split ``argv`` into the sub-command and its arguments.

    Raises:
        InputError: no such sub-command or argument.
        MissingExtraError: the sub-command needs an optional package to tell its arguments.
    """
    top = _top_parser()
    args = top.parse_args(list(argv))
    if args.command is None:
        top.print_help()
        raise SystemExit(USAGE)
    command = COMMANDS.get(args.command)
    if command is None:
        known = ", ".join(COMMANDS)
        raise InputError(f"unknown command {args.command!r}: use one of {known} (see `chattts --help`)")
    module = load(command)
    parser = OneLineParser(
        prog=f"chattts {args.command}",
        description=_description(command, module),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    parsed = parser.parse_args(args.arguments)
    parsed.debug = args.debug
    parsed.command_module = module
    return command, parsed


def load(command: Command) -> ModuleType:
    """Import the module of a sub-command.

    Raises:
        MissingExtraError: it needs a package that is not installed.
        InputError: this installation does not have that sub-command.
    """
    try:
        return importlib.import_module(command.module)
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "chattts_onnx":
            raise InputError(f"this installation has no {error.name}: install chattts-onnx again") from error
        extra = _EXTRA_OF_PACKAGE.get(package, "all")
        raise MissingExtraError(package, extra, "this command") from error


def run(args: argparse.Namespace) -> int:
    """Run the sub-command that was parsed."""
    return int(args.command_module.run(args) or 0)


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Entry point: parse, run, and turn what went wrong into one line and an exit code."""
    _speak_utf8()
    arguments = _decoded(sys.argv[1:]) if argv is None else list(argv)
    debug = bool(os.environ.get("CHATTTS_DEBUG")) or "--debug" in arguments[:1]
    try:
        _, args = parse(arguments)
        if args.debug:
            logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
        code = run(args)
        sys.stdout.flush()
    except ChatTTSError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except KeyboardInterrupt:
        _print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return BROKEN_PIPE
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}", ChatTTSError.exit_code, debug=debug)
    except MemoryError:
        return _fail("out of memory: use a smaller precision, model or text", ChatTTSError.exit_code, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last line of defence between a defect and a user
        message = f"unexpected {type(error).__name__}: {error} (a defect: run with CHATTTS_DEBUG=1 and report it)"
        return _fail(message, UNEXPECTED, debug=debug)
    return code


def _top_parser() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = OneLineParser(
        prog="chattts",
        usage="chattts [--version] [--debug] COMMAND [ARGUMENTS]",
        description="Text to speech in Mandarin and English on ONNX Runtime.",
        epilog=f"commands:\n{listing}\n\nchattts COMMAND --help tells a command's arguments.\n"
        'Start with: chattts say "你好，世界。Hello, world." -o hello.wav',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"chattts-onnx {__version__}")
    parser.add_argument("--debug", action="store_true", help="log everything and show tracebacks")
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser


def _description(command: Command, module: ModuleType) -> str:
    description = getattr(module, "DESCRIPTION", None)
    return str(description) if description else command.summary[0].upper() + command.summary[1:] + "."


def _fail(message: str, code: int, *, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    _print_error(message)
    return code


def _print_error(message: str) -> None:
    line = " ".join(message.split())
    with contextlib.suppress(OSError, ValueError):
        print(f"chattts: {line}", file=sys.stderr)


def _speak_utf8() -> None:
    # Pipes on Windows use the ANSI code page unless told otherwise; the text here is Chinese.
    streams: List[Tuple[Optional[TextIO], str]] = [
        (sys.stdin, "surrogateescape"),
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ]
    for stream, errors in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors=errors)


def _decoded(arguments: Sequence[str]) -> List[str]:
    """Arguments as UTF-8 even in a locale that is not: an old box's ``LANG=C`` must not garble the text."""
    if os.name == "nt":
        return list(arguments)
    decoded = []
    for argument in arguments:
        try:
            decoded.append(os.fsencode(argument).decode("utf-8"))
        except UnicodeError:
            decoded.append(argument)
    return decoded


def _silence_stdout() -> None:
    # The reader has gone; without this the interpreter complains once more while it flushes at exit.
    with contextlib.suppress(OSError, ValueError):
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, sys.stdout.fileno())
        os.close(descriptor)
