"""Random histories of the policy: nothing lost, nobody starved, limits kept. No array, no clock, no ONNX Runtime."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chattts_onnx.engine.scheduler import MAX_PASSED, Scheduler, SchedulerLimits
from chattts_onnx.errors import EngineOverloadedError, EngineStoppedError, InputError


def make(**values) -> Scheduler:
    defaults = {"max_batch": 4, "max_queue": 8, "kv_tokens": 10_000, "prefill_chunk": 16}
    return Scheduler(SchedulerLimits(**{**defaults, **values}))


def add(scheduler, request_id, prompt=5, total=20, **values) -> None:
    scheduler.add(request_id, prompt_tokens=prompt, max_tokens=total, **values)


def test_a_request_joins_between_two_steps_and_leaves_at_once() -> None:
    scheduler = make()
    add(scheduler, 0)
    plan = scheduler.plan()
    assert plan.decode == ()
    assert [(chunk.request_id, chunk.start, chunk.stop, chunk.last) for chunk in plan.prefill] == [(0, 0, 5, True)]
    scheduler.commit(plan)
    add(scheduler, 1)
    plan = scheduler.plan()
    assert plan.decode == (0,)
    assert [chunk.request_id for chunk in plan.prefill] == [1]
    scheduler.commit(plan, finished=[0])
    assert scheduler.running == (1,)
    assert scheduler.plan().decode == (1,)


def test_a_long_prompt_is_read_in_fixed_pieces_while_others_decode() -> None:
    scheduler = make()
    add(scheduler, 0)
    scheduler.commit(scheduler.plan())
    add(scheduler, 1, prompt=40, total=60)
    pieces = []
    for _ in range(3):
        plan = scheduler.plan()
        assert plan.decode == (0,)
        pieces += [(chunk.start, chunk.stop, chunk.last) for chunk in plan.prefill]
        scheduler.commit(plan)
    assert pieces == [(0, 16, False), (16, 32, False), (32, 40, True)]
    assert scheduler.plan().decode == (0, 1)


def test_a_prompt_is_never_cut_by_what_others_left_of_the_budget() -> None:
    scheduler = make()
    add(scheduler, 0, prompt=10)
    add(scheduler, 1, prompt=12)
    plan = scheduler.plan()
    assert [chunk.request_id for chunk in plan.prefill] == [0]
    scheduler.commit(plan)
    assert [(chunk.start, chunk.stop) for chunk in scheduler.plan().prefill] == [(0, 12)]


def test_whole_prompts_where_the_runtime_cannot_read_pieces() -> None:
    scheduler = make(chunked=False)
    add(scheduler, 0, prompt=100, total=120)
    assert [(chunk.start, chunk.stop, chunk.last) for chunk in scheduler.plan().prefill] == [(0, 100, True)]


def test_the_last_row_fills_the_hole_and_a_half_read_prompt_stays_last() -> None:
    scheduler = make(max_batch=5)
    for number in range(4):
        add(scheduler, number, prompt=1)
    scheduler.commit(scheduler.plan())
    add(scheduler, 9, prompt=40, total=60)
    plan = scheduler.plan()
    scheduler.commit(plan, finished=[1])
    assert scheduler.running == (0, 3, 2, 9)
    assert scheduler.plan().decode == (0, 3, 2)


def test_the_queue_is_bounded_beyond_the_rows() -> None:
    scheduler = make(max_batch=2, max_queue=4)
    for number in range(6):
        add(scheduler, number)
    with pytest.raises(EngineOverloadedError) as caught:
        add(scheduler, 6)
    assert (caught.value.queued, caught.value.limit) == (4, 4)


def test_the_cache_budget_admits_only_what_can_run_to_its_end() -> None:
    scheduler = make(kv_tokens=100)
    add(scheduler, 0, total=50)
    add(scheduler, 1, total=50)
    add(scheduler, 2, total=10)
    plan = scheduler.plan()
    assert [chunk.request_id for chunk in plan.prefill] == [0, 1]
    scheduler.commit(plan, finished=[0])
    # Rows have one capacity: 2 x 50 again.
    assert [chunk.request_id for chunk in scheduler.plan().prefill] == [2]


def test_a_request_that_can_never_fit_is_refused_with_what_to_do() -> None:
    with pytest.raises(InputError, match="lower max_new_token or raise kv_budget_bytes"):
        add(make(kv_tokens=30), 0, total=31)
    with pytest.raises(InputError):
        add(make(kv_tokens=30, min_rows=2), 0, total=16)


def test_segments_of_one_text_do_not_stand_in_the_way_of_a_short_request() -> None:
    scheduler = make(max_batch=3, max_queue=50)
    for number in range(20):
        add(scheduler, number, group="book")
    scheduler.commit(scheduler.plan())
    assert scheduler.running == (0, 1, 2)
    add(scheduler, 100, group="greeting")
    scheduler.commit(scheduler.plan(), finished=[0])
    assert [chunk.request_id for chunk in scheduler.plan().prefill] == [100]


def test_among_equals_who_came_without_a_group_goes_first() -> None:
    scheduler = make(max_batch=1)
    for number, group in enumerate(["running", "due", None, "other"]):
        add(scheduler, number, group=group)
    order = []
    for _ in range(4):
        scheduler.commit(scheduler.plan())
        order += scheduler.running
        scheduler.commit(scheduler.plan(), finished=scheduler.running)
    assert order == [2, 0, 1, 3]


def test_a_lone_request_waits_for_company_no_longer_than_told() -> None:
    scheduler = make(batch_wait=0.05)
    add(scheduler, 0, now=1.0)
    plan = scheduler.plan(1.01)
    assert plan.is_empty
    assert plan.wait_until == pytest.approx(1.05)
    assert not scheduler.plan(1.05).is_empty


def test_a_full_batch_does_not_wait_and_neither_does_a_running_one() -> None:
    scheduler = make(batch_wait=10.0, max_batch=2)
    add(scheduler, 0)
    add(scheduler, 1)
    assert len(scheduler.plan(0.0).prefill) == 2
    scheduler = make(batch_wait=10.0)
    add(scheduler, 0)
    scheduler.commit(scheduler.plan(20.0))
    add(scheduler, 1, now=20.0)
    assert [chunk.request_id for chunk in scheduler.plan(20.0).prefill] == [1]


def test_drain_refuses_new_requests_and_lets_the_rest_end() -> None:
    scheduler = make(batch_wait=10.0)
    add(scheduler, 0)
    scheduler.drain()
    with pytest.raises(EngineStoppedError):
        add(scheduler, 1)
    scheduler.commit(scheduler.plan(), finished=[0])
    assert not scheduler.has_work


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=30, max_size=60))
def test_nobody_is_passed_more_than_the_bound(groups) -> None:
    """One client keeps a row all the time while another's requests keep arriving: the first still gets its next."""
    scheduler = make(max_batch=2, max_queue=200, prefill_chunk=1000)
    add(scheduler, 0, group="old")
    scheduler.commit(scheduler.plan())
    add(scheduler, 1, group="old")
    started = {0}
    passed = 0
    for number, group in enumerate(groups, start=2):
        add(scheduler, number, group=group)
        plan = scheduler.plan()
        started.update(chunk.request_id for chunk in plan.prefill)
        passed += sum(chunk.request_id > 1 for chunk in plan.prefill)
        if 1 in started:
            break
        scheduler.commit(plan, finished=[chunk.request_id for chunk in plan.prefill])
    assert 1 in started
    assert passed <= MAX_PASSED


class Histories(RuleBasedStateMachine):
    """Any order of arrivals, steps, ends and aborts."""

    def __init__(self) -> None:
        super().__init__()
        self.capacity = 8
        self.limits = SchedulerLimits(max_batch=3, max_queue=5, kv_tokens=96, prefill_chunk=7, batch_wait=2.0)
        self.scheduler = Scheduler(self.limits, self.capacity_of)
        self.prompts = {}
        self.totals = {}
        self.left = {}
        self.read = {}
        self.gone = set()
        self.waited = {}
        self.now = 0.0
        self.next = 0

    def capacity_of(self, tokens: int) -> int:
        return math.ceil(tokens / self.capacity) * self.capacity

    @rule(prompt=st.integers(1, 25), new=st.integers(1, 12), group=st.sampled_from([None, "a", "b"]))
    def arrive(self, prompt, new, group) -> None:
        number, self.next = self.next, self.next + 1
        alive = len(self.scheduler.running) + len(self.scheduler.waiting)
        try:
            self.scheduler.add(number, prompt_tokens=prompt, max_tokens=prompt + new, group=group, now=self.now)
        except EngineOverloadedError:
            assert alive >= self.limits.max_queue + self.limits.max_batch
            return
        assert alive < self.limits.max_queue + self.limits.max_batch
        self.prompts[number], self.totals[number] = prompt, prompt + new
        self.left[number], self.read[number] = new, 0
        self.waited[number] = 0

    @precondition(lambda self: self.left)
    @rule(early=st.booleans())
    def step(self, early) -> None:
        self.now += 1.0
        before = self.scheduler.running
        plan = self.scheduler.plan(self.now)
        assert plan.decode == tuple(n for n in before if self.read[n] == self.prompts[n])
        assert sum(chunk.stop - chunk.start for chunk in plan.prefill) <= self.limits.prefill_chunk
        assert all(chunk.last for chunk in plan.prefill[:-1])
        finished = []
        ready = list(plan.decode)
        for chunk in plan.prefill:
            assert chunk.start == self.read[chunk.request_id]
            assert chunk.stop == min(chunk.start + 7, self.prompts[chunk.request_id])
            self.read[chunk.request_id] = chunk.stop
            assert chunk.last == (chunk.stop == self.prompts[chunk.request_id])
            ready += [chunk.request_id] * chunk.last
        for number in ready:
            self.left[number] -= 1
            if self.left[number] == 0 or (early and number % 3 == 0):
                finished.append(number)
        assert plan.is_empty == (not ready and not plan.prefill)
        if plan.is_empty:
            assert plan.wait_until is not None
            assert plan.wait_until > self.now
        self.scheduler.commit(plan, finished)
        self.forget(finished)
        for number in self.scheduler.waiting:
            self.waited[number] += 1
            # Eight alive at most, each of at most 4 + 12 steps: far below this bound unless somebody starves.
            assert self.waited[number] < 200

    @precondition(lambda self: self.left)
    @rule(data=st.data())
    def abort(self, data) -> None:
        number = data.draw(st.sampled_from(sorted(self.left)))
        assert self.scheduler.abort(number)
        self.forget([number])
        assert not self.scheduler.abort(number)

    def forget(self, numbers) -> None:
        for number in numbers:
            del self.left[number], self.waited[number]
            self.gone.add(number)

    @invariant()
    def none_lost_none_twice(self) -> None:
        here = [*self.scheduler.running, *self.scheduler.waiting]
        assert len(here) == len(set(here))
        assert set(here) == set(self.left)
        assert self.scheduler.has_work == bool(here)

    @invariant()
    def limits_kept(self) -> None:
        running = self.scheduler.running
        assert len(running) <= self.limits.max_batch
        if running:
            longest = max(self.totals[number] for number in running)
            assert len(running) * self.capacity_of(longest) <= self.limits.kv_tokens
        half_read = [number for number in running if self.read[number] < self.prompts[number]]
        assert half_read in ([], list(running[-1:]))

    def teardown(self) -> None:
        for _ in range(500):
            if not self.scheduler.has_work:
                return
            self.step(early=False)
        raise AssertionError("work is left after 500 steps")


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
