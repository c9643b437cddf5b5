"""A time limit on awaiting something, for every Python from 3.8.

Not ``asyncio.wait_for``: before Python 3.12 it swallows a cancellation that arrives in the moment its task is done, and
here a cancellation is a client that left, whose speech would then be made to its end for nobody. It also makes a task
for every wait. (``asyncio.timeout`` would do, from Python 3.11.)
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Optional, Type


class TimeLimitExceededError(Exception):
    """The block took too long."""


class TimeLimit:
    """``with TimeLimit(seconds): await …`` raises `TimeLimitExceededError` once the time is up."""

    def __init__(self, seconds: float) -> None:
        self._seconds = max(seconds, 0.0)
        self._expired = False
        self._task: Optional[asyncio.Task[Any]] = None

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._expire)

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self._timer.cancel()
        if self._expired and kind is not None and issubclass(kind, asyncio.CancelledError):
            uncancel = getattr(self._task, "uncancel", None)
            if uncancel is not None:
                uncancel()
            raise TimeLimitExceededError from None

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()
