"""Whether a take says its line, told from its codes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.synthesizer.verdict import Band, is_silent, judge, longest_run

RATE = 31.25


def codes(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 625, (count, 4))


def test_a_take_of_the_expected_length_is_kept() -> None:
    assert judge(codes(62), Band.of(2.0, RATE), ended=True, tokens_per_second=RATE) is None


@pytest.mark.parametrize(
    ("count", "ended", "problem"), [(0, True, "empty"), (5, True, "too short"), (200, False, "never ended")]
)
def test_length_problems(count: int, ended: bool, problem: str) -> None:
    assert judge(codes(count), Band.of(2.0, RATE), ended=ended, tokens_per_second=RATE) == problem


def test_a_held_frame_is_stuck() -> None:
    held = codes(62)
    held[10:52] = held[10]
    assert judge(held, Band.of(2.0, RATE), ended=True, tokens_per_second=RATE) == "stuck"


@given(st.lists(st.integers(0, 2), max_size=40))
def test_longest_run_is_what_a_loop_counts(frames: list) -> None:
    best = run = 0
    for i, frame in enumerate(frames):
        run = run + 1 if i and frame == frames[i - 1] else 1
        best = max(best, run)
    assert longest_run(np.array(frames, np.int64).reshape(-1, 1)) == best


@given(st.floats(0.0, 60.0))
def test_the_band_is_never_empty(seconds: float) -> None:
    band = Band.of(seconds, RATE)
    assert 0 <= band.shortest < band.longest


@pytest.mark.parametrize(
    ("sounding", "expected"), [([], True), ([(0, 4)], False), ([(0, 1), (2.5, 4)], False), ([(0, 1), (3.8, 4)], True)]
)
def test_silence_inside_a_line_is_told_and_pauses_are_not(sounding: list, expected: bool) -> None:
    samples = np.random.default_rng(0).standard_normal(4 * 24000).astype(np.float32) * 1e-4
    for begin, end in sounding:
        samples[int(begin * 24000) : int(end * 24000)] += 0.1
    assert is_silent(samples, 24000) is expected


def test_nothing_is_silent() -> None:
    assert is_silent(np.zeros(0, np.float32), 24000)
