"""Long text to segments that the model can say in one breath.

A segment that is too long loses words at its end, one that is too short sounds clipped, and a cut inside a number or
a quotation is heard. The text is read once into atoms that must not be cut (a number, a date, a URL, a word, a tag,
a closing quotation mark with what it closes), each with the strength of the boundary behind it; sentences are then
cut where they are too long, at the strongest boundaries first, and short neighbours are joined. Spans refer to the
text as given and follow one another without a gap, so nothing can be lost or doubled. Weights add up over atoms, so
the whole is linear in the text, however it is punctuated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Callable, List, NamedTuple, Optional, Sequence

from chattts_onnx.errors import InputError
from chattts_onnx.text.atoms import Atom, Boundary, atoms

MAX_SECONDS = 12.0
"""Default length of a segment: beyond it the published model starts to drop words."""
MIN_SECONDS = 1.5
"""Segments shorter than this are joined with a neighbour where the budget allows."""

PAUSES_MS = {
    Boundary.NONE: 0,
    Boundary.CHARACTER: 0,
    Boundary.WORD: 40,
    Boundary.CLAUSE: 160,
    Boundary.SENTENCE: 380,
    Boundary.LINE: 500,
    Boundary.PARAGRAPH: 750,
}
"""Silence after a segment, by the boundary that ends it."""


@dataclass(frozen=True)
class Segment:
    """One stretch of the text, to be spoken at once."""

    text: str
    """Exactly ``source[start:end]``, white space and tags included."""
    start: int
    """Offset of the first character in the source."""
    end: int
    """Offset behind the last character."""
    pause_ms: int
    """Silence that belongs after it: by its last boundary, or what a ``[pause]`` asks for; 0 after the last one."""
    boundary: Boundary = Boundary.SENTENCE
    seconds: float = 0.0
    """Estimated speaking time; 0 when nothing in it can be spoken."""


class _Run(NamedTuple):
    """Atoms [first, last) of the list, cut out together."""

    first: int
    last: int
    weight: float
    """Share of the budget: 1.0 is a full segment."""


def segment(
    text: str,
    *,
    max_tokens: Optional[int] = None,
    count_tokens: Optional[Callable[[str], int]] = None,
    max_seconds: float = MAX_SECONDS,
    clause_slack: float = 1.0,
    min_seconds: float = MIN_SECONDS,
) -> List[Segment]:
    """Cut ``text`` into segments; joined they are ``text`` again. Linear time.

    Args:
        text: text with tags, as the user wrote it (before normalisation).
        max_tokens: budget of a segment in tokens, counted by ``count_tokens``; None: only seconds count.
        count_tokens: tokens of a piece of text; called once for each atom.
        max_seconds: budget of a segment in estimated seconds of speech. An atom over the budget is kept whole.
        clause_slack: a single clause may be this many times the budget before it is cut between words, which is heard.
        min_seconds: shorter segments are joined with a neighbour.

    Raises:
        InputError: a budget that is not positive.
    """
    if max_seconds <= 0 or (max_tokens is not None and max_tokens <= 0):
        raise InputError("the budget of a segment must be positive: give max_seconds or max_tokens above 0")
    pieces = atoms(text)
    if not pieces:
        return []
    weights = [_weight(atom, text, max_seconds, max_tokens, count_tokens) for atom in pieces]
    runs: List[_Run] = []
    for sentence in _cut(pieces, weights, 0, len(pieces), Boundary.SENTENCE):
        runs.extend(_shrink(pieces, weights, sentence, clause_slack))
    runs = _join_short(pieces, runs, min_seconds / max_seconds)
    return [_segment(text, pieces, run, last=run.last == len(pieces)) for run in runs]


def _weight(
    atom: Atom,
    text: str,
    max_seconds: float,
    max_tokens: Optional[int],
    count_tokens: Optional[Callable[[str], int]],
) -> float:
    weight = atom.seconds / max_seconds
    if max_tokens is not None and count_tokens is not None:
        weight = max(weight, count_tokens(text[atom.start : atom.end]) / max_tokens)
    return weight


def _cut(pieces: Sequence[Atom], weights: Sequence[float], first: int, last: int, level: Boundary) -> List[_Run]:
    """Runs of [first, last) that end at a boundary of at least ``level``."""
    runs: List[_Run] = []
    begin, weight = first, 0.0
    for i in range(first, last):
        weight += weights[i]
        if pieces[i].boundary >= level or i == last - 1:
            runs.append(_Run(begin, i + 1, weight))
            begin, weight = i + 1, 0.0
    return runs


def _shrink(pieces: Sequence[Atom], weights: Sequence[float], run: _Run, clause_slack: float) -> List[_Run]:
    """Cut a run that is over the budget at clauses, then what is over by ``clause_slack`` at words and characters."""
    done = [run]
    for level in (Boundary.CLAUSE, Boundary.WORD, Boundary.CHARACTER):
        smaller: List[_Run] = []
        for part in done:
            if part.weight <= (1.0 if level is Boundary.CLAUSE else clause_slack):
                smaller.append(part)
            else:
                smaller.extend(_pack(_cut(pieces, weights, part.first, part.last, level), part.weight))
        done = smaller
    return done


def _pack(parts: Sequence[_Run], total: float) -> List[_Run]:
    """Join parts into as few runs within the budget as there must be, of about equal weight."""
    target = total / math.ceil(total)
    packed: List[_Run] = []
    for part in parts:
        if packed:
            before = packed[-1]
            joined = before.weight + part.weight
            if joined <= 1.0 and abs(joined - target) <= abs(before.weight - target):
                packed[-1] = _Run(before.first, part.last, joined)
                continue
        packed.append(part)
    return packed


def _join_short(pieces: Sequence[Atom], runs: Sequence[_Run], shortest: float) -> List[_Run]:
    joined: List[_Run] = []
    for run in runs:
        if joined and _may_join(pieces[joined[-1].last - 1].boundary, joined[-1].weight, run.weight, shortest):
            before = joined.pop()
            joined.append(_Run(before.first, run.last, before.weight + run.weight))
        else:
            joined.append(run)
    return joined


def _may_join(boundary: Boundary, before: float, after: float, shortest: float) -> bool:
    if boundary is Boundary.PAUSE:
        return False
    if before == 0.0 or after == 0.0:  # nothing speakable: it goes with its neighbour
        return True
    if before + after > 1.0:
        return False
    # A title or a line of verse deserves its own breath unless it is but a syllable or two.
    limit = {Boundary.LINE: shortest / 2, Boundary.PARAGRAPH: shortest / 3}.get(boundary, shortest)
    return min(before, after) < limit


def _segment(text: str, pieces: Sequence[Atom], run: _Run, *, last: bool) -> Segment:
    start, end = pieces[run.first].start, pieces[run.last - 1].end
    seconds = sum(atom.seconds for atom in pieces[run.first : run.last])
    boundary = pieces[run.last - 1].boundary
    silence = 0 if last else PAUSES_MS.get(boundary, 0)
    pause_ms = pieces[run.last - 1].pause_ms if boundary is Boundary.PAUSE else silence
    return Segment(text[start:end], start, end, pause_ms, boundary, seconds)
