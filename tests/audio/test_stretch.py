"""Tempo without pitch."""

from __future__ import annotations

from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.stretch import TimeStretcher
from chattts_onnx.errors import InputError

RATE = 24000


def vowel(pitch: float, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(RATE * seconds)) / RATE
    return sum(0.2 / k * np.sin(2 * np.pi * pitch * k * time) for k in range(1, 9)).astype(np.float32)


def stretch(signal: np.ndarray, speed: float) -> np.ndarray:
    stretcher = TimeStretcher(RATE, speed)
    return np.concatenate((stretcher.push(signal), stretcher.flush()))


def pitch_of(signal: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(signal * np.hanning(len(signal)), 1 << 18))
    return float(np.argmax(spectrum) * RATE / (1 << 18))


@pytest.mark.parametrize("speed", [0.25, 0.5, 0.8, 1.25, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("pitch", [95.0, 180.0, 310.0])
def test_pitch_stays_and_length_follows(speed: float, pitch: float) -> None:
    got = stretch(vowel(pitch), speed)
    assert len(got) == round(RATE / speed)
    assert pitch_of(got[1000:-1000]) == pytest.approx(pitch, rel=0.01)


@pytest.mark.parametrize("speed", [0.5, 0.75, 1.5, 2.5])
def test_a_steady_sound_stays_steady(speed: float) -> None:
    got = stretch(vowel(200.0), speed)[1000:-1000]
    frames = got[: len(got) // 240 * 240].reshape(-1, 240)
    levels = np.sqrt(np.mean(np.square(frames), axis=1))
    # A bad overlap cancels: neither holes nor bumps of more than 1.5 dB.
    assert 20 * np.log10(levels.max() / levels.min()) < 1.5


def test_events_keep_their_order_and_place() -> None:
    signal = np.zeros(3 * RATE, np.float32)
    for second in (0.5, 1.5, 2.5):
        signal[round(second * RATE) : round(second * RATE) + 1200] = vowel(250, 0.05)
    got = stretch(signal, 1.5)
    envelope = np.convolve(np.abs(got), np.ones(400) / 400, "same")
    thirds = np.array_split(envelope, 3)
    places = [float(np.argmax(part) + index * len(thirds[0])) / RATE for index, part in enumerate(thirds)]
    assert places == pytest.approx([0.525 / 1.5, 1.525 / 1.5, 2.525 / 1.5], abs=0.03)


@given(
    sizes=st.lists(st.integers(0, 5000), min_size=1, max_size=10),
    speed=st.sampled_from([0.25, 0.7, 1.0, 1.3, 3.0]),
)
@settings(deadline=None, max_examples=25)
def test_pieces_equal_the_whole(sizes: List[int], speed: float) -> None:
    signal = np.random.default_rng(2).standard_normal(sum(sizes)).astype(np.float32)
    whole = stretch(signal, speed)
    assert len(whole) == round(len(signal) / speed)
    stretcher = TimeStretcher(RATE, speed)
    parts = [stretcher.push(part) for part in np.split(signal, np.cumsum(sizes)[:-1])]
    np.testing.assert_array_equal(np.concatenate([*parts, stretcher.flush()]), whole)


def test_speed_one_is_the_input() -> None:
    signal = vowel(120)
    assert (stretch(signal, 1.0) == signal).all()


@pytest.mark.parametrize("speed", [0.0, 0.2, 4.1, -1.0, float("nan")])
def test_impossible_speeds_are_refused(speed: float) -> None:
    with pytest.raises(InputError, match=r"0\.25 to 4"):
        TimeStretcher(RATE, speed)
