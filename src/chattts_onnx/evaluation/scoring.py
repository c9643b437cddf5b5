"""Error rates of a transcript, and how sure one may be of them.

Three rates, because each is blind to something: the character error rate counts homophones that no recogniser can
tell apart by ear, the toneless pinyin error rate forgives those and so follows what was actually said, and English is
counted in words. Intervals are bootstrapped over sentences, and two precisions are compared sentence by sentence,
which is far sharper than comparing two rates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Hashable, List, Sequence

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation.spelling import english_words, mandarin_tokens, pinyin_tokens

RESAMPLES = 2000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Errors:
    """Edits of one sentence against its reference."""

    edits: int
    """Substitutions, insertions and deletions; never more than ``length`` (a repetition loop is one lost sentence)."""
    length: int
    """Tokens of the reference."""
    clipped: bool
    """The edits were cut to ``length``."""


@dataclass(frozen=True)
class Rate:
    """A corpus error rate with its interval, as fractions."""

    value: float
    low: float
    high: float
    sentences: int
    clipped: int
    """Sentences whose edits were cut to 100 %."""

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"


def distance(reference: Sequence[Hashable], hypothesis: Sequence[Hashable]) -> int:
    """Levenshtein distance of two token sequences."""
    previous = list(range(len(hypothesis) + 1))
    for row, expected in enumerate(reference, 1):
        current = [row]
        for column, heard in enumerate(hypothesis, 1):
            substituted = previous[column - 1] + (expected != heard)
            current.append(min(substituted, previous[column] + 1, current[column - 1] + 1))
        previous = current
    return previous[-1]


def score(reference: str, hypothesis: str, language: str) -> Dict[str, Errors]:
    """Errors of one sentence: ``cer`` and ``pinyin`` for ``zh``, ``wer`` for ``en``.

    Raises:
        InputError: another language, or a reference without any word.
        MissingExtraError: the extra ``eval`` is not installed.
    """
    if language == "zh":
        expected, heard = mandarin_tokens(reference), mandarin_tokens(hypothesis)
        return {
            "cer": _errors(expected, heard, reference),
            "pinyin": _errors(pinyin_tokens(expected), pinyin_tokens(heard), reference),
        }
    if language == "en":
        words, heard = english_words(reference), english_words(hypothesis)
        words, heard = join_compounds(words, heard), join_compounds(heard, words)
        return {"wer": _errors(words, heard, reference)}
    raise InputError(f"no scoring rule for language {language!r}: use zh or en")


def join_compounds(words: Sequence[str], other: Sequence[str]) -> List[str]:
    """``words`` with neighbours joined where ``other`` writes them as one (river bank, riverbank)."""
    known = set(other)
    joined: List[str] = []
    for word in words:
        if joined and joined[-1] + word in known and not (joined[-1] in known and word in known):
            joined[-1] += word
        else:
            joined.append(word)
    return joined


def rate(errors: Sequence[Errors], *, seed: int = 0, resamples: int = RESAMPLES) -> Rate:
    """Total edits over total length, with the 95 % percentile bootstrap over sentences.

    Raises:
        InputError: no sentence was given.
    """
    if not errors:
        raise InputError("an error rate needs at least one sentence")
    edits, lengths = _columns(errors)
    indices = _resampled(len(errors), resamples, seed)
    low, high = _interval(edits[indices].sum(axis=1) / lengths[indices].sum(axis=1))
    value = float(edits.sum() / lengths.sum())
    return Rate(value, low, high, len(errors), sum(error.clipped for error in errors))


def difference(base: Sequence[Errors], other: Sequence[Errors], *, seed: int = 0, resamples: int = RESAMPLES) -> Rate:
    """Rate of ``other`` minus rate of ``base`` over the same sentences, with the paired bootstrap interval.

    Raises:
        InputError: the two do not belong to the same sentences.
    """
    if not base or len(base) != len(other) or any(a.length != b.length for a, b in zip(base, other)):
        raise InputError("a paired difference needs two runs over the same sentences: run both with the same list")
    before, lengths = _columns(base)
    after, _ = _columns(other)
    change = after - before
    indices = _resampled(len(base), resamples, seed)
    low, high = _interval(change[indices].sum(axis=1) / lengths[indices].sum(axis=1))
    return Rate(float(change.sum() / lengths.sum()), low, high, len(base), sum(error.clipped for error in other))


def _errors(reference: Sequence[str], hypothesis: Sequence[str], text: str) -> Errors:
    if not reference:
        raise InputError(f"{text!r} has nothing to score: give a sentence with at least one word")
    edits = distance(reference, hypothesis)
    return Errors(min(edits, len(reference)), len(reference), edits > len(reference))


def _columns(errors: Sequence[Errors]) -> List[NDArray[np.float64]]:
    return [
        np.array([error.edits for error in errors], dtype=np.float64),
        np.array([error.length for error in errors], dtype=np.float64),
    ]


def _resampled(count: int, resamples: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, count, size=(resamples, count))


def _interval(values: NDArray[np.float64]) -> List[float]:
    tail = 100 * (1 - CONFIDENCE) / 2
    return [float(value) for value in np.percentile(values, [tail, 100 - tail])]
