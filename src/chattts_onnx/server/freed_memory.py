"""What was freed goes back to the system, some seconds after there was speech.

glibc keeps up to eight heaps a core and gives back only their upper ends: buffers of the graphs, freed by some thirty
threads, stay resident in pieces, and a busy server looks as if it leaked until each heap has seen its worst moment.
``malloc_trim`` gives back whole pages from their middle too; dask and others call it for the same reason. Fewer heaps
(``MALLOC_ARENA_MAX``) or fixed thresholds (``MALLOC_TRIM_THRESHOLD_``) would keep memory lower still, and cost
throughput: figures in docs/load.md, *Memory*. Other systems give back by themselves or not at all.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Callable, Optional

_DELAY_SECONDS = 10.0


class FreedMemory:
    """Gives it back once in a while; safe to call from any thread."""

    def __init__(self, trim: Optional[Callable[[int], object]] = None, delay: float = _DELAY_SECONDS) -> None:
        """``trim`` is `find_malloc_trim` by default; ``delay`` in seconds."""
        self._trim = trim if trim is not None else find_malloc_trim()
        self._delay = delay
        self._lock = threading.Lock()
        self._timer: Optional[threading.Timer] = None

    def soon(self) -> None:
        """Something was freed: give it back in a while, together with what others free until then."""
        with self._lock:
            if self._trim is not None and self._timer is None:
                self._timer = threading.Timer(self._delay, self._now)
                self._timer.daemon = True
                self._timer.start()

    def stop(self) -> None:
        """Forget about it, for good."""
        with self._lock:
            self._trim = None
            if self._timer is not None:
                self._timer.cancel()

    def _now(self) -> None:
        with self._lock:
            self._timer = None
            trim = self._trim
        if trim is not None:
            trim(0)


def find_malloc_trim() -> Optional[Callable[[int], object]]:
    """The ``malloc_trim`` of glibc; None where there is none (musl, macOS, Windows)."""
    if not sys.platform.startswith("linux"):
        return None
    trim: Optional[Callable[[int], object]] = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
