"""Bounded admission: so many requests run, so many wait, the rest is refused at once.

A queue without a bound turns overload into timeouts for everybody; a refusal with a date to come back is kinder. The
wait is first come, first served, and a slot passes straight from the one who leaves to the one who waited longest, so
that nobody who arrives later slips in between.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import asynccontextmanager
from typing import AsyncIterator, Deque

from chattts_onnx.server.error_responses import QueueFullError, QueueTimeoutError
from chattts_onnx.server.time_limit import TimeLimit, TimeLimitExceededError

MAX_RETRY_AFTER = 60


class Admission:
    """Counts who runs and who waits; belongs to one event loop."""

    def __init__(self, slots: int, queue: int, timeout: float) -> None:
        self.slots = slots
        self.queue = queue
        self.timeout = timeout
        self._running = 0
        self._waiters: Deque[asyncio.Future[None]] = deque()
        self._pending_seconds = 0.0
        self._real_time_factor = 1.0

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests that wait for one."""
        return len(self._waiters)

    @property
    def full(self) -> bool:
        """Whether the next request would be refused."""
        return self._running >= self.slots and len(self._waiters) >= self.queue

    def retry_after(self) -> int:
        """Whole seconds until a slot is likely to be free: audio owed, times the speed seen, over the slots."""
        seconds = self._pending_seconds * self._real_time_factor / self.slots
        return max(1, min(MAX_RETRY_AFTER, math.ceil(seconds)))

    def observe(self, real_time_factor: float) -> None:
        """Learn how fast speech is being made (an exponential mean over the last ten or so)."""
        self._real_time_factor += 0.1 * (min(real_time_factor, 10.0) - self._real_time_factor)

    @asynccontextmanager
    async def slot(self, audio_seconds: float) -> AsyncIterator[None]:
        """Hold a slot for the ``with`` block.

        Args:
            audio_seconds: how much speech the request is expected to make.

        Raises:
            QueueFullError: neither a slot nor a place in the queue is free.
            QueueTimeoutError: no slot came free in time.
        """
        if self.full:
            raise QueueFullError(self.waiting, self.retry_after())
        self._pending_seconds += audio_seconds
        try:
            await self._acquire()
            try:
                yield
            finally:
                self._release()
        finally:
            self._pending_seconds = max(0.0, self._pending_seconds - audio_seconds)

    async def _acquire(self) -> None:
        if self._running < self.slots and not self._waiters:
            self._running += 1
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            with TimeLimit(self.timeout):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():
                # The slot was handed over in the same turn of the loop that gave up on it.
                self._release()
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeLimitExceededError):
                raise QueueTimeoutError(self.timeout, self.retry_after()) from None
            raise

    def _release(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
        self._running -= 1
