"""The whole way from a text to what is spoken, segment by segment.

Segmenting comes first, so that spans refer to the text as given and every rule sees a short piece; normalising can
make a segment empty (an emoji, a rule of dashes), and such a segment gives its pause to the one before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Callable, Iterator, List, Optional

from chattts_onnx.errors import EmptyTextError
from chattts_onnx.text.atoms import Boundary, speaking_seconds
from chattts_onnx.text.characters import MAX_CHARACTERS, check_text
from chattts_onnx.text.lexicon import Lexicon
from chattts_onnx.text.normalizer import detect_language, normalize
from chattts_onnx.text.segmenter import MAX_SECONDS, segment

_TAG = re.compile(r"\[[a-z_]{1,20}\]")


@dataclass(frozen=True)
class Utterance:
    """One segment, ready to be spoken."""

    spoken: str
    """Normalised text with tags: what the tokenizer gets. Empty only for a pause before the first word."""
    text: str
    """The same stretch as written: ``source[start:end]``."""
    start: int
    end: int
    pause_ms: int
    """Silence after it."""
    seconds: float
    """Estimated speaking time of ``spoken``."""
    language: str
    """``zh`` or ``en``, by its script."""


def prepare(
    text: str,
    *,
    language: Optional[str] = None,
    lexicon: Optional[Lexicon] = None,
    normalization: bool = True,
    max_tokens: Optional[int] = None,
    count_tokens: Optional[Callable[[str], int]] = None,
    max_seconds: float = MAX_SECONDS,
    clause_slack: float = 1.0,
    max_characters: int = MAX_CHARACTERS,
) -> List[Utterance]:
    """Cut ``text`` into utterances; at least one of them can be spoken.

    Args:
        text: text with tags, of any length and language mix.
        language: ``zh`` or ``en`` for all of it; None: by script, sentence by sentence.
        lexicon: the user's own readings.
        normalization: False leaves numbers and symbols as written (tags are still brought into spelling).
        max_tokens: see `segment`.
        count_tokens: see `segment`.
        max_seconds: see `segment`.
        clause_slack: see `segment`.
        max_characters: longest text accepted.

    Raises:
        EmptyTextError: nothing speakable is left.
        TextTooLongError: ``text`` is longer than ``max_characters``.
        InputError: an option cannot be used.
    """
    return list(
        iterate(
            text,
            language=language,
            lexicon=lexicon,
            normalization=normalization,
            max_tokens=max_tokens,
            count_tokens=count_tokens,
            max_seconds=max_seconds,
            clause_slack=clause_slack,
            max_characters=max_characters,
        )
    )


def iterate(
    text: str,
    *,
    language: Optional[str] = None,
    lexicon: Optional[Lexicon] = None,
    normalization: bool = True,
    max_tokens: Optional[int] = None,
    count_tokens: Optional[Callable[[str], int]] = None,
    max_seconds: float = MAX_SECONDS,
    clause_slack: float = 1.0,
    max_characters: int = MAX_CHARACTERS,
) -> Iterator[Utterance]:
    """As `prepare`, one utterance at a time: the first of a book is there before the last is normalised.

    Raises:
        As `prepare`, while iterating; `EmptyTextError` only at the end, after silent utterances at most.
    """
    source = check_text(text, max_characters)
    overall = language or detect_language(source)
    spoke = False
    waiting: Optional[Utterance] = None  # until it is known whether what follows belongs to it
    for part in segment(
        source,
        max_tokens=max_tokens,
        count_tokens=count_tokens,
        max_seconds=max_seconds,
        clause_slack=clause_slack,
    ):
        spoken = normalize(part.text, language=language, default=overall, lexicon=lexicon, rules=normalization)
        if not is_speakable(spoken) and waiting is not None:
            waiting = replace(
                waiting,
                spoken=waiting.spoken + spoken,
                text=source[waiting.start : part.end],
                end=part.end,
                pause_ms=waiting.pause_ms + (part.pause_ms if part.boundary is Boundary.PAUSE else 0),
            )
            continue
        if waiting is not None:
            yield waiting
        spoke = spoke or is_speakable(spoken)
        chosen = language or detect_language(part.text, overall)
        seconds = speaking_seconds(_TAG.sub("", spoken))
        waiting = Utterance(spoken, part.text, part.start, part.end, part.pause_ms, seconds, chosen)
    if not spoke:
        raise EmptyTextError
    if waiting is not None:
        yield waiting


def is_speakable(spoken: str) -> bool:
    """Whether a normalised text holds more than tags and marks."""
    return any(char.isalnum() for char in _TAG.sub("", spoken))
