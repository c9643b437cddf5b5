"""Segments to one sound: pauses, seams, levels, times, and the same samples however they come."""

from __future__ import annotations

from typing import List, Tuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.joiner import Joiner

RATE = 24000


def speech(seconds: float, level: float = 0.2, pitch: float = 200) -> np.ndarray:
    return (level * np.sin(2 * np.pi * pitch * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)


def quiet(seconds: float) -> np.ndarray:
    return np.zeros(round(RATE * seconds), np.float32)


def join(segments: List[Tuple[np.ndarray, float]], size: int = 1 << 20, **options: object) -> Tuple[np.ndarray, Joiner]:
    joiner = Joiner(RATE, **options)
    parts = []
    for samples, pause_ms in segments:
        parts.extend(joiner.push(samples[start : start + size]) for start in range(0, len(samples), size))
        parts.append(joiner.end_segment(pause_ms))
    parts.append(joiner.finish())
    return np.concatenate(parts), joiner


def test_a_pause_is_as_long_as_asked_whatever_silence_the_model_made() -> None:
    for own in (0.0, 0.1, 0.3, 1.0):
        segment = np.concatenate((quiet(0.3), speech(0.8), quiet(own)))
        joined, joiner = join([(segment, 300), (segment, 300)])
        (_, first_end), (second_start, _) = joiner.spans
        assert (second_start - first_end) / RATE == pytest.approx(0.3, abs=0.002)
        sounding = np.flatnonzero(np.abs(joined) > 0.02)
        gap = np.diff(sounding).max() / RATE
        # The run-up kept before speech is part of the second segment.
        assert gap == pytest.approx(0.33, abs=0.03)


def test_spans_say_where_each_segment_is_heard() -> None:
    joined, joiner = join([(speech(0.5), 200), (quiet(0.5), 200), (speech(0.7), 100)])
    first, second, third = joiner.spans
    assert first == (0, round(0.5 * RATE))
    assert second[0] == second[1], "a silent segment has no length"
    assert third[1] - third[0] == pytest.approx(0.7 * RATE, abs=240)
    assert len(joined) == joiner.position == third[1]


def test_the_last_pause_is_not_played_and_the_end_fades() -> None:
    joined, _ = join([(np.concatenate((speech(0.5), quiet(2.0))), 5000)])
    assert len(joined) == pytest.approx((0.5 + 0.12) * RATE, abs=300)
    cut, _ = join([(speech(0.5), 0)])
    assert abs(float(cut[-1])) < 1e-3
    assert abs(float(cut[0])) < 1e-3


def test_no_pause_is_a_cross_fade_without_a_step() -> None:
    first, second = speech(0.5, pitch=200), speech(0.5, pitch=330)
    joined, joiner = join([(first, 0), (second, 0)], level_db=0)
    fade = round(0.012 * RATE)
    assert len(joined) == len(first) + len(second) - fade
    steps = np.abs(np.diff(joined))
    assert float(steps.max()) <= 1.05 * float(np.abs(np.diff(second)).max())
    assert joiner.spans[1][0] == len(first) - fade


def test_the_level_follows_within_its_bound() -> None:
    loud, soft, near = speech(1.0, 0.3), speech(1.0, 0.05), speech(1.0, 0.25)
    joined, joiner = join([(loud, 200), (near, 200), (soft, 200), (near, 200)])
    levels = [float(np.abs(joined[start + 4000 : end - 4000]).max()) for start, end in joiner.spans]
    assert levels[0] == pytest.approx(0.3, rel=0.01)
    assert levels[2] == pytest.approx(0.05 * 10 ** (3 / 20), rel=0.01), "3 dB and no more"
    assert levels[1] == levels[3] == pytest.approx(0.25, rel=0.01), "a usual difference is left alone"
    untouched, joiner = join([(loud, 200), (soft, 200)], level_db=0)
    start, end = joiner.spans[1]
    assert float(np.abs(untouched[start:end]).max()) == pytest.approx(0.05, rel=0.01)


def test_gain_is_constant_inside_a_segment() -> None:
    swelling = np.concatenate((speech(0.7, 0.1), speech(0.7, 0.3)))
    joined, joiner = join([(speech(1.0, 0.2), 100), (swelling, 100)])
    start, _ = joiner.spans[1]
    early = float(np.abs(joined[start + 4000 : start + 12000]).max())
    late = float(np.abs(joined[start + 20000 : start + 30000]).max())
    assert late / early == pytest.approx(3.0, rel=0.01)


def test_the_first_segment_is_not_delayed_by_measuring() -> None:
    joiner = Joiner(RATE)
    assert len(joiner.push(speech(0.2))) > 0.15 * RATE


@given(
    size=st.integers(1, 3000),
    pauses=st.lists(st.sampled_from([0.0, 5.0, 80.0, 400.0]), min_size=1, max_size=4),
    seed=st.integers(0, 50),
)
@settings(deadline=None, max_examples=30)
def test_pieces_equal_the_whole(size: int, pauses: List[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    segments = [
        (
            np.concatenate(
                (quiet(rng.random() * 0.1), speech(rng.random() * 0.9, rng.random() * 0.5), quiet(rng.random() * 0.2))
            ),
            pause,
        )
        for pause in pauses
    ]
    whole, reference = join(segments)
    pieces, joiner = join(segments, size)
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    assert joiner.spans == reference.spans


@pytest.mark.parametrize("options", [{}, {"trim": False}, {"crossfade_ms": 0}, {"tail_ms": 0}])
def test_nothing_gives_nothing(options: dict) -> None:
    joined, joiner = join([(quiet(0), 100), (quiet(0), 0)], **options)
    assert len(joined) == 0
    assert joiner.spans == [(0, 0), (0, 0)]
    assert len(Joiner(RATE, **options).finish()) == 0


def test_untrimmed_segments_are_joined_as_they_are() -> None:
    segment = np.concatenate((quiet(0.1), speech(0.3), quiet(0.1)))
    joined, joiner = join([(segment, 0), (segment, 100)], trim=False, crossfade_ms=0, level_db=0)
    np.testing.assert_array_equal(joined, np.concatenate((segment, segment)))
    assert joiner.spans == [(0, len(segment)), (len(segment), 2 * len(segment))]


def test_tiny_segments_do_not_break_seams() -> None:
    joined, _ = join([(speech(0.005), 0), (speech(0.003), 0), (speech(0.5), 0)])
    assert np.isfinite(joined).all()
    assert float(np.abs(joined).max()) < 0.5
