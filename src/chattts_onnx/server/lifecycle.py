"""From loading to drained: what the probes report, and when an orchestrator should step in.

*Ready* means a request sent now would be served; *alive* means restarting would not help. A server that loads is alive
and not ready; one whose engine makes no step while work is waiting is not ready after seconds and not alive after a
minute. Shutting down starts here, before the HTTP server closes its sockets, because that is the only moment at which
running speech can still be finished.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from typing import Callable, Iterator, List, Optional, Tuple

from chattts_onnx.server.backend import Backend
from chattts_onnx.server.error_responses import UnavailableError

log = logging.getLogger(__name__)

LOADING, READY, DRAINING, FAILED = "loading", "ready", "draining", "failed"
_WATCH_INTERVAL = 0.5


class Lifecycle:
    """The phase of one server and what is under way in it."""

    def __init__(
        self, stall_seconds: float, watchdog_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.phase = LOADING
        self.failure: Optional[BaseException] = None
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._watchdog_seconds = watchdog_seconds
        self._in_flight = 0
        self._working = 0
        self._progress_at = clock()
        self._idle: List[asyncio.Future[None]] = []
        self._on_failure: List[Callable[[], object]] = []

    @property
    def in_flight(self) -> int:
        """Replies that are not finished, queued ones included."""
        return self._in_flight

    @property
    def stalled_for(self) -> float:
        """Seconds since the engine last got anywhere, while work was waiting."""
        return self._clock() - self._progress_at if self._working else 0.0

    def ready(self) -> Tuple[bool, str]:
        """Whether a request sent now would be served, and why not."""
        if self.phase != READY:
            return False, self.phase
        if self.stalled_for >= self._stall_seconds:
            return False, f"stalled for {self.stalled_for:.0f} s"
        return True, READY

    def alive(self) -> Tuple[bool, str]:
        """Whether restarting would not help, and why it would."""
        if self.phase == FAILED:
            return False, FAILED
        if self.stalled_for >= self._watchdog_seconds:
            return False, f"stalled for {self.stalled_for:.0f} s"
        return True, self.phase

    def check_open(self) -> None:
        """Raise unless new work is accepted.

        Raises:
            UnavailableError: loading, draining or failed.
        """
        if self.phase == LOADING:
            raise UnavailableError("the model is loading: try again in a moment", "model_loading", 2)
        if self.phase == DRAINING:
            raise UnavailableError("the server is shutting down: use another one", "draining", 5, close=True)
        if self.phase == FAILED:
            raise UnavailableError("the engine has stopped: the server must be restarted", "engine_stopped", 30)

    def set_ready(self) -> None:
        """The model is loaded and warm."""
        if self.phase == LOADING:
            self.phase = READY

    def fail(self, error: BaseException) -> None:
        """The engine cannot go on."""
        if self.phase != FAILED:
            self.phase = FAILED
            self.failure = error
            for callback in self._on_failure:
                callback()

    def on_failure(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` once the engine cannot go on."""
        self._on_failure.append(callback)

    @contextmanager
    def reply(self) -> Iterator[None]:
        """A reply is being made or sent: draining waits for the end of the block."""
        self._in_flight += 1
        try:
            yield
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                for waiter in self._idle:
                    if not waiter.done():
                        waiter.set_result(None)
                self._idle.clear()

    @contextmanager
    def synthesis(self) -> Iterator[None]:
        """The engine is being waited for."""
        if not self._working:
            self._progress_at = self._clock()
        self._working += 1
        try:
            yield
        finally:
            self._working -= 1

    def progress(self) -> None:
        """The engine got somewhere."""
        self._progress_at = self._clock()

    async def drain(self, timeout: float) -> bool:
        """Accept nothing new and wait for what runs; False if something was still running after ``timeout`` s."""
        if self.phase != FAILED:
            self.phase = DRAINING
        if not self._in_flight:
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(waiter)
        done, _ = await asyncio.wait({waiter}, timeout=timeout)
        return bool(done)

    async def watch(self, backend: Backend) -> None:
        """Note every change of the engine's step counter, until cancelled.

        The statistics are asked for in a thread: a wedged engine may hold the lock that guards them.
        """
        loop = asyncio.get_running_loop()
        seen: object = None
        warned = False
        while True:
            await asyncio.sleep(_WATCH_INTERVAL)
            if not self._working:
                warned = False
                continue
            steps = (await loop.run_in_executor(None, backend.stats)).get("steps")
            if steps != seen:
                seen = steps
                self.progress()
            if self.stalled_for >= self._stall_seconds and not warned:
                warned = True
                log.error("the engine has made no step for %.0f s with %d requests", self.stalled_for, self._working)
