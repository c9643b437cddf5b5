"""Ends are trimmed, the inside is not."""

from __future__ import annotations

from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.silence import SilenceTrimmer

RATE = 24000


def speech(seconds: float, level: float = 0.2) -> np.ndarray:
    return (level * np.sin(2 * np.pi * 200 * np.arange(round(RATE * seconds)) / RATE)).astype(np.float32)


def silence(seconds: float, hiss: float = 0.0) -> np.ndarray:
    return (hiss * np.random.default_rng(0).standard_normal(round(RATE * seconds))).astype(np.float32)


def trim(signal: np.ndarray, sizes: List[int]) -> np.ndarray:
    trimmer = SilenceTrimmer(RATE)
    parts, start, index = [], 0, 0
    while start < len(signal):
        size = max(1, sizes[index % len(sizes)])
        parts.append(trimmer.push(signal[start : start + size]))
        start, index = start + size, index + 1
    sound, _ = trimmer.finish()
    return np.concatenate([*parts, sound])


@pytest.mark.parametrize("hiss", [0.0, 5e-4])
def test_ends_go_and_the_inside_stays(hiss: float) -> None:
    inside = np.concatenate((speech(0.5), silence(0.4, hiss), speech(0.3)))
    signal = np.concatenate((silence(0.6, hiss), inside, silence(0.9, hiss)))
    trimmed = trim(signal, [1000])
    run_up = len(trimmed) - len(inside)
    assert 0 <= run_up <= 0.03 * RATE + 240
    start = round(0.6 * RATE)
    np.testing.assert_array_equal(trimmed[: len(inside)], signal[start - run_up :][: len(inside)])


def test_the_silence_after_is_returned_apart() -> None:
    trimmer = SilenceTrimmer(RATE)
    got = trimmer.push(np.concatenate((speech(0.5), silence(0.5))))
    sound, after = trimmer.finish()
    assert len(got) + len(sound) + len(after) == RATE
    assert float(np.abs(after).max()) == 0.0
    assert len(after) == pytest.approx(0.5 * RATE, abs=240)


def test_speech_flows_while_it_goes_on() -> None:
    trimmer = SilenceTrimmer(RATE)
    ready = sum(len(trimmer.push(part)) for part in np.split(speech(1.0), 100))
    assert ready > RATE - 0.03 * RATE


def test_nothing_but_silence_is_nothing() -> None:
    trimmer = SilenceTrimmer(RATE)
    assert len(trimmer.push(silence(3.0, 1e-4))) == 0
    assert len(trimmer._buffer) < 0.1 * RATE, "leading silence must not be kept"
    assert not trimmer.started
    assert [len(part) for part in trimmer.finish()] == [0, 0]


@given(
    sizes=st.lists(st.integers(1, 4000), min_size=1, max_size=8), lead=st.integers(0, 6000), tail=st.integers(0, 6000)
)
@settings(deadline=None, max_examples=40)
def test_pieces_equal_the_whole(sizes: List[int], lead: int, tail: int) -> None:
    signal = np.concatenate((np.zeros(lead, np.float32), speech(0.2), silence(0.1), speech(0.1), silence(tail / RATE)))
    whole = trim(signal, [len(signal)])
    np.testing.assert_array_equal(trim(signal, sizes), whole)
