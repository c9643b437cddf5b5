from __future__ import annotations

import ctypes
from functools import partial

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from chattts_onnx.engine.device_cache import DeviceKVCache, copy_model
from chattts_onnx.engine.kv_cache import KVCache, capacity_bucket

LAYERS, HEADS, SIZE = 2, 3, 4


def make_cache(device=False, max_rows=4, max_tokens=100_000) -> KVCache:
    dims = {"layers": LAYERS, "heads": HEADS, "head_size": SIZE, "max_rows": max_rows, "max_tokens": max_tokens}
    if device:
        # The code for a GPU's memory with the CPU in its place: addresses, device copies and growth are the same.
        return DeviceKVCache(device="cpu", index=0, provider="CPUExecutionProvider", **dims)
    return KVCache(**dims)


@pytest.fixture(params=[False, True], ids=["host", "device"])
def make(request):
    return partial(make_cache, request.param)


def view(cache, start, stop):
    """What ONNX Runtime sees through the addresses, as arrays."""
    arrays = []
    for address, shape in cache.blocks(start, stop):
        count = int(np.prod(shape))
        buffer = (ctypes.c_float * count).from_address(address)
        arrays.append(np.frombuffer(buffer, np.float32).reshape(shape))
    return arrays


def write(cache, row, value, tokens) -> None:
    """Append tokens whose keys and values say whose they are, which one they are and where they belong."""
    cache.reserve(cache.lengths[row] + tokens)
    start = cache.lengths[row]
    for number, block in enumerate(view(cache, row, row + 1)):
        for token in range(start, start + tokens):
            block[0, :, token] = value * 1000 + token + number / 10
    cache.extend(row, tokens)


def expect(cache, row, value) -> None:
    length = cache.lengths[row]
    for number, block in enumerate(view(cache, row, row + 1)):
        tokens = np.arange(length)
        wanted = np.broadcast_to((value * 1000 + tokens + number / 10)[None, :, None], (HEADS, length, SIZE))
        np.testing.assert_array_equal(block[0, :, :length], wanted.astype(np.float32))


def test_views_share_the_memory_and_a_batch_is_a_prefix(make) -> None:
    cache = make()
    for value in range(3):
        write(cache, cache.append_row(), value, 5)
    assert view(cache, 0, 2)[0].shape == (2, HEADS, cache.capacity, SIZE)
    view(cache, 0, 3)[1][2, 1, 4, 3] = -7
    assert view(cache, 2, 3)[1][0, 1, 4, 3] == -7


def test_growth_keeps_what_is_used_and_says_that_the_buffers_moved(make) -> None:
    cache = make()
    write(cache, cache.append_row(), 1, 200)
    generation, capacity = cache.generation, cache.capacity
    write(cache, 0, 1, 100)
    assert cache.capacity == capacity_bucket(300) > capacity
    assert cache.generation != generation
    expect(cache, 0, 1)


def test_no_growth_no_move(make) -> None:
    cache = make()
    write(cache, cache.append_row(), 1, 10)
    generation = cache.generation
    write(cache, 0, 1, 100)
    assert cache.generation == generation


def test_compact_moves_the_last_row_into_the_hole(make) -> None:
    cache = make()
    for value in range(4):
        write(cache, cache.append_row(), value, 3 + value)
    cache.compact([0, 3, 2])
    assert cache.lengths == (3, 6, 5)
    for row, value in enumerate([0, 3, 2]):
        expect(cache, row, value)


def test_a_half_read_prompt_moves_up_behind_the_row_that_filled_the_hole(make) -> None:
    cache = make()
    for value in range(4):
        write(cache, cache.append_row(), value, 3 + value)
    cache.compact([2, 1, 3])
    for row, value in enumerate([2, 1, 3]):
        expect(cache, row, value)


def test_shrinks_only_when_idle(make) -> None:
    cache = make()
    write(cache, cache.append_row(), 1, 1000)
    cache.shrink()
    assert cache.nbytes > 0
    cache.compact([])
    cache.shrink()
    assert cache.nbytes == 0
    write(cache, cache.append_row(), 2, 5)
    expect(cache, 0, 2)


def test_capacity_falls_back_when_more_but_shorter_rows_need_the_budget(make) -> None:
    cache = make(max_rows=8, max_tokens=8 * 256)
    write(cache, cache.append_row(), 1, 1000)
    assert cache.allocated_rows * cache.capacity <= 2048
    cache.compact([])
    for value in range(8):
        write(cache, cache.append_row(), value, 100)
    assert (cache.allocated_rows, cache.capacity) == (8, 256)
    for value in range(8):
        expect(cache, value, value)


def test_a_fresh_slot_holds_no_garbage(make) -> None:
    cache = make()
    cache.append_row()
    cache.reserve(300)
    assert all((block == 0).all() for block in view(cache, 0, 1))


def test_scratch_row_beyond_those_in_use(make) -> None:
    cache = make()
    cache.append_row()
    cache.reserve(1, rows=2)
    assert view(cache, 0, 2)[0].shape[0] == 2


def test_check_notices_a_lost_token(make) -> None:
    cache = make()
    write(cache, cache.append_row(), 1, 5)
    cache.check([5])
    with pytest.raises(AssertionError, match="5"):
        cache.check([4])


class Histories(RuleBasedStateMachine):
    """Rows come, grow and go in any order, and every row keeps its own tokens."""

    device = False

    def __init__(self) -> None:
        super().__init__()
        self.cache = make_cache(self.device, max_rows=5, max_tokens=5 * 512)
        self.owners = []
        self.next = 0

    @precondition(lambda self: len(self.owners) < 5)
    @rule(tokens=st.integers(1, 60))
    def arrive(self, tokens) -> None:
        write(self.cache, self.cache.append_row(), self.next, tokens)
        self.owners.append(self.next)
        self.next += 1

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), tokens=st.integers(1, 120))
    def grow(self, data, tokens) -> None:
        row = data.draw(st.integers(0, len(self.owners) - 1))
        if self.cache.lengths[row] + tokens <= 512:
            write(self.cache, row, self.owners[row], tokens)

    @precondition(lambda self: self.owners)
    @rule(data=st.data())
    def leave(self, data) -> None:
        row = data.draw(st.integers(0, len(self.owners) - 1))
        order = list(range(len(self.owners)))
        last = order.pop()
        if row < last:
            order[row] = last
        self.cache.compact(order)
        self.owners = [self.owners[old] for old in order]
        self.cache.shrink()

    @invariant()
    def rows_are_conserved(self) -> None:
        assert self.cache.rows == len(self.owners)
        for row, owner in enumerate(self.owners):
            expect(self.cache, row, owner)

    @invariant()
    def within_budget(self) -> None:
        assert self.cache.allocated_rows * self.cache.capacity <= 5 * 512
        assert self.cache.allocated_rows <= 5


class DeviceHistories(Histories):
    device = True


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
TestDeviceHistories = DeviceHistories.TestCase
TestDeviceHistories.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)


def test_the_hand_written_copy_model_is_what_onnx_would_write() -> None:
    onnx = pytest.importorskip("onnx", reason="reading a model needs the convert extra")
    model = onnx.load_from_string(copy_model())
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Identity"]
    assert model.ir_version == 8
