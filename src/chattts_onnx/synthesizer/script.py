"""Text to the lines that will be spoken, one at a time.

Segments are cut from the text as the user wrote it, so that every line knows where it comes from, and each is
normalised on its own: an error of a rule stays inside its line, and a book is never held twice in memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, List, Optional, Tuple

from chattts_onnx.errors import EmptyTextError
from chattts_onnx.speech import SpeechOptions
from chattts_onnx.text.lexicon import Lexicon
from chattts_onnx.text.segmenter import segment
from chattts_onnx.text.utterances import Utterance, prepare

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
    """The lines of ``text``; what cannot be spoken (an emoji, a rule of dashes) gives no line of its own.

    Args:
        text: plain text with tags, or SSML if ``options.ssml``.
        options: normalisation, language, lexicon.
        max_seconds: budget of a line.

    Raises:
        EmptyTextError: there is nothing to say.
        InputError: SSML that cannot be read.
    """
    lexicon = Lexicon(options.lexicon) if options.lexicon else None
    index = 0
    for passage in _passages(text, options):
        try:
            utterances = prepare(
                passage.text,
                language=options.language,
                lexicon=lexicon,
                normalization=options.normalize,
                max_seconds=max_seconds,
            )
        except EmptyTextError:
            if options.ssml:
                continue
            raise
        for utterance in utterances:
            for spoken, pause_ms, seconds in _cut_again(utterance, max_seconds):
                yield Line(
                    index=index,
                    text=utterance.text,
                    spoken=spoken,
                    span=(passage.offset + utterance.start, passage.offset + utterance.end),
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
    if not options.ssml:
        return [_Passage(text)]
    from chattts_onnx.text.ssml import parse_ssml

    passages: List[_Passage] = []
    offset = 0
    for span in parse_ssml(text):
        words = span.text + (f"[pause {span.pause_ms}ms]" if span.pause_ms else "")
        passages.append(_Passage(words, offset, span.voice, span.rate or 1.0))
        offset += len(words)
    return passages


def _cut_again(utterance: Utterance, max_seconds: float) -> Iterator[Tuple[str, int, float]]:
    """The utterance, in pieces if its words turned out far longer than what was written."""
    parts = [part for part in segment(utterance.spoken, max_seconds=_OVERSIZE * max_seconds) if part.seconds > 0.0]
    for part in parts:
        yield part.text.strip(), utterance.pause_ms if part is parts[-1] else part.pause_ms, part.seconds
