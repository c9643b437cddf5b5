from __future__ import annotations

import asyncio
import gc
import threading
import time

import numpy as np
import pytest
from engine_requests import merge, open_engine, random_prompt, run_all

from chattts_onnx.engine import EngineWorker, FinishReason, SamplingParams
from chattts_onnx.errors import (
    EngineOverloadedError,
    EngineStoppedError,
    InputError,
    RequestAbortedError,
    SynthesisError,
)

ENDLESS = SamplingParams(seed=1, max_new_token=3000, min_new_token=3000)
SHORT = SamplingParams(seed=1, max_new_token=12, min_new_token=12)


@pytest.fixture
def worker(tiny_model):
    started = EngineWorker(open_engine(tiny_model, max_batch=2, max_queue=4))
    yield started
    started.close(drain=False)


@pytest.fixture
def prompt(engine):
    return random_prompt(np.random.default_rng(0), engine._gpt, tokens=8)


def until(condition, seconds=20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.002)


def test_iteration_gives_what_the_engine_gives(worker, engine, prompt) -> None:
    [expected] = run_all(engine, [(prompt, SHORT)])
    codes, hidden, finish = merge(list(worker.submit(prompt, SHORT)))
    np.testing.assert_array_equal(codes, expected[0])
    np.testing.assert_array_equal(hidden, expected[1])
    assert finish is FinishReason.LENGTH


def test_a_late_reader_gets_everything_in_one_piece(worker, engine, prompt) -> None:
    [expected] = run_all(engine, [(prompt, SHORT)])
    generation = worker.submit(prompt, SHORT)
    until(lambda: generation.done)
    [output] = list(generation)
    np.testing.assert_array_equal(output.codes, expected[0])
    assert output.finish is FinishReason.LENGTH
    assert list(generation) == []


def test_many_threads_get_each_their_own(worker, engine) -> None:
    generator = np.random.default_rng(1)
    requests = [
        (
            random_prompt(generator, engine._gpt, tokens=int(generator.integers(2, 30))),
            SamplingParams(seed=n, max_new_token=15, min_new_token=15),
        )
        for n in range(6)
    ]
    expected = [run_all(engine, [request])[0] for request in requests]
    results = [None] * len(requests)

    def read(number) -> None:
        results[number] = merge(list(worker.submit(*requests[number])))

    threads = [threading.Thread(target=read, args=(number,)) for number in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    for result, (codes, hidden, _) in zip(results, expected):
        np.testing.assert_array_equal(result[0], codes)
        np.testing.assert_array_equal(result[1], hidden)


def test_coroutines_read_without_blocking_the_loop(worker, engine, prompt) -> None:
    [expected] = run_all(engine, [(prompt, SHORT)])

    async def read():
        return merge([output async for output in worker.submit(prompt, SHORT)])

    async def main():
        return await asyncio.wait_for(asyncio.gather(*(read() for _ in range(4))), 30)

    for codes, _, finish in asyncio.run(main()):
        np.testing.assert_array_equal(codes, expected[0])
        assert finish is FinishReason.LENGTH


def test_a_cancelled_coroutine_aborts(worker, prompt) -> None:
    async def main():
        async def read():
            async for _ in worker.submit(prompt, ENDLESS):
                pass

        task = asyncio.ensure_future(read())
        while worker.stats().running == 0:  # noqa: ASYNC110 - another thread's doing
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    until(lambda: worker.stats().running == 0)
    assert worker.stats().aborted == 1


def test_a_listener_is_called_for_what_is_already_there_and_for_what_comes(worker, prompt) -> None:
    generation = worker.submit(prompt, SHORT)
    until(lambda: generation.done)
    calls = []
    generation.add_listener(lambda: calls.append(generation.poll()))
    assert [output.finish for output in calls] == [FinishReason.LENGTH]


def test_a_listener_that_fails_is_dropped_and_the_rest_goes_on(worker, prompt) -> None:
    generation = worker.submit(prompt, SHORT)
    calls = []

    def fail() -> None:
        calls.append(None)
        raise RuntimeError("Event loop is closed")

    generation.add_listener(fail)
    assert merge(list(generation))[2] is FinishReason.LENGTH
    assert len(calls) == 1


def test_abort_reaches_the_reader_at_once_and_the_row_within_two_steps(worker, prompt) -> None:
    generation = worker.submit(prompt, ENDLESS)
    next(generation)
    steps = worker.stats().steps
    generation.abort()
    with pytest.raises(RequestAbortedError):
        for _ in generation:
            pass
    until(lambda: worker.stats().running == 0)
    assert worker.stats().steps <= steps + 2
    generation.abort()
    assert worker.stats().aborted == 1


def test_aborting_a_queued_request_never_starts_it(worker, prompt) -> None:
    running = [worker.submit(prompt, ENDLESS) for _ in range(2)]
    until(lambda: worker.stats().running == 2)
    queued = worker.submit(prompt, SHORT)
    queued.abort()
    with pytest.raises(RequestAbortedError):
        next(queued)
    for generation in running:
        generation.abort()
    until(lambda: worker.stats().running == 0)
    assert worker.stats().finished == 0


def test_a_generation_nobody_holds_is_aborted(worker, prompt) -> None:
    generation = worker.submit(prompt, ENDLESS)
    until(lambda: worker.stats().running == 1)
    del generation
    gc.collect()
    until(lambda: worker.stats().running == 0)
    assert worker.stats().aborted == 1


def test_exactly_the_limit_is_taken_and_the_rest_refused_at_once(worker, prompt) -> None:
    taken, refused = [], 0
    for _ in range(50):
        try:
            taken.append(worker.submit(prompt, ENDLESS))
        except EngineOverloadedError as error:
            refused += 1
            assert (error.queued, error.limit) == (4, 4)  # noqa: PT017
    assert (len(taken), refused) == (6, 44)
    for generation in taken:
        generation.abort()
    until(lambda: worker.stats().running == worker.stats().waiting == 0)
    assert merge(list(worker.submit(prompt, SHORT)))[2] is FinishReason.LENGTH


def test_a_place_is_free_as_soon_as_the_reader_sees_the_end(worker, prompt) -> None:
    for _ in range(30):
        generations = [worker.submit(prompt, SamplingParams(seed=1, max_new_token=1)) for _ in range(6)]
        for generation in generations:
            list(generation)


def test_patience_waits_for_a_place_and_not_for_ever(worker, prompt) -> None:
    taken = [worker.submit(prompt, ENDLESS) for _ in range(6)]
    with pytest.raises(EngineOverloadedError):
        worker.submit(prompt, SHORT, patience=0.05)
    timer = threading.Timer(0.1, taken[0].abort)
    timer.start()
    patient = worker.submit(prompt, SHORT, patience=20)
    for generation in taken[1:]:
        generation.abort()
    assert merge(list(patient))[2] is FinishReason.LENGTH
    timer.join()


def test_unusable_requests_are_refused_in_the_caller_s_thread(worker, prompt) -> None:
    with pytest.raises(InputError):
        worker.submit(type(prompt)(prompt.ids[:, :2], prompt.text_mask))
    assert worker.stats().waiting == 0


def test_a_failing_request_breaks_its_stream_and_no_other(worker, engine, prompt) -> None:
    [expected] = run_all(engine, [(prompt, SHORT)])
    good = worker.submit(prompt, SHORT)
    real = worker._engine._runner.prefill

    def fail(row, ids, *rest):
        if len(ids) == 3:
            raise MemoryError("no more")
        return real(row, ids, *rest)

    worker._engine._runner.prefill = fail
    bad = worker.submit(type(prompt)(prompt.ids[:3], prompt.text_mask[:3]), SHORT)
    with pytest.raises(SynthesisError):
        list(bad)
    np.testing.assert_array_equal(merge(list(good))[0], expected[0])


def test_if_the_thread_dies_every_reader_hears_of_it(worker, prompt) -> None:
    readers = [worker.submit(prompt, ENDLESS) for _ in range(4)]
    next(readers[0])

    def broken(*_):
        raise RuntimeError("a wire came loose")

    worker._engine._runner.decode = broken
    for reader in readers:
        with pytest.raises(EngineStoppedError, match="a wire came loose"):
            for _ in reader:
                pass
    until(lambda: not worker.is_alive)
    with pytest.raises(EngineStoppedError, match="a wire came loose"):
        worker.submit(prompt, SHORT)
    assert worker.stalled_seconds == 0


def test_close_lets_requests_end_and_refuses_new_ones(tiny_model, engine, prompt) -> None:
    [expected] = run_all(engine, [(prompt, SHORT)])
    worker = EngineWorker(open_engine(tiny_model, max_batch=2))
    generations = [worker.submit(prompt, SHORT) for _ in range(5)]
    assert worker.close(timeout=30)
    for generation in generations:
        np.testing.assert_array_equal(merge(list(generation))[0], expected[0])
    with pytest.raises(EngineStoppedError):
        worker.submit(prompt, SHORT)
    assert not worker.is_alive
    assert worker.close()


def test_close_without_drain_cuts_readers_off_with_an_error(tiny_model, prompt) -> None:
    worker = EngineWorker(open_engine(tiny_model))
    generation = worker.submit(prompt, ENDLESS)
    next(generation)
    assert worker.close(drain=False)
    with pytest.raises(EngineStoppedError):
        for _ in generation:
            pass


def test_close_gives_up_draining_after_the_timeout(tiny_model, prompt) -> None:
    worker = EngineWorker(open_engine(tiny_model))
    generation = worker.submit(prompt, ENDLESS)
    next(generation)
    assert not worker.close(timeout=0.05)
    assert not worker.is_alive
    with pytest.raises(EngineStoppedError):
        for _ in generation:
            pass


def test_a_lone_request_waits_for_company_then_goes(tiny_model, prompt) -> None:
    worker = EngineWorker(open_engine(tiny_model, batch_wait_ms=600.0))
    try:
        started = time.monotonic()
        next(worker.submit(prompt, SHORT))
        assert time.monotonic() - started >= 0.6
        started = time.monotonic()
        generations = [worker.submit(prompt, SHORT) for _ in range(8)]
        next(generations[0])
        assert time.monotonic() - started < 0.6
    finally:
        worker.close(drain=False)


def test_a_stalled_step_is_visible_from_outside(worker, prompt) -> None:
    assert worker.stalled_seconds == 0
    hold = threading.Event()
    real = worker._engine._runner.prefill

    def wait(*arguments):
        hold.wait(20)
        return real(*arguments)

    worker._engine._runner.prefill = wait
    generation = worker.submit(prompt, SHORT)
    until(lambda: worker.stalled_seconds > 0.05)
    assert worker.is_alive
    hold.set()
    list(generation)
    until(lambda: worker.stalled_seconds == 0)


def test_what_is_not_read_is_bounded_by_the_steps(worker, prompt) -> None:
    generation = worker.submit(prompt, SamplingParams(seed=1, max_new_token=40, min_new_token=40))
    until(lambda: generation.done)
    held = generation._outbox._outputs
    assert sum(output.hidden.nbytes for output in held) == 40 * 4 * worker._engine._gpt.hidden_size
    # A view into a larger buffer would keep all of it alive.
    assert all(output.hidden.base is None and output.codes.base is None for output in held)
