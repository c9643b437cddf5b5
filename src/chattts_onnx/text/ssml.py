"""A subset of SSML as spans of plain text with tags.

SSML is how other systems' users already write pauses, voices and readings. It is translated into what this engine has
(spans of text, each with its voice, its rate and the pause after it), and nothing beyond: an element that is not known
is read as if it were not there, with a warning, so that text is never lost. Recommendation followed for names and
values: W3C SSML 1.1.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Dict, List, Optional

from chattts_onnx.errors import InputError
from chattts_onnx.text import numbers_en, numbers_zh
from chattts_onnx.text.markup import parse_xml
from chattts_onnx.text.normalizer import detect_language

_log = logging.getLogger(__name__)

MAX_DEPTH = 10
MAX_BREAK_MS = 10_000
MIN_RATE, MAX_RATE = 0.25, 4.0

_BREAKS_MS = {"none": 0, "x-weak": 80, "weak": 160, "medium": 380, "strong": 750, "x-strong": 1200}
_RATES = {"x-slow": 0.5, "slow": 0.8, "medium": 1.0, "default": 1.0, "fast": 1.25, "x-fast": 1.6}
_AFTER_MS = {"p": 750, "s": 380}
_TRANSPARENT = frozenset(
    {"speak", "prosody", "voice", "sub", "say-as", "p", "s", "emphasis", "lang", "w", "token", "phoneme"}
)
_SILENT = frozenset({"desc", "metadata", "meta", "lexicon", "mark", "lookup"})
_TIME = re.compile(r"\+?([0-9]{1,7}(?:\.[0-9]{1,6})?)(ms|s)")
_PERCENT = re.compile(r"([+-]?)([0-9]{1,4}(?:\.[0-9]{1,3})?)%")


@dataclass(frozen=True)
class Span:
    """A stretch of the document that is spoken in one way."""

    text: str
    """Plain text with tags, white space collapsed; empty for a pause at the very start."""
    voice: Optional[str] = None
    """Name of the voice asked for, or None: the one of the request."""
    rate: Optional[float] = None
    """Speaking rate relative to normal, 0.25 to 4, or None."""
    pause_ms: int = 0
    """Silence after it."""
    language: Optional[str] = None
    """``zh`` or ``en`` if the document says so."""


@dataclass(frozen=True)
class _State:
    voice: Optional[str] = None
    rate: Optional[float] = None
    language: Optional[str] = None
    interpret_as: Optional[str] = None
    silent: bool = False


def is_ssml(text: str) -> bool:
    """Whether ``text`` looks like an SSML document."""
    return re.match(r"\s*(?:<\?xml[^>]{0,200}\?>\s*)?<speak[\s>/]", text) is not None


def parse_ssml(document: str) -> List[Span]:
    """The spans of an SSML document, in order.

    Raises:
        InputError: malformed (with line and column), a document type or entity, nested deeper than 10, no ``speak``
            at the top, or a value that cannot be read.
    """
    reader = _Reader()
    parse_xml(document, start=reader.start, end=reader.end, data=reader.data, max_depth=MAX_DEPTH)
    return reader.spans


class _Reader:
    def __init__(self) -> None:
        self.spans: List[Span] = []
        self._states: List[_State] = []
        self._text = ""

    def start(self, name: str, attributes: Dict[str, str]) -> None:
        if not self._states:
            if name != "speak":
                raise InputError(f"the document starts with <{name}>: put the text into <speak> … </speak>")
            self._states.append(_State())
        state = self._states[-1]
        voice, rate, language = state.voice, state.rate, _language(attributes.get("lang")) or state.language
        interpret_as, silent = None, state.silent or name in _SILENT
        if name in _AFTER_MS:
            self._flush(0)
        if name == "break":
            self._flush(_break_ms(attributes))
        elif name == "prosody":
            rate = _rate(attributes.get("rate"), rate)
            for unused in sorted(set(attributes) - {"rate"}):
                _log.warning("SSML: prosody %s is not supported and was ignored", unused)
        elif name == "voice":
            voice = attributes.get("name", voice)
        elif name == "sub":
            if "alias" not in attributes:
                raise InputError("<sub> needs an alias: write what is to be said")
            if not silent:
                self._text += f" {attributes['alias']} "
            silent = True
        elif name == "say-as":
            interpret_as = attributes.get("interpret-as", "")
        elif name not in _TRANSPARENT and name not in _SILENT:
            _log.warning("SSML: <%s> is not supported; its text is read plainly", name)
        new = _State(voice, rate, language, interpret_as or state.interpret_as, silent)
        if (new.voice, new.rate, new.language) != (state.voice, state.rate, state.language):
            self._flush(0)
        self._states.append(new)

    def end(self, name: str) -> None:
        inner = self._states.pop()
        outer = self._states[-1]
        if name in _AFTER_MS:
            self._flush(_AFTER_MS[name], inner)
        elif name == "speak" or (inner.voice, inner.rate, inner.language) != (outer.voice, outer.rate, outer.language):
            self._flush(0, inner)

    def data(self, text: str) -> None:
        state = self._states[-1]
        if state.silent:
            return
        self._text += _say_as(text, state.interpret_as, state.language) if state.interpret_as else text

    def _flush(self, pause_ms: int, state: Optional[_State] = None) -> None:
        """End the current span; a pause without text before it lengthens the one before."""
        state = state or self._states[-1]
        text = " ".join(self._text.split())
        self._text = ""
        if text:
            self.spans.append(Span(text, state.voice, state.rate, pause_ms, state.language))
        elif pause_ms and self.spans:
            last = self.spans[-1]
            total = min(MAX_BREAK_MS, max(last.pause_ms, pause_ms))
            self.spans[-1] = Span(last.text, last.voice, last.rate, total, last.language)
        elif pause_ms:
            self.spans.append(Span("", state.voice, state.rate, pause_ms, state.language))


def _language(value: Optional[str]) -> Optional[str]:
    prefix = (value or "").lower()[:2]
    return prefix if prefix in ("zh", "en") else None


def _break_ms(attributes: Dict[str, str]) -> int:
    time, strength = attributes.get("time"), attributes.get("strength")
    if time is not None:
        match = _TIME.fullmatch(time.strip())
        if match is None:
            raise InputError(f"break time {time!r} is no time: write e.g. 500ms or 0.5s")
        return min(MAX_BREAK_MS, round(float(match.group(1)) * (1 if match.group(2) == "ms" else 1000)))
    if strength is not None and strength not in _BREAKS_MS:
        raise InputError(f"break strength {strength!r} is unknown: use one of {', '.join(_BREAKS_MS)}")
    return _BREAKS_MS[strength or "medium"]


def _rate(value: Optional[str], outer: Optional[float]) -> Optional[float]:
    if value is None:
        return outer
    value = value.strip()
    percent = _PERCENT.fullmatch(value)
    if value in _RATES:
        rate = _RATES[value]
    elif percent is not None:
        share = float(percent.group(2)) / 100
        rate = {"+": 1 + share, "-": 1 - share, "": share}[percent.group(1)]
    elif re.fullmatch(r"[0-9]{1,3}(?:\.[0-9]{1,6})?", value):
        rate = float(value)
    else:
        raise InputError(f"prosody rate {value!r} cannot be read: write e.g. 120%, slow or 1.2")
    return min(MAX_RATE, max(MIN_RATE, rate * (outer or 1.0)))


def _say_as(text: str, interpret_as: str, language: Optional[str]) -> str:
    language = language or detect_language(text, "en")
    if interpret_as in ("characters", "spell-out", "verbatim"):
        return (
            " "
            + " ".join(_digits(char, language) if char.isdigit() else char for char in text if not char.isspace())
            + " "
        )
    if interpret_as in ("digits", "telephone", "number_digit"):
        return re.sub("[0-9]{1,200}", lambda match: f" {_digits(match.group(), language)} ", text)
    if interpret_as == "ordinal":
        if language == "zh":
            return re.sub("(?<![0-9])[0-9]{1,16}", lambda match: "第" + numbers_zh.cardinal(match.group()), text)
        return re.sub(
            "(?<![0-9])[0-9]{1,15}(?:st|nd|rd|th)?",
            lambda match: numbers_en.ordinal(match.group().rstrip("stndrh")),
            text,
        )
    # cardinal, date, time, currency, unit …: the normaliser knows them by their form.
    return text


def _digits(text: str, language: str) -> str:
    text = "".join(char for char in text if char in "0123456789")
    return numbers_zh.digits(text, telephone=True) if language == "zh" else numbers_en.digits(text, zero="oh")
