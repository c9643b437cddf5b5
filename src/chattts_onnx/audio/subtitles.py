"""Segments and their times as subtitles: SubRip, WebVTT or JSON.

Times are taken from the sound itself, sample counts over the rate, so subtitles stay in step however long the text.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Callable, Dict, Iterable, List

from chattts_onnx.errors import InputError


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
        {"text": cue.text, "start": round(cue.start, 4), "end": round(cue.end, 4)} for cue in cues
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
    """An empty line would end the cue, so lines of a text are joined."""
    return " ".join(text.split())
