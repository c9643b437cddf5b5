"""Admission without a server: order, handover, cancellation at every moment; and the time limit it rests on."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from chattts_onnx.server.admission import Admission
from chattts_onnx.server.error_responses import QueueFullError, QueueTimeoutError
from chattts_onnx.server.time_limit import TimeLimit, TimeLimitExceededError

pytestmark = pytest.mark.asyncio


def holding(admission, release, *lengths):
    """Tasks that ask for a slot in this order and hold it until ``release``."""

    async def hold(seconds):
        async with admission.slot(seconds):
            await release.wait()

    return [asyncio.ensure_future(hold(seconds)) for seconds in lengths]


async def test_first_come_first_served():
    admission = Admission(1, 10, 100)
    order = []

    async def one(name):
        async with admission.slot(1.0):
            order.append(name)
            await asyncio.sleep(0)

    await asyncio.gather(*[one(name) for name in range(10)])
    assert order == list(range(10))
    assert admission.running == admission.waiting == 0


async def test_full_is_refused_with_a_date():
    admission = Admission(1, 1, 200)
    admission.observe(1.0, 5.0)
    release = asyncio.Event()
    tasks = holding(admission, release, 30.0, 30.0)
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError) as caught:
        async with admission.slot(1.0):
            pass
    # 60 s of speech are owed, each takes 3 s of work: more than the minute that is ever told.
    assert caught.value.body.headers["retry-after"] == "60"
    release.set()
    await asyncio.gather(*tasks)
    assert admission.retry_after() == 1


async def test_a_wait_without_hope_is_refused_at_once():
    admission = Admission(2, 100, 30)
    release = asyncio.Event()
    for _ in range(2):
        admission.observe(1.0, 1.0)
    # Two run for 20 s and 50 s; one of 15 s waits for the first: the next would start after 35 s.
    tasks = holding(admission, release, 20.0, 50.0, 15.0)
    await asyncio.sleep(0)
    assert admission.expected_wait() == pytest.approx(35, abs=1)
    with pytest.raises(QueueFullError):
        async with admission.slot(1.0):
            pass
    # Twice as fast as was thought: now there is hope.
    for _ in range(20):
        admission.observe(10.0, 5.0)
    tasks += holding(admission, release, 1.0)
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (2, 2)
    release.set()
    await asyncio.gather(*tasks)
    assert not admission.full
    assert admission.expected_wait() == 0


async def test_the_first_wave_is_judged_by_a_lone_request():
    admission = Admission(8, 32, 30)
    admission.assume(0.65)
    release = asyncio.Event()
    # Each is taken to last 13 s, and since nothing was answered yet, to make the others wait for 26 s: one more round
    # begins within 30 s, a second does not.
    tasks = holding(admission, release, *[5.0] * 40)
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (8, 8)
    release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(result, QueueFullError) for result in results) == 24


async def test_who_turns_out_to_wait_in_vain_is_told_before_the_time_is_over(monkeypatch):
    monkeypatch.setattr("chattts_onnx.server.admission._REVIEW_SECONDS", 0.01)
    admission = Admission(2, 100, 2.0)
    admission.assume(0.1)
    release = asyncio.Event()
    tasks = holding(admission, release, *[1.0] * 10)
    began = time.monotonic()
    await asyncio.sleep(0)
    assert (admission.running, admission.waiting) == (2, 8)
    # Each was expected to take 0.1 s; both have run longer, so that most of the others cannot begin within 2 s.
    await asyncio.wait(tasks[4:])
    assert time.monotonic() - began < 1.9
    release.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert [type(result) for result in refused] == [QueueFullError] * 6
    assert results[:4] == [None] * 4  # those before them keep their turn
    assert admission.running == admission.waiting == 0


@pytest.mark.parametrize("slots", [2, 3])
async def test_one_slow_reader_is_no_slow_server(monkeypatch, slots):
    monkeypatch.setattr("chattts_onnx.server.admission._REVIEW_SECONDS", 0.01)
    admission = Admission(slots, 100, 1.0)
    admission.assume(0.01)
    release = asyncio.Event()
    (stuck,) = holding(admission, release, 0.01)
    await asyncio.sleep(0.5)  # 50 seconds of work for a second of speech, it seems

    async def quick():
        async with admission.slot(1.0):
            await asyncio.sleep(0.01)
        admission.observe(1.0, 0.01)

    await asyncio.gather(*[quick() for _ in range(30)])
    release.set()
    await stuck


async def test_waiting_has_an_end():
    admission = Admission(1, 1, 0.01)
    async with admission.slot(0.0):
        with pytest.raises(QueueTimeoutError):
            async with admission.slot(1.0):
                pass
    assert admission.running == admission.waiting == 0


async def test_nothing_is_lost_whoever_leaves_whenever():
    draw = random.Random(0)
    for _ in range(200):
        admission = Admission(2, 100, 100)
        most = 0

        async def one():
            nonlocal most
            async with admission.slot(1.0):  # noqa: B023
                most = max(most, admission.running)  # noqa: B023
                for _ in range(draw.randint(0, 3)):
                    await asyncio.sleep(0)

        tasks = [asyncio.ensure_future(one()) for _ in range(12)]
        for _ in range(draw.randint(0, 12)):
            for _ in range(draw.randint(0, 2)):
                await asyncio.sleep(0)
            draw.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (admission.running, admission.waiting) == (0, 0)
        assert most <= 2


async def test_a_cancellation_is_never_swallowed_by_the_limit():
    """What ``asyncio.wait_for`` does before Python 3.12 when the work is done in the moment of the cancellation."""
    done = asyncio.get_running_loop().create_future()
    after = []

    async def work():
        with TimeLimit(5):
            await done
        after.append("went on")

    task = asyncio.ensure_future(work())
    await asyncio.sleep(0)
    done.set_result(None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert after == []


async def test_the_limit_ends_the_wait():
    with pytest.raises(TimeLimitExceededError), TimeLimit(0.01):
        await asyncio.sleep(5)
    await asyncio.sleep(0)
