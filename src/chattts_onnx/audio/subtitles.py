"""Segments and their times as subtitles: SubRip, WebVTT or JSON.

Times are taken from the sound itself, sample counts over the rate, so subtitles stay in step however long the text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List

from chattts_onnx.errors import InputError

# What is written but not said: control tags (any case, spaces forgiven), Markdown's marks and the targets of its links.
_TAG = re.compile(
    r"[\[［][ \t]{0,4}(?:pause[^\[\]［］\n]{0,30}|(?:uv|v|ll?)[ _-]break|[a-z_][a-z0-9_]{0,20})[ \t]{0,4}[\]］](?!\()",
    re.IGNORECASE,
)
_LINE_MARK = re.compile(r"^[ \t]{0,3}(?:#{1,6}|[-*+>])[ \t]{1,4}", re.MULTILINE)
_LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{0,500}\)")
_EMPHASIS = re.compile(r"\*{1,3}(?=\S)|(?<=\S)\*{1,3}|__|`{1,3}")


@dataclass(frozen=True)
class Cue:
    """One piece of text and when it is heard."""

    text: str
    start: float
    """Seconds from the beginning."""
    end: float
    """Seconds."""


def to_srt(cues: Iterable[Cue]) -> str:
    """SubRip: numbered cues, ``00:00:01,500 --> 00:00:03,000``."""
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{_one_block(cue.text)}\n"
        for number, cue in enumerate(cues, 1)
    ]
    return "\n".join(blocks)


def to_vtt(cues: Iterable[Cue]) -> str:
    """WebVTT; markup characters of the text are escaped."""
    blocks = ["WEBVTT\n"]
    for cue in cues:
        text = _one_block(cue.text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{text}\n")
    return "\n".join(blocks)


def to_json(cues: Iterable[Cue]) -> str:
    """A JSON object with ``segments``: text, start and end in seconds."""
    segments: List[Dict[str, object]] = [
        {"text": _one_block(cue.text), "start": round(cue.start, 4), "end": round(cue.end, 4)} for cue in cues
    ]
    return json.dumps({"segments": segments}, ensure_ascii=False, indent=2) + "\n"


_WRITERS: Dict[str, Callable[[Iterable[Cue]], str]] = {"srt": to_srt, "vtt": to_vtt, "json": to_json}
SUBTITLE_FORMATS = tuple(_WRITERS)


def render(cues: Iterable[Cue], format: str) -> str:  # noqa: A002 - what users call it
    """Subtitles in one of `SUBTITLE_FORMATS`.

    Raises:
        InputError: no such format.
    """
    writer = _WRITERS.get(format.lower().lstrip("."))
    if writer is None:
        raise InputError(f"unknown subtitle format {format[:32]!r}: use one of {', '.join(_WRITERS)}")
    return writer(cues)


def _clock(seconds: float, separator: str) -> str:
    milliseconds = max(0, round(seconds * 1000))
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, milliseconds = divmod(milliseconds, 1000)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}{separator}{milliseconds:03d}"


def _one_block(text: str) -> str:
    """What is read of the text, on one line: an empty one would end the cue."""
    for pattern, kept in ((_TAG, ""), (_LINE_MARK, ""), (_LINK, r"\1"), (_EMPHASIS, "")):
        text = pattern.sub(kept, text)
    return " ".join(text.split())
