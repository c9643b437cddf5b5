"""What the terminal shows beside the output: notes and one bar, on standard error, and the bar only on a terminal.

Forty lines instead of a dependency: the base install stays small, and a log file is never filled with redrawn bars.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
import unicodedata
from typing import Optional

_BAR = 24
_SECONDS_BETWEEN = 0.1


def note(message: str) -> None:
    """Tell the user something on standard error."""
    with contextlib.suppress(OSError, ValueError):
        print(message, file=sys.stderr, flush=True)


class ProgressBar:
    """One redrawn line; silent when standard error is not a terminal or ``quiet``."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._shown = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._last = 0.0
        self._drawn = False

    def update(self, label: str, done: float, total: float, detail: str = "") -> None:
        """Redraw, at most ten times a second; ``total`` 0 means that it is not known."""
        now = time.monotonic()
        finished = bool(total) and done >= total
        if not self._shown or (now - self._last < _SECONDS_BETWEEN and not finished):
            return
        self._last = now
        if total:
            share = min(max(done / total, 0.0), 1.0)
            filled = round(share * _BAR)
            line = f"{label} [{'#' * filled}{'.' * (_BAR - filled)}] {share:4.0%} {detail}"
        else:
            line = f"{label} {detail}"
        self._write("\r\x1b[K" + _cut(line, shutil.get_terminal_size().columns - 1))
        self._drawn = True

    def clear(self) -> None:
        """Take the line away."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)
            sys.stderr.flush()


def bytes_text(count: int) -> str:
    """A size for people: ``1.2 GB``."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def ask(question: str) -> Optional[bool]:
    """A yes or no from the terminal; None where there is nobody to ask."""
    if sys.stdin is None or not sys.stdin.isatty():
        return None
    note(f"{question} [y/N] ")
    return sys.stdin.readline().strip().lower() in {"y", "yes", "是", "好"}


def _cut(line: str, columns: int) -> str:
    """As much of the line as fits: a Chinese character takes two columns, and a wrapped bar cannot be redrawn."""
    used = 0
    for index, character in enumerate(line):
        used += 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if used > columns:
            return line[:index]
    return line
