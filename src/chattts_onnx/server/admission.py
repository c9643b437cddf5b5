"""Bounded admission: so many requests run, so many wait, the rest is refused at once.

A queue without a bound turns overload into timeouts for everybody; a refusal with a date to come back is kinder. So is
one for those whose turn would not come before their time to wait is over: at the door, and while they wait, as soon as
what runs turns out slower than was thought. The wait is first come, first served, and a slot passes straight from the
one who leaves to the one who waited longest, so that nobody who arrives later slips in between.
"""

from __future__ import annotations

import asyncio
import heapq
import math
import time
from collections import deque
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median_low
from typing import AsyncIterator, Deque, List, Optional, Tuple

from chattts_onnx.server.error_responses import QueueFullError, QueueTimeoutError
from chattts_onnx.server.time_limit import TimeLimit, TimeLimitExceededError

MAX_RETRY_AFTER = 60
_MEMORY = 10
"""Requests over which the speed is averaged."""
_CAUTION = 2.0
"""While fewer requests have been answered than there are slots, a wait must be so much shorter than there is time."""
_OVERRUN = 0.25
"""Who has run longer than was expected is taken to run this part of that time longer again."""
_MARGIN = 1.15
"""And so much shorter afterwards, at the door and for what is left of it later."""
_REVIEW_SECONDS = 0.5
"""How often those who wait are looked at again."""


@dataclass(eq=False)
class _Place:
    """One request that was let in."""

    audio_seconds: float
    deadline: float = 0.0
    """`time.monotonic` when its time to wait is over."""
    handed_over: Optional[asyncio.Future[None]] = None
    """Set while it waits."""
    started: float = 0.0
    """`time.monotonic` when it got its slot."""


class Admission:
    """Counts who runs and who waits; belongs to one event loop."""

    def __init__(self, slots: int, queue: int, timeout: float) -> None:
        self.slots = slots
        self.queue = queue
        self.timeout = timeout
        self._running: List[_Place] = []
        self._waiting: Deque[_Place] = deque()
        self._real_time_factor = 1.0
        self._answered = 0
        self._review: Optional[asyncio.TimerHandle] = None

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return len(self._running)

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""
        if self.running < self.slots and not self._waiting:
            return False
        # A server that has just started has seen little, and the first wave is let in on that alone.
        doubt = _CAUTION if self._answered < self.slots else _MARGIN
        return self.waiting >= self.queue or self.expected_wait() * doubt > self.timeout

    def retry_after(self) -> int:
        """Whole seconds until a slot is likely to be free: audio owed, times the speed seen, over the slots."""
        owed = sum(place.audio_seconds for place in (*self._running, *self._waiting))
        return max(1, min(MAX_RETRY_AFTER, math.ceil(owed * self._real_time_factor / self.slots)))

    def expected_wait(self) -> float:
        """Seconds that a request of now would wait, if each takes what its length and the speed seen let expect."""
        factor, ends = self._ends()
        for place in self._waiting:
            heapq.heapreplace(ends, ends[0] + place.audio_seconds * factor)
        return ends[0]

    def _ends(self) -> Tuple[float, List[float]]:
        """Seconds of work for a second of speech, and a heap of the seconds until each slot is free.

        What still runs tells something too: if most took more than was expected so far, all will. Most, since one may
        be held up by a slow reader: of two, both.
        """
        now = time.monotonic()
        so_far = [(now - p.started) / p.audio_seconds for p in self._running if p.audio_seconds > 0]
        factor = max(self._real_time_factor, median_low(so_far) if so_far else 0.0)
        ends = [0.0] * (self.slots - len(self._running))
        for place in self._running:
            spent, whole = now - place.started, place.audio_seconds * factor
            ends.append(whole - spent if spent < whole else _OVERRUN * spent)
        heapq.heapify(ends)
        return factor, ends

    def assume(self, real_time_factor: float) -> None:
        """Begin with the speed of a lone request: a batch in all slots is taken to halve what one after another takes.

        Caution before anything is known: who is refused may come again, who waits in vain has lost the time.
        """
        self._real_time_factor = real_time_factor * max(1.0, self.slots / 2)

    def observe(self, audio_seconds: float, work_seconds: float) -> None:
        """Learn how long a request took that was let in as ``audio_seconds``: a mean, then an exponential one."""
        if audio_seconds > 0:
            self._answered += 1
            weight = 1 / min(self._answered + 1, _MEMORY)
            self._real_time_factor += weight * (min(work_seconds / audio_seconds, 10.0) - self._real_time_factor)

    @asynccontextmanager
    async def slot(self, audio_seconds: float) -> AsyncIterator[None]:
        """Hold a slot for the ``with`` block.

        Args:
            audio_seconds: how much speech the request is expected to make.

        Raises:
            QueueFullError: neither a slot nor a place in the queue is free, or the wait would be too long.
            QueueTimeoutError: no slot came free in time.
        """
        if self.full:
            raise QueueFullError(self.waiting, self.retry_after())
        place = _Place(audio_seconds)
        await self._acquire(place)
        try:
            yield
        finally:
            self._release(place)

    async def _acquire(self, place: _Place) -> None:
        if self.running < self.slots and not self._waiting:
            self._start(place)
            return
        place.handed_over = asyncio.get_running_loop().create_future()
        place.deadline = time.monotonic() + self.timeout
        self._waiting.append(place)
        self._review_later()
        try:
            with TimeLimit(self.timeout):
                await place.handed_over
        except BaseException as error:
            if place in self._waiting:
                self._waiting.remove(place)
            elif place in self._running:  # the slot was handed over in the same turn of the loop that gave up on it
                self._release(place)
            if isinstance(error, TimeLimitExceededError):
                raise QueueTimeoutError(self.timeout, self.retry_after()) from None
            raise

    def _review_later(self) -> None:
        if self._review is None and self._waiting:
            self._review = asyncio.get_running_loop().call_later(_REVIEW_SECONDS, self._give_up_the_hopeless)

    def _give_up_the_hopeless(self) -> None:
        """Refuse those whose turn will not come in time now rather than then; whoever is behind them moves up."""
        self._review = None
        now = time.monotonic()
        factor, ends = self._ends()
        for place in list(self._waiting):
            if now + _MARGIN * ends[0] <= place.deadline:
                heapq.heapreplace(ends, ends[0] + place.audio_seconds * factor)
            elif place.handed_over is not None and not place.handed_over.done():
                self._waiting.remove(place)
                place.handed_over.set_exception(QueueFullError(self.waiting, self.retry_after()))
        self._review_later()

    def _start(self, place: _Place) -> None:
        place.started = time.monotonic()
        self._running.append(place)

    def _release(self, place: _Place) -> None:
        self._running.remove(place)
        if self._waiting:
            first = self._waiting.popleft()
            self._start(first)
            if first.handed_over is not None and not first.handed_over.done():
                first.handed_over.set_result(None)
