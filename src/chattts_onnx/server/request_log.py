"""Log lines that cannot be forged: control characters of whatever a client sent are escaped, one record is one line."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import Any, Dict, Match

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def configure_logging(level: str, kind: str) -> None:
    """Log to standard error, as text or as JSON lines; replaces what was configured before.

    Only the command does this: an application that embeds the server has its own logging.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if kind == "json" else TextFormatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("chattts_onnx", "uvicorn.error"):
        logging.getLogger(name).setLevel(level.upper())
    logging.getLogger("uvicorn.error").addFilter(_worth_a_line)


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Not what uvicorn says of a connection that sent no HTTP, or of a cut stream, which has a line of ours."""
    return not str(record.msg).startswith(("Invalid HTTP request", "ASGI callable returned without completing"))


class TextFormatter(logging.Formatter):
    """``12:34:56 info chattts_onnx.server: message``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line; a traceback follows, line by line, indented."""
        stamp = time.strftime("%H:%M:%S", time.localtime(record.created))
        line = f"{stamp} {record.levelname.lower()} {record.name}: {escaped(record.getMessage())}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line += "".join(f"\n    {escaped(part)}" for part in trace.splitlines())
        return line


class JSONFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's time, level, logger and message."""
        found: Dict[str, Any] = {
            "time": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            found["traceback"] = self.formatException(record.exc_info)
        return json.dumps(found, ensure_ascii=True)


def escaped(text: str) -> str:
    """``text`` without line breaks or terminal escapes."""
    return _CONTROL.sub(_escape, text).encode("utf-8", "backslashreplace").decode("utf-8")


def _escape(match: Match[str]) -> str:
    return repr(match.group())[1:-1]
