"""Text to the lines that will be spoken, one at a time.

Segments are cut from the text as the user wrote it, so that every line knows where it comes from, and each is
normalised on its own: an error of a rule stays inside its line, and a book is never held twice in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

from chattts_onnx.errors import EmptyTextError
from chattts_onnx.speech import SpeechOptions
from chattts_onnx.text.clean import clean
from chattts_onnx.text.normalizer import normalize
from chattts_onnx.text.segmenter import Segment, segment
from chattts_onnx.text.ssml import parse_ssml
from chattts_onnx.text.tags import canonicalize

_OVERSIZE = 1.5
"""A line whose words turn out this much longer than the budget (a long number, read out) is cut again."""


@dataclass(frozen=True)
class Line:
    """One segment, ready to be spoken."""

    index: int
    text: str
    """As the user wrote it."""
    spoken: str
    """In words, with the tags of the vocabulary."""
    span: Tuple[int, int]
    pause_ms: int
    seconds: float
    """Estimated length when spoken."""
    voice: Optional[str] = None
    """A voice asked for by SSML; None: the voice of the whole."""
    speed: float = 1.0
    """Pace asked for by SSML, on top of the pace of the whole."""


def write_script(text: str, options: SpeechOptions, *, max_seconds: float) -> Iterator[Line]:
    """The lines of ``text``; what cannot be spoken (an emoji, a rule of dashes) gives no line.

    Args:
        text: plain text with tags, or SSML if ``options.ssml``.
        options: normalisation, language, lexicon.
        max_seconds: budget of a line.

    Raises:
        EmptyTextError: there is no line at all.
        InputError: SSML that cannot be read.
    """
    index = 0
    for passage in _passages(text, options):
        for piece in segment(passage.text, max_seconds=max_seconds):
            for spoken, pause_ms, seconds in _spoken(piece, options, max_seconds):
                yield Line(
                    index=index,
                    text=piece.text,
                    spoken=spoken,
                    span=(passage.offset + piece.start, passage.offset + piece.end),
                    pause_ms=pause_ms,
                    seconds=seconds,
                    voice=passage.voice,
                    speed=passage.speed,
                )
                index += 1
    if index == 0:
        raise EmptyTextError


@dataclass(frozen=True)
class _Passage:
    text: str
    offset: int = 0
    voice: Optional[str] = None
    speed: float = 1.0


def _passages(text: str, options: SpeechOptions) -> List[_Passage]:
    text = clean(text)
    if not options.ssml:
        return [_Passage(text)]
    passages: List[_Passage] = []
    offset = 0
    for span in parse_ssml(text):
        words = span.text + (f"[pause {span.pause_ms}ms]" if span.pause_ms else "")
        passages.append(_Passage(words, offset, span.voice, span.rate or 1.0))
        offset += len(words)
    return passages


def _spoken(piece: Segment, options: SpeechOptions, max_seconds: float) -> Iterator[Tuple[str, int, float]]:
    words = canonicalize(piece.text)
    if options.normalize:
        words = normalize(words, language=options.language, lexicon=options.lexicon)
    parts = [part for part in segment(words, max_seconds=_OVERSIZE * max_seconds) if part.seconds > 0.0]
    for part in parts:
        last = part is parts[-1]
        yield part.text.strip(), piece.pause_ms if last else part.pause_ms, part.seconds
