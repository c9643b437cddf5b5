"""Freed memory is given back in a while, once for all who freed something."""

from __future__ import annotations

import sys
import threading

import pytest

from chattts_onnx.server.freed_memory import FreedMemory, find_malloc_trim


def test_given_back_once_for_many_and_again_later() -> None:
    calls, called = [], threading.Event()

    def trim(pad: int) -> None:
        calls.append(pad)
        called.set()

    memory = FreedMemory(trim, delay=0.05)
    for _ in range(5):
        memory.soon()
    assert called.wait(5)
    called.clear()
    memory.soon()
    assert called.wait(5)
    assert calls == [0, 0]


def test_nothing_after_stop() -> None:
    calls = []
    memory = FreedMemory(calls.append, delay=0.05)
    memory.soon()
    memory.stop()
    memory.soon()
    assert not threading.Event().wait(0.15)
    assert calls == []


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc_trim is glibc's")
def test_glibc_has_it() -> None:
    import platform

    if platform.libc_ver()[0] != "glibc":
        pytest.skip("another libc")
    trim = find_malloc_trim()
    assert trim is not None
    assert trim(0) in (0, 1)
