"""The chain before the encoder."""

from __future__ import annotations

import io
import wave
from typing import List

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.loudness import integrated_loudness
from chattts_onnx.audio.postprocess import PostProcessor, fade, postprocess
from chattts_onnx.errors import InputError


def speech(seconds: float, level: float = 0.3) -> np.ndarray:
    time = np.arange(round(24000 * seconds)) / 24000
    return (level * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 3 * time)) / 2).astype(np.float32)


@given(
    sizes=st.lists(st.integers(0, 4000), min_size=1, max_size=6),
    target=st.sampled_from([None, 8000, 16000, 44100, 48000]),
    speed=st.sampled_from([0.5, 1.0, 1.7]),
    gain_db=st.sampled_from([-6.0, 0.0, 14.0]),
)
@settings(deadline=None, max_examples=30)
def test_a_stream_and_a_file_are_the_same_samples(sizes: List[int], target: int, speed: float, gain_db: float) -> None:
    signal = speech(sum(sizes) / 24000)
    whole = PostProcessor(24000, target, speed=speed, gain_db=gain_db)
    expected = np.concatenate((whole.push(signal), whole.flush()))
    stream = PostProcessor(24000, target, speed=speed, gain_db=gain_db)
    parts = [stream.push(part) for part in np.split(signal, np.cumsum(sizes)[:-1])]
    got = np.concatenate([*parts, stream.flush()])
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert abs(len(got) - len(signal) * (target or 24000) / 24000 / speed) <= 3
    assert got.dtype == np.float32


def test_gain_and_limiter() -> None:
    chain = PostProcessor(24000, gain_db=20.0)
    loud = chain.push(speech(1.0, 0.5))
    assert 0.9 < float(np.abs(loud).max()) <= 1.0
    free = PostProcessor(24000, gain_db=20.0, limit=False)
    assert float(np.abs(free.push(speech(1.0, 0.5))).max()) == pytest.approx(5.0, rel=0.01)


def test_speed_keeps_the_loudness() -> None:
    signal = speech(3.0)
    for speed in (0.5, 2.0):
        chain = PostProcessor(24000, speed=speed)
        got = np.concatenate((chain.push(signal), chain.flush()))
        assert integrated_loudness(got, 24000) == pytest.approx(integrated_loudness(signal, 24000), abs=0.7)
        assert chain.seconds(3.0) == pytest.approx(len(got) / 24000, abs=0.01)


def test_speed_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match="speed"):
        PostProcessor(24000, speed=5.0)


def test_postprocess_gives_a_finished_wav() -> None:
    data = postprocess(speech(1.0, 3.0), 24000, 48000)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (48000, 1, 2)
        assert file.getnframes() == 48000
        samples = np.frombuffer(file.readframes(48000), "<i2")
    assert 30000 < np.abs(samples.astype(int)).max() <= 32767


def test_postprocess_of_nothing_is_an_empty_wav() -> None:
    with wave.open(io.BytesIO(postprocess([], 24000, 16000))) as file:
        assert file.getnframes() == 0


def test_fade_touches_the_ends_only() -> None:
    signal = np.ones(24000, np.float32)
    faded = fade(signal, 24000, fade_in_ms=10, fade_out_ms=20)
    assert faded[0] < 1e-3
    assert faded[-1] < 1e-3
    assert (faded[240:-480] == 1.0).all()
    assert (np.diff(faded[:240]) > 0).all()
    assert (signal == 1.0).all()
    assert len(fade(signal[:3], 24000, fade_in_ms=10)) == 3
