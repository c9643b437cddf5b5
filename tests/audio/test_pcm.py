"""Float to integer, once."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.audio.pcm import Dither, to_float, to_int16


@given(st.lists(st.integers(-32767, 32767), max_size=50))
def test_there_and_back(values: list) -> None:
    samples = np.array(values, np.int16)
    np.testing.assert_array_equal(to_int16(to_float(samples)), samples)


def test_edges_saturate_and_round() -> None:
    got = to_int16(np.array([1.0, -1.0, 2.0, -2.0, np.nan, np.inf, -np.inf, 0.6 / 32767, 0.4 / 32767], np.float32))
    assert got.tolist() == [32767, -32767, 32767, -32768, 0, 32767, -32768, 1, 0]


def test_the_input_is_left_alone() -> None:
    samples = np.array([0.5, np.nan], np.float32)
    to_int16(samples)
    assert samples[0] == 0.5
    assert np.isnan(samples[1])


def test_dither_makes_quiet_sound_linear() -> None:
    # A level of 0.3 steps rounds to nothing without dither, and has the right mean with it.
    quiet = np.full(200_000, 0.3 / 32767, np.float32)
    assert not to_int16(quiet).any()
    dithered = to_int16(quiet, Dither())
    assert abs(float(dithered.mean()) - 0.3) < 0.01
    assert float(np.abs(dithered).max()) <= 2


def test_dither_does_not_depend_on_the_cuts() -> None:
    samples = np.random.default_rng(0).standard_normal(1000).astype(np.float32) * 0.1
    whole = to_int16(samples, Dither())
    dither = Dither()
    parts = [to_int16(part, dither) for part in np.split(samples, [1, 7, 8, 500])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
