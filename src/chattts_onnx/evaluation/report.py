"""What every measurement says about itself: the machine, the versions, and one way to print a table.

A figure without its circumstances cannot be compared, so each report starts with the same header and is also written
as JSON.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence

from chattts_onnx.errors import InputError, OutputError


def environment() -> Dict[str, Any]:
    """Machine and versions, as a report's header."""
    import numpy as np
    import onnxruntime

    import chattts_onnx

    return {
        "processor": _processor(),
        "cores": available_cores(),
        "instructions": _instructions(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "chattts_onnx": chattts_onnx.__version__,
        "load_average": _load_average(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def environment_line(header: Dict[str, Any]) -> str:
    """The header in one line, for people."""
    return (
        f"{header['processor']}, {header['cores']} cores ({header['instructions']}), {header['memory_gib']} GiB, "
        f"{header['system']}, Python {header['python']}, onnxruntime {header['onnxruntime']}, "
        f"chattts-onnx {header['chattts_onnx']}, load average {header['load_average']}, {header['date']}"
    )


def available_cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def update_document(path: Path, mark: str, text: str) -> None:
    """Put ``text`` between ``<!-- begin MARK -->`` and ``<!-- end MARK -->`` of a Markdown file.

    Raises:
        InputError: the file has no such marks.
    """
    before = path.read_text(encoding="utf-8")
    marked = re.compile(rf"(<!-- begin {mark} -->\n).*?(<!-- end {mark} -->)", re.DOTALL)
    if not marked.search(before):
        raise InputError(f"{path} has no marks <!-- begin {mark} --> and <!-- end {mark} -->: add them")
    path.write_text(marked.sub(lambda found: f"{found.group(1)}\n{text}\n\n{found.group(2)}", before), encoding="utf-8")


def command_line(script: str, **shown: str) -> str:
    """The command of this process, for a document: ``shown`` says what an option's value is called there."""
    # Where a model or a report lies is nobody's business; its name is.
    pairs = zip(["", *sys.argv[1:]], sys.argv[1:])
    values = [
        shown.get(before.lstrip("-"), Path(one).name if Path(one).is_absolute() else one) for before, one in pairs
    ]
    return shlex.join(["python", script, *values])


def publish(
    text: str, report: Dict[str, Any], *, json_path: Optional[str], document: Optional[Path], mark: str, command: str
) -> None:
    """Print a benchmark's result; keep it as JSON and, under the command that made it, in a document, where asked."""
    print(text)
    if json_path:
        write_json(report, json_path)
    if document:
        update_document(document, mark, f"```\n{command}\n```\n\n{text}")


def percent(value: Optional[Mapping[str, Any]], *, signed: bool = False) -> str:
    """A rate with its interval (``vars`` of a `scoring.Rate`) as a cell; empty for None."""
    if value is None:
        return ""
    sign = "+" if signed else ""
    middle, low, high = (format(100 * value[name], sign + ".1f") for name in ("value", "low", "high"))
    return f"{middle} % ({low} to {high})"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, its columns aligned for reading in a terminal too."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(header))]
    lines = [
        "| " + " | ".join(cell + " " * (width - _width(cell)) for cell, width in zip(row, widths)) + " |"
        for row in cells
    ]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def write_json(report: Dict[str, Any], target: str) -> None:
    """Write a report to a file, or to standard output where ``target`` is ``-``.

    Raises:
        OutputError: the file cannot be written.
    """
    text = json.dumps(report, indent=2, ensure_ascii=False)
    if target == "-":
        print(text)
        return
    write_text(Path(target), text + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a report's file, its folder made where needed.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error}): choose another place") from None


class Progress:
    """One line on a terminal's standard error that counts; silent elsewhere."""

    def __init__(self, label: str, total: int) -> None:
        self._label, self._total, self._done = label, total, 0
        self._shown = sys.stderr.isatty()

    def advance(self, detail: str = "") -> None:
        """One more is done."""
        self._done += 1
        if self._shown:
            sys.stderr.write(f"\r\x1b[K{self._label}: {self._done} of {self._total} {detail[:60]}")
            sys.stderr.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def _width(text: str) -> int:
    return sum(2 if "\u2e80" <= character <= "\uffe6" else 1 for character in text)


def _processor() -> str:
    name = _cpuinfo("model name") or _cpuinfo("Model")
    return name or platform.processor() or platform.machine()


def _instructions() -> str:
    flags = (_cpuinfo("flags") or _cpuinfo("Features") or "").split()
    known = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm", "sve")
    found: List[str] = [flag for flag in known if flag in flags]
    return " ".join(found) or platform.machine()


def _cpuinfo(key: str) -> Optional[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None


def _memory_gib() -> Optional[int]:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, OSError, ValueError):
        return None


def _load_average() -> Optional[float]:
    return round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None
