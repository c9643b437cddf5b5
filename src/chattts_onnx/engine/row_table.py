"""Sampling state of the running sequences as vectors, one entry per row of the batch.

The sampler works on all rows at once; gathering parameters from objects every step would cost more than the sampling.
So each sequence writes its parameters here once, when it gets a row, and the table moves rows when the cache does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Optional, Sequence, Tuple

import numpy as np

from chattts_onnx.engine.sampler import MIN_KEPT, WINDOW, SamplingRows, penalty_powers

if TYPE_CHECKING:
    from chattts_onnx.engine.sequence import SamplingParams
    from chattts_onnx.engine.sequence import Sequence as RequestSequence

    Array = np.ndarray[Any, Any]


NOISE_STEPS = 64
"""Steps whose noise is drawn at once; the numbers are the same as drawn one by one."""


class RowTable:
    """Parameters and recent ids of up to ``rows`` sequences.

    Args:
        rows: Sequences at once.
        codebooks: Codes of a step.
        code_vocab: Ids of one codebook.
        text_vocab: Ids of the text head.
    """

    def __init__(self, rows: int, codebooks: int, *, code_vocab: int, text_vocab: int) -> None:
        shape = (rows, codebooks)
        self._vocab = {"code": code_vocab, "text": text_vocab}
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
        self._recent = np.zeros((*shape, WINDOW), np.int64)
        self._greedy = np.zeros(shape, np.bool_)
        # At least one block of the counter a step, and a whole number of them.
        self._noise = np.zeros((rows, NOISE_STEPS, -(-codebooks // 4) * 4), np.float64)
        self._longest_ban = 0
        self._bans: Optional[Tuple[Array, Array]] = None
        self._bans_count = 0
        self._bans_left = 0
        """Steps for which ``_bans`` still holds."""
        self._prefixes: Dict[int, SamplingRows] = {}
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
            self._noise,
        )

    def set_row(self, row: int, sequence: RequestSequence) -> None:
        """Start a sequence in ``row``."""
        params: SamplingParams = sequence.params
        self.is_text[row] = sequence.prompt.head == "text"
        self.steps[row] = 0
        self._min_new[row] = sequence.min_new
        self._longest_ban = int(self._min_new.max())
        self._bans_left = 0
        ends = sequence.end_ids
        self._ends[row] = ends[0], ends[-1]
        self._temperature[row] = 1.0 if params.is_greedy else params.temperature
        vocab = self._vocab[sequence.prompt.head]
        self._top_p[row] = np.inf if params.top_P is None or params.top_P >= 1 else params.top_P
        self._top_k[row] = vocab if params.top_K is None else min(max(params.top_K, MIN_KEPT), vocab)
        self._penalty[row] = penalty_powers(params.repetition_penalty)
        self._recent[row] = vocab  # no id yet
        self._greedy[row] = params.is_greedy
        self.refill_noise(row, sequence)

    def refill_noise(self, row: int, sequence: RequestSequence) -> None:
        """Draw the noise of the next `NOISE_STEPS` steps; due whenever ``steps`` is a multiple of that."""
        self._noise[row] = sequence.uniforms(*self._noise.shape[1:])

    def noise(self, rows: Array, codebooks: int) -> Array:
        """float64 [k * codebooks]: the noise of the step that ``rows`` (int64 [k]) are about to take."""
        drawn: Array = self._noise[rows, self.steps[rows] % NOISE_STEPS, :codebooks].reshape(-1)
        return drawn

    def prefix(self, count: int) -> SamplingRows:
        """Parameters of rows ``[0, count)``, one sampler row per codebook: views, made once."""
        if count not in self._prefixes:
            self._prefixes[count] = self._select(slice(0, count), self._temperature.shape[1])
        return self._prefixes[count]

    def rows(self, rows: Array, codebooks: int) -> SamplingRows:
        """Parameters of ``rows`` (int64 [k]), one sampler row per codebook of the first ``codebooks``: copies."""
        return self._select(rows, codebooks)

    def _select(self, rows: Any, codebooks: int) -> SamplingRows:
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
        if self.steps[rows].min() >= self._longest_ban:
            return None
        banned = np.flatnonzero(self.steps[rows] < self._min_new[rows])
        sampler_rows = (banned[:, None] * codebooks + np.arange(codebooks)).reshape(-1, 1)  # [b * Q, 1]
        ends = np.repeat(self._ends[rows[banned]], codebooks, axis=0)  # [b * Q, 2]
        return np.broadcast_to(sampler_rows, ends.shape).reshape(-1), ends.reshape(-1)

    def prefix_banned_ids(self, count: int) -> Optional[Tuple[Array, Array]]:
        """`banned_ids` of rows ``[0, count)``: it stays as it is until a row comes, goes or reaches its minimum."""
        if self._bans_left <= 0 or self._bans_count != count:
            left = self._min_new[:count] - self.steps[:count]
            self._bans_left = int(left[left > 0].min(initial=1 << 30))
            self._bans_count = count
            self._bans = self.banned_ids(np.arange(count), self._temperature.shape[1])
        self._bans_left -= 1
        return self._bans

    def is_end(self, count: int, ids: Array) -> Array:
        """Bool [count]: the rows that drew an end in any column of ``ids`` (int64 [count, Q])."""
        ended: Array = (ids[:, :, None] == self._ends[:count, None, :]).any(axis=(1, 2))
        return ended

    def push(self, rows: Any, ids: Array) -> None:
        """Remember the ids drawn by ``rows`` (int64 [k]): int64 [k, Q], or [k, 1] of the text head."""
        self._recent[rows, : ids.shape[1], self.steps[rows] % WINDOW] = ids
        self.steps[rows] += 1

    def compact(self, order: Sequence[int]) -> None:
        """New row i is old row ``order[i]``, as in `KVCache.compact`."""
        self._bans_left = 0
        for new, old in enumerate(order):
            if new != old:
                for vector in self._vectors:
                    vector[new] = vector[old]
