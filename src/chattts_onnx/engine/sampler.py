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
_VANISHED = 1e-30
"""Weights below this lose float32's precision."""


@dataclass(frozen=True)
class SamplingRows:
    """Parameters of R rows as vectors."""

    temperature: Array
    """float32 [R]"""
    top_p: Array
    """float64 [R]; infinity: off"""
    top_k: Array
    """int64 [R], from `MIN_KEPT` to V; V: off"""
    penalty: Array
    """float32 [R, WINDOW + 1]: the repetition penalty to the power of 0 .. WINDOW"""
    recent: Array
    """int64 [R, WINDOW]: the last ids drawn, in any order; V where there are fewer"""
    greedy: Array
    """bool [R]: take the best candidate (the first of equals); the noise is ignored"""


def sample(
    logits: Array, rows: SamplingRows, uniform: Array, *, banned_ids: Optional[Tuple[Array, Array]] = None
) -> Tuple[Array, Array]:
    """Draw one id per row.

    Args:
        logits: float32 [R, V], not changed.
        rows: The rows' parameters.
        uniform: float64 [R], the rows' noise: multiples of 2**-52 in [0, 1).
        banned_ids: Pairs (row, id) that must not be drawn, as two int64 vectors; fewer than `MIN_KEPT` ids a row.

    Returns:
        ids int64 [R], and bool [R] that is False where the row's logits are not finite (its id is meaningless).
    """
    count, vocab = logits.shape
    with np.errstate(invalid="ignore"):  # a row that is not finite shows in its total, one number instead of V
        # One column more than candidates: the empty slots of the window point there.
        padded = np.zeros((count, vocab + 1), np.float32)
        scores = padded[:, :vocab]
        np.divide(logits, rows.temperature[:, None], out=scores)
        penalize(padded, rows.recent, rows.penalty)
        weights, total, kept = _candidates(scores, rows.top_p, rows.top_k)
    finite: Array = np.isfinite(total)
    if not finite.all():
        ids, _ = sample(np.where(finite[:, None], logits, np.float32(0)), rows, uniform, banned_ids=banned_ids)
        return ids, finite
    weights *= kept
    if banned_ids is not None:
        weights[banned_ids] = 0
        # What is left may be so far below a banned best that its weights vanished: begin again from the best left.
        for row in np.flatnonzero(weights.max(axis=1) < _VANISHED):
            left = np.where(kept[row], scores[row], -np.inf)
            left[banned_ids[1][banned_ids[0] == row]] = -np.inf
            weights[row] = np.exp(left - left.max())
    ids = draw(weights, uniform)
    if rows.greedy.any():
        ids = np.where(rows.greedy, weights.argmax(axis=1), ids)
    return ids, finite


def penalize(padded: Array, recent: Array, penalty: Array) -> None:
    """Windowed repetition penalty, in place: a score falls by ``penalty ** count`` whatever its sign.

    Args:
        padded: float32 [R, V + 1]: scores, and a last column of no meaning.
        recent: int64 [R, W], V where empty.
        penalty: float32 [R, W + 1], powers of each row's penalty.
    """
    if (penalty[:, 1] == 1).all():
        return
    rows, width = padded.shape
    index = recent + np.arange(0, rows * width, width)[:, None]  # into the flat scores
    counts = np.bincount(index.ravel(), minlength=rows * width).take(index)
    counts += np.arange(0, penalty.size, penalty.shape[1])[:, None]
    power = penalty.take(counts)
    values = padded.take(index)
    padded.put(index, np.where(values < 0, values * power, values / power))


def filter_scores(scores: Array, top_p: Array, top_k: Array) -> Array:
    """Top-P, then top-K: the scores with the removed ones at minus infinity.

    Args:
        scores: float32 [R, V], finite.
        top_p: float64 [R], as in `SamplingRows`.
        top_k: int64 [R], as in `SamplingRows`.
    """
    _, _, kept = _candidates(scores, top_p, top_k)
    return np.where(kept, scores, np.float32(-np.inf))


def draw(weights: Array, uniform: Array) -> Array:
    """Inverse of the cumulative distribution: int64 [R].

    Args:
        weights: float32 [R, V], not negative, at least one above 0 in a row.
        uniform: float64 [R], multiples of 2**-52 in [0, 1): with 53 bits ``u * total`` could round up to the total,
            which no entry exceeds.
    """
    cumulative = weights.cumsum(axis=1, dtype=np.float64)
    ids: Array = (cumulative > (uniform * cumulative[:, -1])[:, None]).argmax(axis=1)
    return ids


def penalty_powers(penalty: float) -> Array:
    """float32 [WINDOW + 1]: powers of the penalty, rounded as the reference rounds them (base first, power last)."""
    base = np.float64(np.float32(penalty))
    powers: Array = np.power(base, np.arange(WINDOW + 1)).astype(np.float32)
    return powers


def _candidates(scores: Array, top_p: Array, top_k: Array) -> Tuple[Array, Array, Array]:
    """Weights ``exp(score - best)`` float32 [R, V] of all, their totals [R], and who is kept, bool [R, V]."""
    vocab = scores.shape[1]
    width = int(top_k.max())
    if width * 4 <= vocab:
        top = np.partition(scores, vocab - width, axis=1)[:, vocab - width :]
        top.sort(axis=1)
    else:
        top, width = np.sort(scores, axis=1), vocab
    best = top[:, -1:]
    weights = np.exp(scores - best)
    total = weights.sum(axis=1)
    # Sums from the best down, one fixed order whatever the width: no row depends on another's top-K.
    mass = np.exp(np.ascontiguousarray(top[:, ::-1]) - best)
    before = mass.cumsum(axis=1, dtype=np.float64)
    before -= mass
    # The reference removes what lies at or below 1 - top_P of the ascending mass: kept is what begins below top_P.
    count = (before < (top_p * total)[:, None]).sum(axis=1)
    rank = np.minimum(np.maximum(count, MIN_KEPT), top_k)
    threshold = top[np.arange(len(top)), width - rank]
    return weights, total, scores >= threshold[:, None]
