"""From logits to ids: pure functions over ``[R, V]``, R rows being sequences times codebooks.

The order is the reference's and is load-bearing: temperature; repetition penalty over the last 16 ids of the row;
top-P, never fewer than 3 candidates; top-K, never fewer than 3, ties kept; the end banned while the sequence is
shorter than its minimum; softmax; draw. Top-P and top-K are both cuts by rank, so one partial sort of the best
candidates gives one threshold per row, and no row is ever looped over in Python. No operation mixes rows: what a row
draws depends on its own logits, parameters and noise only, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Tuple

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray[Any, Any]

WINDOW = 16
"""Generated ids per row that the repetition penalty looks back on."""
MIN_KEPT = 3
"""Candidates that top-P and top-K leave at least."""
NO_ID = -1
"""Fills the window of a row that has drawn fewer than `WINDOW` ids."""
GREEDY = -1.0
"""In place of the noise: take the best candidate."""


@dataclass(frozen=True)
class SamplingRows:
    """Parameters of R rows as vectors."""

    temperature: Array
    """float32 [R]"""
    top_p: Array
    """float64 [R]; 1: off"""
    top_k: Array
    """int64 [R]; V or more: off"""
    penalty: Array
    """float32 [R, WINDOW + 1]: the repetition penalty to the power of 0 .. WINDOW"""
    recent: Array
    """int64 [R, WINDOW]: the last ids drawn, in any order, `NO_ID` where there are fewer"""
    greedy: Array
    """bool [R]: take the best candidate; the noise is ignored"""


def sample(
    logits: Array, rows: SamplingRows, uniform: Array, *, banned_ids: Optional[Tuple[Array, Array]] = None
) -> Tuple[Array, Array]:
    """Draw one id per row.

    Args:
        logits: float32 [R, V], not changed.
        rows: The rows' parameters.
        uniform: float64 [R] in [0, 1), the rows' noise.
        banned_ids: Pairs (row, id) that must not be drawn, as two int64 vectors; fewer than `MIN_KEPT` ids a row.

    Returns:
        ids int64 [R], and bool [R] that is False where the row's logits are not finite (its id is meaningless).
    """
    finite: Array = np.asarray(np.isfinite(logits).all(axis=1))
    if not finite.all():
        logits = np.where(finite[:, None], logits, np.float32(0))
    scores = logits / rows.temperature[:, None]
    penalize(scores, rows.recent, rows.penalty)
    kept = _kept(scores, rows.top_p, rows.top_k)
    if banned_ids is not None:
        kept[banned_ids] = False
    return draw(scores, kept, np.where(rows.greedy, GREEDY, uniform)), finite


def penalize(scores: Array, recent: Array, penalty: Array) -> None:
    """Windowed repetition penalty, in place: a score falls by ``penalty ** count`` whatever its sign.

    Args:
        scores: float32 [R, V].
        recent: int64 [R, W], `NO_ID` where empty.
        penalty: float32 [R, W + 1], powers of each row's penalty.
    """
    if not (recent != NO_ID).any() or bool((penalty[:, 1] == 1).all()):
        return
    # An empty slot repeats an id of the window (0 in an empty window) and writes what that id's own slot writes.
    ids = np.where(recent == NO_ID, np.maximum(recent.max(axis=1, keepdims=True), 0), recent)
    rows = np.arange(len(scores))[:, None]
    start = rows * (scores.shape[1] + 1) + 1  # one count more per row, for NO_ID
    counts = np.bincount((start + recent).ravel(), minlength=len(scores) * (scores.shape[1] + 1))
    power = np.take_along_axis(penalty, counts[start + ids], axis=1)
    values = scores[rows, ids]
    scores[rows, ids] = np.where(values < 0, values * power, values / power)


def filter_scores(scores: Array, top_p: Array, top_k: Array) -> Array:
    """Top-P, then top-K: the scores with the removed ones at minus infinity.

    Args:
        scores: float32 [R, V], finite.
        top_p: float64 [R].
        top_k: int64 [R].
    """
    return np.where(_kept(scores, top_p, top_k), scores, np.float32(-np.inf))


def draw(scores: Array, kept: Array, uniform: Array) -> Array:
    """Softmax over the kept candidates and one draw: the inverse of the cumulative distribution in order of id.

    Args:
        scores: float32 [R, V].
        kept: bool [R, V], at least one True in a row.
        uniform: float64 [R] in [0, 1), or `GREEDY` where the best candidate is taken (the first of equals).

    Returns:
        int64 [R].
    """
    row, ids = kept.nonzero()
    counts = np.bincount(row, minlength=len(kept))
    column = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
    # The few candidates of each row, packed to the left: [R, most candidates of any row]. The width changes no row's
    # result, since sums run from the left.
    packed = np.full((len(kept), int(counts.max())), -np.inf, np.float32)
    packed[row, column] = scores[row, ids]
    candidates = np.zeros(packed.shape, np.int64)
    candidates[row, column] = ids
    best = packed.argmax(axis=1)[:, None]
    weights = np.exp(packed - np.take_along_axis(packed, best, axis=1))
    cumulative = np.cumsum(weights, axis=1, dtype=np.float64)
    total = cumulative[:, -1]
    # Rounding may carry u * total up to total, which no entry exceeds.
    target = np.minimum(uniform * total, np.nextafter(total, 0))
    drawn = (cumulative > target[:, None]).argmax(axis=1)[:, None]
    chosen = np.where(uniform[:, None] == GREEDY, best, drawn)
    return np.take_along_axis(candidates, chosen, axis=1)[:, 0]


def penalty_powers(penalty: float) -> Array:
    """float32 [WINDOW + 1]: powers of the penalty, rounded as the reference rounds them (base first, power last)."""
    base = np.float64(np.float32(penalty))
    powers: Array = np.power(base, np.arange(WINDOW + 1)).astype(np.float32)
    return powers


def _kept(scores: Array, top_p: Array, top_k: Array) -> Array:
    """The candidates that survive top-P and top-K: bool [R, V]."""
    vocab = scores.shape[1]
    k = np.clip(top_k, MIN_KEPT, vocab)
    width = int(k.max())
    if width * 4 <= vocab:
        top = np.partition(scores, vocab - width, axis=1)[:, vocab - width :]
        top.sort(axis=1)
    else:
        top = np.sort(scores, axis=1)
    top = np.ascontiguousarray(top[:, ::-1])  # [R, width], descending
    total = np.exp(scores - top[:, :1]).sum(axis=1)
    mass = np.exp(top - top[:, :1]).astype(np.float64)
    before = np.cumsum(mass, axis=1) - mass
    # The reference removes what lies at or below 1 - top_P of the ascending mass: kept is what begins below top_P.
    count = (before < (top_p * total)[:, None]).sum(axis=1)
    count = np.where(top_p >= 1, vocab, np.maximum(count, MIN_KEPT))
    rank = np.minimum(np.minimum(count, k), width) - 1
    kept: Array = scores >= np.take_along_axis(top, rank[:, None], axis=1)
    return kept
