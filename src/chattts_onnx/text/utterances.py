"""The whole way from a text to what is spoken, segment by segment.

Segmenting comes first, so that spans refer to the text as given and every rule sees a short piece; normalising can
make a segment empty (an emoji, a rule of dashes), and such a segment gives its pause to the one before it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Callable, List, Optional

from chattts_onnx.errors import EmptyTextError
from chattts_onnx.text.atoms import speaking_seconds
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
        max_characters: longest text accepted.

    Raises:
        EmptyTextError: nothing speakable is left.
        TextTooLongError: ``text`` is longer than ``max_characters``.
        InputError: an option cannot be used.
    """
    source = check_text(text, max_characters)
    utterances: List[Utterance] = []
    overall = language or detect_language(source)
    for part in segment(source, max_tokens=max_tokens, count_tokens=count_tokens, max_seconds=max_seconds):
        spoken = normalize(part.text, language=language, default=overall, lexicon=lexicon, rules=normalization)
        chosen = language or detect_language(part.text, overall)
        if not is_speakable(spoken) and utterances:
            before = utterances[-1]
            joined = source[before.start : part.end]
            pause_ms = before.pause_ms + (part.pause_ms if "[" in part.text else 0)
            utterances[-1] = replace(
                before, spoken=before.spoken + spoken, text=joined, end=part.end, pause_ms=pause_ms
            )
            continue
        seconds = speaking_seconds(_TAG.sub("", spoken))
        utterances.append(Utterance(spoken, part.text, part.start, part.end, part.pause_ms, seconds, chosen))
    if not any(is_speakable(utterance.spoken) for utterance in utterances):
        raise EmptyTextError
    return utterances


def is_speakable(spoken: str) -> bool:
    """Whether a normalised text holds more than tags and marks."""
    return any(char.isalnum() for char in _TAG.sub("", spoken))
