"""One request seen by its reader: an outbox that the engine's thread fills and any thread, or a coroutine, empties.

A slow reader neither stalls the others nor grows memory without bound: the engine never waits for it, and what it has
not read is at most ``max_new_token`` steps of one hidden state each (3 KB in the full model, 6 MB for 43 seconds of
speech). Pausing its sequence instead would keep its row of the cache, some forty times as much, and the others out of
it. Whoever reads late gets everything so far in one piece.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import weakref
from typing import TYPE_CHECKING, AsyncIterator, Callable, Iterator, List, Optional

import numpy as np

from chattts_onnx.engine.sequence import FinishReason, StepOutput
from chattts_onnx.errors import ChatTTSError, RequestAbortedError

if TYPE_CHECKING:
    from typing import Hashable

    from chattts_onnx.engine.sequence import Prompt, SamplingParams

_log = logging.getLogger(__name__)

Listener = Callable[[], None]


class Outbox:
    """What a request has produced and nobody has read; the engine's side of a `Generation`."""

    def __init__(self, prompt: Prompt, params: Optional[SamplingParams], group: Optional[Hashable]) -> None:
        self.prompt = prompt
        self.params = params
        self.group = group
        self.request_id: Optional[int] = None
        """Set when the engine has taken the request."""
        self._changed = threading.Condition()
        self._outputs: List[StepOutput] = []
        self._finished = False
        self._error: Optional[ChatTTSError] = None
        self._listeners: List[Listener] = []

    @property
    def closed(self) -> bool:
        """True when nothing more will be put in."""
        return self._finished or self._error is not None

    def put(self, output: StepOutput) -> None:
        """Add one output; ignored once the request has failed or was aborted."""
        with self._changed:
            if self.closed:
                return
            if output.finish is FinishReason.ERROR:
                self._error = output.error
            else:
                self._outputs.append(output)
                self._finished = output.finish is not None
            self._changed.notify_all()
        self._tell()

    def fail(self, error: ChatTTSError) -> None:
        """End the request with ``error``, unless it has ended; what was produced before can still be read."""
        with self._changed:
            if self.closed:
                return
            self._error = error
            self._changed.notify_all()
        self._tell()

    def take(self) -> Optional[StepOutput]:
        """All that is here, in one piece; None if there is nothing.

        Raises:
            ChatTTSError: the request failed, and all it had produced has been taken.
        """
        with self._changed:
            outputs, self._outputs = self._outputs, []
            if not outputs and self._error is not None:
                raise self._error
        return _merge(outputs) if outputs else None

    def wait(self, timeout: Optional[float] = None) -> bool:
        """Block until there is something to take or nothing more will come; False after ``timeout`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._outputs) or self.closed, timeout)

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` after every change from now on, and once now."""
        with self._changed:
            self._listeners.append(listener)
        self._call(listener)

    def _tell(self) -> None:
        for listener in tuple(self._listeners):
            self._call(listener)

    def _call(self, listener: Listener) -> None:
        try:
            listener()
        except Exception:  # noqa: BLE001 - one listener (a closed event loop, say) must not end everybody's thread
            _log.debug("a listener failed and is dropped", exc_info=True)
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)


class Generation:
    """A submitted request: iterate over its `StepOutput`, with ``for`` or ``async for``.

    One reader at a time. A generation that is dropped before its end is aborted.
    """

    def __init__(self, outbox: Outbox, abort: Callable[[Outbox], None]) -> None:
        self._outbox = outbox
        self._abort = abort
        self._ended = False
        finalizer = weakref.finalize(self, abort, outbox)
        finalizer.atexit = False

    @property
    def done(self) -> bool:
        """True when the engine has finished with the request; there may still be output to read."""
        return self._outbox.closed

    def __iter__(self) -> Iterator[StepOutput]:
        return self

    def __next__(self) -> StepOutput:
        """Wait for output.

        Raises:
            RequestAbortedError: it was aborted.
            EngineStoppedError: the engine was closed or died.
            SynthesisError: generation failed for this request.
        """
        if self._ended:
            raise StopIteration
        self._outbox.wait()
        output = self.poll()
        if output is None:
            raise StopIteration
        return output

    def poll(self, timeout: float = 0.0) -> Optional[StepOutput]:
        """What there is within ``timeout`` seconds, or None; raises as iteration does."""
        if timeout > 0:
            self._outbox.wait(timeout)
        output = self._outbox.take()
        if output is not None and output.finish is not None:
            self._ended = True
        return output

    def abort(self) -> None:
        """Stop it: the reader gets `RequestAbortedError`, its row is free within one step. Never blocks."""
        self._abort(self._outbox)

    def add_listener(self, listener: Listener) -> None:
        """Call ``listener`` (from the engine's thread; it must not block) whenever `poll` may have something new."""
        self._outbox.listen(listener)

    async def __aiter__(self) -> AsyncIterator[StepOutput]:
        """As iteration, without blocking the event loop; aborts when the consumer goes away."""
        loop = asyncio.get_running_loop()
        changed = asyncio.Event()
        self._outbox.listen(lambda: _wake(loop, changed))
        try:
            while not self._ended:
                changed.clear()
                output = self.poll()
                if output is not None:
                    yield output
                else:
                    await changed.wait()
        finally:
            self.abort()


def _wake(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
    loop.call_soon_threadsafe(event.set)


def abort_error() -> RequestAbortedError:
    """What the reader of an aborted request gets."""
    return RequestAbortedError("the request was cancelled before it ended: submit it again")


def _merge(outputs: List[StepOutput]) -> StepOutput:
    if len(outputs) == 1:
        return outputs[0]
    return StepOutput(
        outputs[0].request_id,
        np.concatenate([output.codes for output in outputs]),
        np.concatenate([output.hidden for output in outputs]),
        outputs[-1].finish,
    )
