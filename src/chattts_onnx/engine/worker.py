"""The engine's one thread: it alone touches the `Engine`; everybody else passes notes.

Submitting and aborting put a note into a bounded inbox and return; the thread reads the notes between two steps. A
full engine refuses in the caller's thread, before anything is queued. If the thread dies, every reader gets the error
and every later `submit` too: there is no state in which a reader waits for somebody who is gone.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Deque, Dict, Hashable, Optional

from chattts_onnx.engine.generation import Generation, Outbox, abort_error
from chattts_onnx.errors import ChatTTSError, EngineOverloadedError, EngineStoppedError

if TYPE_CHECKING:
    from chattts_onnx.engine.engine import Engine
    from chattts_onnx.engine.sequence import Prompt, SamplingParams
    from chattts_onnx.engine.stats import EngineStats

_log = logging.getLogger(__name__)

_GRACE_SECONDS = 10.0
"""How long `EngineWorker.close` waits for the step in progress after it has given up draining."""


class EngineWorker:
    """Runs an engine in a thread of its own, which starts at once.

    Args:
        engine: Not to be touched by anybody else from now on.
        name: Name of the thread.
    """

    def __init__(self, engine: Engine, *, name: str = "chattts-engine") -> None:
        self._engine = engine
        self._limit = engine.limits.max_batch + engine.limits.max_queue
        # Re-entrant (Condition's default), because a finalizer may abort in the middle of any of our own lines.
        self._notes = threading.Condition()
        self._inbox: Deque[Outbox] = deque()
        self._aborts: Deque[Outbox] = deque()
        self._taken: Dict[int, Outbox] = {}
        self._outstanding = 0
        self._closing = False
        self._drain = True
        self._stopped: Optional[EngineStoppedError] = None
        self._stats = engine.stats()
        self._last_step_at = time.monotonic()
        self._busy = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """True while requests can be served."""
        return self._thread.is_alive() and self._stopped is None

    @property
    def last_step_at(self) -> float:
        """`time.monotonic` of the last sign of life: a step, or waiting for work."""
        return self._last_step_at

    @property
    def stalled_seconds(self) -> float:
        """How long the step in progress has taken; 0 while there is nothing to do. For a watchdog."""
        return time.monotonic() - self._last_step_at if self._busy else 0.0

    def submit(
        self,
        prompt: Prompt,
        params: Optional[SamplingParams] = None,
        *,
        group: Optional[Hashable] = None,
        patience: float = 0.0,
    ) -> Generation:
        """Hand in a request; returns at once, or as soon as there is a place within ``patience``.

        Args:
            prompt: Its ids.
            params: How to sample; None: the defaults of the prompt's head.
            group: Requests of one group (the segments of one text, one client) share the rows fairly with others.
            patience: Seconds to wait for a place when rows and queue are full: the next line of a speech that has
                begun should wait where a new one is refused.

        Raises:
            InputError: the prompt does not fit the model, or the request can never fit the cache.
            EngineOverloadedError: rows and queue are full.
            EngineStoppedError: the engine was closed or died.
        """
        self._engine.check(prompt, params)
        outbox = Outbox(prompt, params, group)
        with self._notes:
            if patience > 0:
                self._notes.wait_for(
                    lambda: self._outstanding < self._limit or self._closing or self._stopped is not None, patience
                )
            if self._stopped is not None:
                raise EngineStoppedError(str(self._stopped)) from self._stopped.__cause__
            if self._closing:
                raise EngineStoppedError("the engine is shutting down and takes no new requests: send it elsewhere")
            if self._outstanding >= self._limit:
                queued = self._outstanding - self._engine.limits.max_batch
                raise EngineOverloadedError(queued, self._engine.limits.max_queue)
            self._outstanding += 1
            self._inbox.append(outbox)
            self._notes.notify_all()
        return Generation(outbox, self._request_abort)

    def stats(self) -> EngineStats:
        """A snapshot from the last step; who waits is counted now, also those on their way into the engine."""
        with self._notes:
            return replace(self._stats, waiting=max(0, self._outstanding - self._stats.running))

    def close(self, *, drain: bool = True, timeout: Optional[float] = None) -> bool:
        """Stop the thread; later calls do nothing more.

        Args:
            drain: Let the requests here run to their end; else their readers get `EngineStoppedError`.
            timeout: Seconds to drain; None: as long as it takes. What is left then is cut.

        Returns:
            True if the thread ended, and with ``drain`` only if nothing was cut.
        """
        with self._notes:
            self._closing = True
            self._drain = self._drain and drain
            self._notes.notify_all()
        if threading.current_thread() is self._thread:
            return False
        self._thread.join(timeout if drain else _GRACE_SECONDS)
        if not self._thread.is_alive():
            return True
        with self._notes:
            self._drain = False
            self._notes.notify_all()
        self._thread.join(_GRACE_SECONDS)
        if self._thread.is_alive():
            # Stuck inside a step: its readers must not wait for it.
            self._fail_all(EngineStoppedError("the engine did not stop in time: restart the process"))
        return False

    def _request_abort(self, outbox: Outbox) -> None:
        if outbox.closed:
            return
        outbox.fail(abort_error())
        with self._notes:
            self._aborts.append(outbox)
            self._notes.notify_all()

    def _run(self) -> None:
        error = EngineStoppedError("the engine was closed: start it again")
        try:
            while self._turn():
                pass
        except BaseException as cause:  # noqa: BLE001 - whatever it was, the readers must hear of it
            _log.exception("the engine's thread died")
            error = EngineStoppedError(f"the engine died ({cause!r}): restart it")
            error.__cause__ = cause
        finally:
            self._busy = False
            self._fail_all(error)

    def _turn(self) -> bool:
        """One round of notes and one step; False when it is time to end."""
        with self._notes:
            self._busy = False
            while not (self._inbox or self._aborts or self._closing):
                now = time.monotonic()
                until = self._engine.wait_until(now)
                if self._engine.has_work and until is None:
                    break
                self._last_step_at = now
                self._notes.wait(None if until is None else until - now)
            arrived, aborted = list(self._inbox), list(self._aborts)
            self._inbox.clear()
            self._aborts.clear()
            closing, drain = self._closing, self._drain
            self._busy = True
            self._last_step_at = time.monotonic()
        for outbox in arrived:
            self._take_in(outbox)
        if closing:
            self._engine.drain()
        for outbox in aborted:
            if outbox.request_id is not None and self._taken.pop(outbox.request_id, None) is not None:
                self._engine.abort(outbox.request_id)
                self._release()
        if closing and not (drain and self._engine.has_work):
            self._stats = self._engine.stats()
            return False
        outputs = self._engine.step()
        self._last_step_at = time.monotonic()
        with self._notes:
            self._stats = self._engine.stats()
        for output in outputs:
            outbox = self._taken[output.request_id]
            if output.finish is not None:
                # Before the reader knows: whoever sees the end may submit again.
                del self._taken[output.request_id]
                self._release()
            outbox.put(output)
        return True

    def _take_in(self, outbox: Outbox) -> None:
        if outbox.closed:  # aborted before it was read
            self._release()
            return
        try:
            outbox.request_id = self._engine.add(outbox.prompt, outbox.params, group=outbox.group)
        except ChatTTSError as error:
            self._release()
            outbox.fail(error)
        else:
            self._taken[outbox.request_id] = outbox

    def _release(self) -> None:
        with self._notes:
            self._outstanding -= 1
            self._notes.notify_all()

    def _fail_all(self, error: EngineStoppedError) -> None:
        with self._notes:
            self._stopped = self._stopped or error
            left = [*self._taken.values(), *self._inbox]
            self._inbox.clear()
            self._taken = {}
            self._outstanding = 0
            self._notes.notify_all()
        for outbox in left:
            outbox.fail(error)
