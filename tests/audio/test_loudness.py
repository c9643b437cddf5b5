"""Loudness against BS.1770's own figures, and the limiter."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.audio.loudness import KNEE, SILENCE_LUFS, gain_for_loudness, integrated_loudness, soft_limit


def sine(rate: int, frequency: float, level_db: float, seconds: float = 3.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (10 ** (level_db / 20) * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


@pytest.mark.parametrize("rate", [16000, 24000, 48000])
@pytest.mark.parametrize("level", [0.0, -20.0, -40.0])
def test_a_kilohertz_reads_three_below_its_peak(rate: int, level: float) -> None:
    # BS.1770: a 997 Hz sine of 0 dBFS on one channel reads -3.01 LKFS.
    assert integrated_loudness(sine(rate, 997, level), rate) == pytest.approx(level - 3.01, abs=0.15)


def test_low_tones_count_less_and_high_ones_more() -> None:
    at = {frequency: integrated_loudness(sine(48000, frequency, -20), 48000) for frequency in (40, 1000, 4000)}
    assert at[40] < at[1000] - 3
    assert at[4000] > at[1000] + 2


def test_pauses_are_gated_out() -> None:
    speech = sine(24000, 997, -20)
    with_pause = np.concatenate((speech, np.zeros(5 * 24000, np.float32), speech))
    assert integrated_loudness(with_pause, 24000) == pytest.approx(integrated_loudness(speech, 24000), abs=0.5)


def test_silence_and_nothing_have_a_floor() -> None:
    assert integrated_loudness(np.zeros(24000, np.float32), 24000) == SILENCE_LUFS
    assert integrated_loudness(np.zeros(0, np.float32), 24000) == SILENCE_LUFS
    assert gain_for_loudness(np.zeros(24000, np.float32), 24000, -16) == 0.0


def test_gain_brings_a_sample_to_its_target() -> None:
    sample = sine(24000, 500, -30)
    gain = gain_for_loudness(sample, 24000, -20)
    assert integrated_loudness(sample * np.float32(10 ** (gain / 20)), 24000) == pytest.approx(-20, abs=0.05)
    assert gain_for_loudness(sample * np.float32(0.1), 24000, -5, max_gain_db=12) == 12.0


def test_quiet_sound_passes_untouched() -> None:
    signal = sine(24000, 100, -6)
    assert soft_limit(signal) is signal


@given(st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=50))
def test_limited_sound_stays_inside_and_in_order(values: list) -> None:
    signal = np.sort(np.array(values, np.float32))
    limited = soft_limit(signal)
    assert limited.dtype == np.float32
    assert float(np.abs(limited).max()) <= 1.0
    assert (np.diff(limited) >= 0).all()
    inside = np.abs(signal) <= KNEE
    assert (limited[inside] == signal[inside]).all()


def test_limiting_does_not_depend_on_neighbours() -> None:
    signal = np.array([0.1, 0.9, -3.0, 0.5], np.float32)
    one_by_one = np.concatenate([soft_limit(signal[index : index + 1]) for index in range(4)])
    np.testing.assert_allclose(soft_limit(signal), one_by_one)


def test_values_that_are_no_numbers_become_harmless() -> None:
    limited = soft_limit(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32))
    assert limited.tolist() == pytest.approx([0.0, 1.0, -1.0, 0.5])
