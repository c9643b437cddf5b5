"""Text to the lines that will be spoken, one at a time.

Segments are cut from the text as the user wrote it, so that every line knows where it comes from, and each is
normalised on its own: an error of a rule stays inside its line, and a book is never held twice in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Iterator, List, Optional, Tuple

from chattts_onnx.errors import EmptyTextError
from chattts_onnx.speech import SpeechOptions
from chattts_onnx.text.lexicon import Lexicon
from chattts_onnx.text.segmenter import segment
from chattts_onnx.text.utterances import Utterance, iterate

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
    lead_ms: int = 0
    """Silence before it, where nothing stands before that could carry a pause."""


def write_script(text: str, options: SpeechOptions, *, max_seconds: float, clause_slack: float = 1.0) -> Iterator[Line]:
    """The lines of ``text``, each made when it is asked for, so that a book starts as soon as a sentence.

    What cannot be spoken (an emoji, a rule of dashes) gives no line; its pause goes to the line before it, or is the
    ``lead_ms`` of the first.

    Args:
        text: plain text with tags, or SSML if ``options.ssml``.
        options: normalisation, language, lexicon.
        max_seconds: budget of a line.
        clause_slack: see `segment`.

    Raises:
        EmptyTextError: there is nothing to say; raised before any line is given.
        InputError: SSML that cannot be read.
    """
    lead_ms = 0
    index = 0
    waiting: Optional[Line] = None  # until it is known whether a pause behind it belongs to it
    for line in _lines(text, options, max_seconds, clause_slack):
        if not line.spoken:
            if waiting is None:
                lead_ms += line.pause_ms
            else:
                waiting = replace(waiting, pause_ms=waiting.pause_ms + line.pause_ms)
            continue
        if waiting is not None:
            yield waiting
        waiting = replace(line, index=index, lead_ms=lead_ms)
        lead_ms = 0
        index += 1
    if waiting is None:
        raise EmptyTextError
    yield waiting


def _lines(text: str, options: SpeechOptions, max_seconds: float, clause_slack: float) -> Iterator[Line]:
    lexicon = Lexicon(options.lexicon) if options.lexicon else None
    for passage in _passages(text, options):
        utterances = iterate(
            passage.text,
            language=options.language,
            lexicon=lexicon,
            normalization=options.normalize,
            max_seconds=max_seconds,
            clause_slack=clause_slack,
        )
        try:
            for utterance in utterances:
                for spoken, pause_ms, seconds in _cut_again(utterance, max_seconds):
                    span = (passage.offset + utterance.start, passage.offset + utterance.end)
                    yield Line(0, utterance.text, spoken, span, pause_ms, seconds, passage.voice, passage.speed)
        except EmptyTextError:
            # A passage of SSML may be a pause and nothing else; whether the whole says anything is judged above.
            if not options.ssml:
                raise
            yield Line(0, passage.text, "", (passage.offset, passage.offset), passage.pause_ms, 0.0)


@dataclass(frozen=True)
class _Passage:
    text: str
    offset: int = 0
    voice: Optional[str] = None
    speed: float = 1.0
    pause_ms: int = 0


def _passages(text: str, options: SpeechOptions) -> List[_Passage]:
    if not options.ssml:
        return [_Passage(text)]
    from chattts_onnx.text.ssml import parse_ssml

    passages: List[_Passage] = []
    offset = 0
    for span in parse_ssml(text):
        words = span.text + (f"[pause {span.pause_ms}ms]" if span.pause_ms else "")
        passages.append(_Passage(words, offset, span.voice, span.rate or 1.0, span.pause_ms))
        offset += len(words)
    return passages


def _cut_again(utterance: Utterance, max_seconds: float) -> Iterator[Tuple[str, int, float]]:
    """The utterance, in pieces if its words turned out far longer than what was written."""
    parts = [part for part in segment(utterance.spoken, max_seconds=_OVERSIZE * max_seconds) if part.seconds > 0.0]
    if not parts:
        yield "", utterance.pause_ms, 0.0
    for part in parts:
        yield part.text.strip(), utterance.pause_ms if part is parts[-1] else part.pause_ms, part.seconds
