"""Control tags in the text: `[laugh]`, `[uv_break]`, `[pause 0.5s]` and the ones nobody may write.

The vocabulary matches a tag letter by letter, so `[UV_BREAK]` or `[ laugh ]` would be read out as words, and
`[spk_emb]` in a user's text would put the speaker's vector into the middle of a sentence. Everything between square
brackets is therefore judged once, here, before any other rule: known tags are brought into the vocabulary's spelling,
pauses become numbers, structural and unknown tags are dropped with a warning, and a bracket that opens nothing is an
ordinary character, never the start of something that swallows the text. Tag names: facts of the published vocabulary.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import FrozenSet, Iterator, List, Optional

_log = logging.getLogger(__name__)

WORD_TAGS: FrozenSet[str] = frozenset(
    {"[uv_break]", "[v_break]", "[lbreak]", "[llbreak]", "[laugh]", "[undefine]", "[music]", "[pure]"}
)
"""Tags that may stand in a text."""

PARAMETER_TAGS: FrozenSet[str] = frozenset(
    [f"[oral_{n}]" for n in range(10)]
    + [f"[speed_{n}]" for n in range(10)]
    + [f"[laugh_{n}]" for n in range(3)]
    + [f"[break_{n}]" for n in range(8)]
)
"""Tags that steer a whole sentence: they belong in a prompt, not in the text."""

_STRUCTURE = "Sasr Pasr Easr Stts Ptts Etts Sbreak Pbreak Ebreak spk_emb empty_spk PAD UNK CLS SEP MASK"
STRUCTURAL_TAGS: FrozenSet[str] = frozenset(f"[{name}]" for name in _STRUCTURE.split())
"""Tags that only a template may write."""

MAX_PAUSE_MS = 10_000
"""Longest `[pause …]`; a longer one is cut to this."""

_STRUCTURAL_NAMES = {tag.lower() for tag in STRUCTURAL_TAGS}
# Bounded, so that a flood of opening brackets costs a constant for each.
_BRACKETED = re.compile(r"[\[［]([^\[\]［］\n]{1,40})[\]］]|【([A-Za-z_ ]{1,20})】")
_PAUSE = re.compile(r"pause(?:[\s:=_]*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(ms|s|毫秒|秒)?)?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SEPARATORS = re.compile(r"[\s_-]+")
_DEFAULT_PAUSE_MS = 500


@dataclass(frozen=True)
class Piece:
    """A stretch of the text: ordinary text or a tag."""

    kind: str
    """text, tag, pause or dropped."""
    text: str
    """Ordinary text as written; a tag in the vocabulary's spelling; empty for a pause or a dropped tag."""
    start: int
    end: int
    pause_ms: int = 0


def scan(text: str) -> Iterator[Piece]:
    """Cut ``text`` into ordinary text and tags; the pieces cover it without a gap. Linear time."""
    at = 0
    for match in _BRACKETED.finditer(text):
        piece = _judge(match)
        if piece is None:
            continue
        if match.start() > at:
            yield Piece("text", text[at : match.start()], at, match.start())
        yield piece
        at = match.end()
    if at < len(text):
        yield Piece("text", text[at:], at, len(text))


def canonicalize(text: str) -> str:
    """Known tags in the vocabulary's spelling, pauses and unknown tags gone, other brackets round.

    In what comes back a square bracket is always part of a known tag, so text can be cut at tags without doubt.
    Dropped tags are logged as a warning.
    """
    if "[" not in text and "［" not in text and "【" not in text and "]" not in text and "］" not in text:
        return text
    parts: List[str] = []
    for piece in scan(text):
        if piece.kind == "dropped":
            shown = text[piece.start : piece.end]
            if f"[{_fold(shown[1:-1])}]" in PARAMETER_TAGS:
                _log.warning("the tag %s steers a whole sentence: give it as a prompt, not in the text; dropped", shown)
            else:
                _log.warning("unknown tag %s dropped; known: %s", shown, " ".join(sorted(WORD_TAGS)))
            parts.append(" ")
        elif piece.kind == "pause":
            parts.append(" ")
        elif piece.kind == "text":
            parts.append(piece.text.translate(_ROUND))
        else:
            parts.append(piece.text)
    return "".join(parts)


def is_tag(inner: str) -> bool:
    """Whether what stands between square brackets is a word tag or a pause."""
    return f"[{_fold(inner)}]" in WORD_TAGS or _PAUSE.fullmatch(inner.strip().lower()) is not None


def strip_structural(text: str) -> str:
    """Remove the tags that only a template may write, also those that appear when one between is removed."""
    if "[" not in text:
        return text
    kept: List[str] = []
    for char in text:
        kept.append(char)
        if char == "]":
            tail = "".join(kept[-_LONGEST:])
            found = next((tag for tag in STRUCTURAL_TAGS if tail.endswith(tag)), None)
            if found is not None:
                del kept[-len(found) :]
    return "".join(kept)


_LONGEST = max(len(tag) for tag in STRUCTURAL_TAGS)
_ROUND = str.maketrans("[]［］", "()()")


def _fold(name: str) -> str:
    return _SEPARATORS.sub("_", name.strip().lower())


def _judge(match: re.Match[str]) -> Optional[Piece]:
    square = match.group(1)
    inner = square if square is not None else match.group(2)
    start, end = match.span()
    name = f"[{_fold(inner)}]"
    if name in WORD_TAGS:
        return Piece("tag", name, start, end)
    if square is None:
        return None
    if match.string.startswith("(", end) and not _PAUSE.fullmatch(inner.strip().lower()):
        return None  # the text of a Markdown link
    pause = _PAUSE.fullmatch(inner.strip().lower())
    if pause is not None:
        return Piece("pause", "", start, end, _pause_ms(pause.group(1), pause.group(2)))
    # One word in brackets is a tag somebody meant; several words, numbers or hanzi are text in brackets.
    if name in PARAMETER_TAGS or name in _STRUCTURAL_NAMES or _NAME.fullmatch(inner.strip()):
        return Piece("dropped", "", start, end)
    return None


def _pause_ms(number: Optional[str], unit: Optional[str]) -> int:
    if number is None:
        return _DEFAULT_PAUSE_MS
    milliseconds = float(number) * (1 if unit in ("ms", "毫秒") else 1000)
    return min(MAX_PAUSE_MS, round(milliseconds))
