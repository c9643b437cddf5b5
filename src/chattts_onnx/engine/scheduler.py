"""Who runs next: the whole policy of continuous batching, with no arrays and no clock in it.

A request joins between two steps and leaves the moment it ends. `plan` says what the next step does, `commit` takes
its result; both are plain values, so the policy is tested with thousands of random histories in a second. The rules:

- Every running sequence decodes in every step; nobody is paused, so speech that has begun never stalls for policy.
- A step also reads at most ``prefill_chunk`` prompt tokens, in pieces that depend on the prompt alone (never on the
  company, or a request's arithmetic would too). At most one prompt is half read at a time, always the last row.
- Admission is by group (one long text, one client): the group with the fewest running sequences goes first, among
  equals who came without a group, then in order of arrival: forty segments of one text do not stand in the way of a
  short request. A request
  that others have passed ``MAX_PASSED`` times goes next whatever its group: nobody starves.
- A sequence is admitted only if the cache could hold everybody at their full length: no running sequence is ever
  evicted. Requests beyond the rows wait in a bounded queue.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, Dict, Hashable, Iterable, List, Optional, Tuple

from chattts_onnx.errors import EngineOverloadedError, EngineStoppedError, InputError

MAX_PASSED = 16


@dataclass(frozen=True)
class SchedulerLimits:
    """What the scheduler may hand out."""

    max_batch: int
    """Sequences running at once (rows)."""
    max_queue: int
    """Requests waiting beyond those."""
    kv_tokens: int
    """Cache slots in all: rows times the capacity of a row."""
    prefill_chunk: int
    """Prompt tokens per step."""
    chunked: bool = True
    """False where the runtime reads a prompt only whole."""
    min_rows: int = 1
    """Rows that a batch of one takes (2 where batches of one run a different kernel)."""
    batch_wait: float = 0.0
    """Seconds that a first request waits for company, in the unit of the ``now`` given to `Scheduler`."""


@dataclass(frozen=True)
class PrefillChunk:
    """Read prompt tokens ``[start, stop)`` of a sequence."""

    request_id: int
    start: int
    stop: int
    last: bool
    """The prompt ends here: the chunk's logits draw the first step."""


@dataclass(frozen=True)
class StepPlan:
    """What one step does."""

    decode: Tuple[int, ...]
    """Sequences that take one decode step, in the order of their rows [0, n)."""
    prefill: Tuple[PrefillChunk, ...]
    """Prompt pieces, in the order of the rows from n on; only the last may leave its prompt half read."""
    wait_until: Optional[float] = None
    """Set when there is nothing to do before that time but to wait for company."""

    @property
    def is_empty(self) -> bool:
        """True when the step has no work."""
        return not self.decode and not self.prefill


@dataclass
class _Entry:
    request_id: int
    prompt_tokens: int
    max_tokens: int
    group: Optional[Hashable]
    arrival: float
    passed: int = 0
    """Requests that came later and were admitted earlier."""
    prefilled: int = 0

    @property
    def is_read(self) -> bool:
        """True when the whole prompt is in the cache."""
        return self.prefilled == self.prompt_tokens


class Scheduler:
    """Waiting and running requests, by id.

    Args:
        limits: The bounds it keeps.
        capacity_of: Cache slots that a row takes to hold so many tokens (the cache grows in buckets).
    """

    def __init__(self, limits: SchedulerLimits, capacity_of: Callable[[int], int] = lambda tokens: tokens) -> None:
        self.limits = limits
        self._capacity_of = capacity_of
        self._waiting: List[_Entry] = []
        self._running: Dict[int, _Entry] = {}  # in the order of their rows
        self._draining = False

    @property
    def waiting(self) -> Tuple[int, ...]:
        """Requests without a row, in order of arrival."""
        return tuple(entry.request_id for entry in self._waiting)

    @property
    def running(self) -> Tuple[int, ...]:
        """Requests with a row, in the order of their rows."""
        return tuple(self._running)

    @property
    def has_work(self) -> bool:
        """True while any request is unfinished."""
        return bool(self._waiting or self._running)

    def check(self, max_tokens: int) -> None:
        """Raise `InputError` if a request of so many cache slots would not fit an empty cache."""
        limits = self.limits
        if limits.min_rows * self._capacity_of(max_tokens) > limits.kv_tokens:
            raise InputError(
                f"the request needs a cache of {max_tokens} tokens and the budget holds {limits.kv_tokens}: "
                f"lower max_new_token or raise kv_budget_bytes"
            )

    def add(
        self,
        request_id: int,
        *,
        prompt_tokens: int,
        max_tokens: int,
        group: Optional[Hashable] = None,
        now: float = 0.0,
    ) -> None:
        """Queue a request.

        Args:
            request_id: A number not in use.
            prompt_tokens: Length of its prompt.
            max_tokens: Cache slots it takes at its longest.
            group: Requests of one group share the rows fairly with other groups; None: none, and first among equals.
            now: Time of arrival.

        Raises:
            EngineOverloadedError: the queue is full.
            EngineStoppedError: after `drain`.
            InputError: the request would not fit an empty cache.
        """
        limits = self.limits
        if self._draining:
            raise EngineStoppedError("the engine is shutting down and takes no new requests: send it elsewhere")
        self.check(max_tokens)
        free = limits.max_batch - len(self._running)
        if len(self._waiting) - free >= limits.max_queue:
            raise EngineOverloadedError(len(self._waiting) - free, limits.max_queue)
        assert request_id not in self._running
        self._waiting.append(_Entry(request_id, prompt_tokens, max_tokens, group, now))

    def drain(self) -> None:
        """Take no new requests; those here run to their end."""
        self._draining = True

    def plan(self, now: float = 0.0) -> StepPlan:
        """Decide the next step and give rows to those it admits."""
        decode = tuple(entry.request_id for entry in self._running.values() if entry.is_read)
        wait_until = self.company_until(now)
        if wait_until is not None:
            return StepPlan(decode, (), wait_until)
        chunks: List[PrefillChunk] = []
        budget = self.limits.prefill_chunk
        entry = next((one for one in self._running.values() if not one.is_read), None)
        while True:
            if entry is None:
                entry = self._admit(budget, first=not chunks)
            if entry is None:
                break
            size = self._next_piece(entry)
            chunks.append(
                PrefillChunk(
                    entry.request_id,
                    entry.prefilled,
                    entry.prefilled + size,
                    last=entry.prefilled + size == entry.prompt_tokens,
                )
            )
            budget -= size
            if not chunks[-1].last:
                break
            entry = None
        return StepPlan(decode, tuple(chunks))

    def company_until(self, now: float) -> Optional[float]:
        """When a lone request stops waiting for others, or None when nothing is to be waited for."""
        if self.limits.batch_wait <= 0 or self._draining or self._running or not self._waiting:
            return None
        if len(self._waiting) >= self.limits.max_batch:
            return None
        until = self._waiting[0].arrival + self.limits.batch_wait
        return until if now < until else None

    def commit(self, plan: StepPlan, finished: Iterable[int] = ()) -> None:
        """Take note that ``plan`` was carried out and that ``finished`` ended with it; their rows are free."""
        for chunk in plan.prefill:
            entry = self._running.get(chunk.request_id)
            if entry is not None:
                entry.prefilled = chunk.stop
        self._retire(finished)

    def abort(self, request_id: int) -> bool:
        """Forget a request wherever it is; False if it is not here. Its row, if any, is free at once."""
        if request_id in self._running:
            self._retire((request_id,))
            return True
        before = len(self._waiting)
        self._waiting = [entry for entry in self._waiting if entry.request_id != request_id]
        return len(self._waiting) < before

    def _retire(self, finished: Iterable[int]) -> None:
        """Close the gaps: the last decoding row moves into a hole, a half-read prompt stays the last row."""
        gone = set(finished)
        rows = [entry for entry in self._running.values() if entry.is_read]
        partial = [entry for entry in self._running.values() if not entry.is_read and entry.request_id not in gone]
        index = 0
        while index < len(rows):
            if rows[index].request_id not in gone:
                index += 1
                continue
            last = rows.pop()
            if index < len(rows):
                rows[index] = last  # it may have ended too: look at this row again
        self._running = {entry.request_id: entry for entry in rows + partial}

    def _admit(self, budget: int, *, first: bool) -> Optional[_Entry]:
        """Give the next row to a waiting request, or None when rows, cache or this step's budget are used up."""
        if not self._waiting or len(self._running) >= self.limits.max_batch:
            return None
        entry = self._next_waiting()
        longest = max([entry.max_tokens] + [one.max_tokens for one in self._running.values()])
        rows = max(len(self._running) + 1, self.limits.min_rows)
        if rows * self._capacity_of(longest) > self.limits.kv_tokens:
            return None
        # A prompt longer than what is left of the budget waits for the next step rather than be cut elsewhere.
        if not first and self._next_piece(entry) > budget:
            return None
        for other in self._waiting:
            if other is entry:
                break
            other.passed += 1
        self._waiting.remove(entry)
        self._running[entry.request_id] = entry
        return entry

    def _next_waiting(self) -> _Entry:
        head = self._waiting[0]
        if head.passed >= MAX_PASSED:
            return head
        busy: Dict[Hashable, int] = {}
        for entry in self._running.values():
            if entry.group is not None:
                busy[entry.group] = busy.get(entry.group, 0) + 1
        # Of equals who came alone goes first, then the order of arrival, which min keeps.
        return min(self._waiting, key=lambda entry: (busy.get(entry.group, 0), entry.group is not None))

    def _next_piece(self, entry: _Entry) -> int:
        left = entry.prompt_tokens - entry.prefilled
        return min(left, self.limits.prefill_chunk) if self.limits.chunked else left
