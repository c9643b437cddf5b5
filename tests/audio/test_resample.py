"""Both resamplers: lengths, quality, and the same samples however the input is cut."""

from __future__ import annotations

import sys
from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.resample import PolyphaseResampler, create_resampler, resample

RATES = (8000, 11025, 16000, 22050, 32000, 44100, 48000)


@pytest.fixture(params=["soxr", "own"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "soxr":
        pytest.importorskip("soxr")
    else:
        monkeypatch.setitem(sys.modules, "soxr", None)
    return str(request.param)


def sine(rate: int, frequency: float, seconds: float = 0.5) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def snr(reference: np.ndarray, got: np.ndarray) -> float:
    inner = slice(400, -400)
    error = got[inner] - reference[inner]
    return float(10 * np.log10(np.mean(np.square(reference[inner])) / np.mean(np.square(error))))


@pytest.mark.parametrize("target", RATES)
def test_a_tone_stays_what_it_is(implementation: str, target: int) -> None:
    frequency = 0.4 * min(24000, target)
    got = resample(sine(24000, frequency), 24000, target)
    assert abs(len(got) - target // 2) <= 1
    assert snr(sine(target, frequency, 1.0)[: len(got)], got) > 70


@pytest.mark.parametrize("target", [8000, 16000])
def test_what_does_not_fit_is_removed_not_folded(implementation: str, target: int) -> None:
    got = resample(sine(24000, 0.6 * target), 24000, target)
    assert float(np.abs(got[200:-200]).max()) < 1e-4


@given(sizes=st.lists(st.integers(0, 900), min_size=1, max_size=12), target=st.sampled_from(RATES))
@settings(deadline=None, max_examples=40)
def test_pieces_equal_the_whole(sizes: List[int], target: int) -> None:
    signal = np.random.default_rng(1).standard_normal(sum(sizes)).astype(np.float32)
    expected = PolyphaseResampler(24000, target)
    whole = np.concatenate((expected.push(signal), expected.flush()))
    assert len(whole) == -(-len(signal) * target // 24000)
    for resampler, reference in (
        (PolyphaseResampler(24000, target), whole),
        (create_resampler(24000, target), resample(signal, 24000, target)),
    ):
        parts = [resampler.push(part) for part in np.split(signal, np.cumsum(sizes)[:-1])]
        got = np.concatenate([*parts, resampler.flush()])
        np.testing.assert_allclose(got, reference, atol=1e-5)


def test_the_same_rate_changes_nothing() -> None:
    signal = sine(24000, 440)
    assert resample(signal, 24000, 24000) is not None
    assert (resample(signal, 24000, 24000) == signal).all()


def test_impossible_rates_are_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        create_resampler(0, 24000)
