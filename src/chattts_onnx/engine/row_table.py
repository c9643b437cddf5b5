"""Sampling state of the running sequences as vectors, one entry per row of the batch.

The sampler works on all rows at once; gathering parameters from objects every step would cost more than the sampling.
So each sequence writes its parameters here once, when it gets a row, and the table moves rows when the cache does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Optional, Sequence, Tuple

import numpy as np

from chattts_onnx.engine.sampler import NO_ID, WINDOW, SamplingRows, penalty_powers

if TYPE_CHECKING:
    from chattts_onnx.engine.sequence import SamplingParams
    from chattts_onnx.engine.sequence import Sequence as RequestSequence

    Array = np.ndarray[Any, Any]


class RowTable:
    """Parameters and recent ids of up to ``rows`` sequences of ``codebooks`` codes a step."""

    def __init__(self, rows: int, codebooks: int) -> None:
        shape = (rows, codebooks)
        self.is_text = np.zeros(rows, np.bool_)
        """Rows of the text head."""
        self.steps = np.zeros(rows, np.int64)
        """Ids drawn so far."""
        self._min_new = np.zeros(rows, np.int64)
        self._ends = np.zeros((rows, 2), np.int64)
        self._temperature = np.ones(shape, np.float32)
        self._top_p = np.ones(shape, np.float64)
        self._top_k = np.ones(shape, np.int64)
        self._penalty = np.ones((*shape, WINDOW + 1), np.float32)
        self._recent = np.full((*shape, WINDOW), NO_ID, np.int64)
        self._greedy = np.zeros(shape, np.bool_)
        self._vectors = (
            self.is_text,
            self.steps,
            self._min_new,
            self._ends,
            self._temperature,
            self._top_p,
            self._top_k,
            self._penalty,
            self._recent,
            self._greedy,
        )

    def set_row(self, row: int, sequence: RequestSequence) -> None:
        """Start a sequence in ``row``."""
        params: SamplingParams = sequence.params
        self.is_text[row] = sequence.prompt.head == "text"
        self.steps[row] = 0
        self._min_new[row] = sequence.min_new
        ends = sequence.end_ids
        self._ends[row] = ends[0], ends[-1]
        self._temperature[row] = 1.0 if params.is_greedy else params.temperature
        self._top_p[row] = 1.0 if params.top_P is None else params.top_P
        self._top_k[row] = np.iinfo(np.int64).max if params.top_K is None else params.top_K
        self._penalty[row] = penalty_powers(params.repetition_penalty)
        self._recent[row] = NO_ID
        self._greedy[row] = params.is_greedy

    def rows(self, rows: Any, codebooks: int) -> SamplingRows:
        """Parameters of ``rows`` (a slice or int64 [k]), one sampler row per codebook of the first ``codebooks``."""
        return SamplingRows(
            temperature=self._temperature[rows, :codebooks].reshape(-1),
            top_p=self._top_p[rows, :codebooks].reshape(-1),
            top_k=self._top_k[rows, :codebooks].reshape(-1),
            penalty=self._penalty[rows, :codebooks].reshape(-1, WINDOW + 1),
            recent=self._recent[rows, :codebooks].reshape(-1, WINDOW),
            greedy=self._greedy[rows, :codebooks].reshape(-1),
        )

    def banned_ids(self, rows: Array, codebooks: int) -> Optional[Tuple[Array, Array]]:
        """Pairs (sampler row, id) of the ends that ``rows`` (int64 [k]) must not draw yet, or None."""
        banned = np.nonzero(self.steps[rows] < self._min_new[rows])[0]
        if not len(banned):
            return None
        sampler_rows = (banned[:, None] * codebooks + np.arange(codebooks)).reshape(-1, 1)  # [b * Q, 1]
        ends = np.repeat(self._ends[rows[banned]], codebooks, axis=0)  # [b * Q, 2]
        return np.broadcast_to(sampler_rows, ends.shape).reshape(-1), ends.reshape(-1)

    def is_end(self, count: int, ids: Array) -> Array:
        """Bool [count]: the rows that drew an end in any column of ``ids`` (int64 [count, Q])."""
        ended: Array = (ids[:, :, None] == self._ends[:count, None, :]).any(axis=(1, 2))
        return ended

    def push(self, rows: Array, ids: Array) -> None:
        """Remember the ids drawn by ``rows`` (int64 [k]): int64 [k, Q], or [k, 1] of the text head."""
        slots = self.steps[rows] % WINDOW
        for codebook in range(ids.shape[1]):
            self._recent[rows, codebook, slots] = ids[:, codebook]
        self.steps[rows] += 1

    def compact(self, order: Sequence[int]) -> None:
        """New row i is old row ``order[i]``, as in `KVCache.compact`."""
        for new, old in enumerate(order):
            if new != old:
                for vector in self._vectors:
                    vector[new] = vector[old]
