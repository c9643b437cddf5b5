"""Recordings to codes: parity, rates, channels and limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chattts_onnx.audio.prompt_encoder import PromptEncoder
from chattts_onnx.audio.resample import resample
from chattts_onnx.config import Manifest
from chattts_onnx.errors import InputError


@pytest.fixture(scope="module")
def encoder(tiny_model: Path) -> PromptEncoder:
    return PromptEncoder.open(tiny_model, Manifest.load(tiny_model), threads=1)


def tone(rate: int, seconds: float = 1.0) -> np.ndarray:
    time = np.arange(round(rate * seconds)) / rate
    return (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32)


def test_equals_the_reference(golden: Any, golden_model: Path) -> None:
    encoder = PromptEncoder.open(golden_model, Manifest.load(golden_model), threads=1)
    codes = encoder.encode(golden.arrays["encode_wav"], 24000)
    expected = golden.arrays["encode_codes"].T
    assert codes.shape == expected.shape
    assert (codes == expected).mean() >= 0.99


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100])
def test_any_rate_gives_the_same_number_of_frames(encoder: PromptEncoder, rate: int) -> None:
    codes = encoder.encode(tone(rate), rate)
    assert codes.dtype == np.int64
    assert codes.shape[1] == 4
    assert abs(len(codes) - 46) <= 1


def test_channels_are_averaged_and_integers_scaled(encoder: PromptEncoder) -> None:
    mono = tone(24000)
    expected = encoder.encode(mono, 24000)
    stereo = np.stack((mono, mono), axis=1)
    assert (encoder.encode(stereo, 24000) == expected).all()
    integers = np.rint(mono * 32767).astype(np.int16)
    scaled = encoder.encode(integers / np.float32(32768), 24000)
    assert (encoder.encode(integers, 24000) == scaled).all()
    assert (encoder.encode(integers.astype(np.int32) << 16, 24000) == scaled).all()


@pytest.mark.parametrize(
    ("waveform", "rate", "message"),
    [
        (np.zeros(0), 24000, "lasts 0.0 s"),
        (tone(24000, 0.2), 24000, "lasts 0.2 s"),
        (tone(8000, 30.5), 8000, "lasts 30.5 s"),
        (np.zeros(24000), 24000, "silent"),
        (np.full(24000, np.nan), 24000, "not numbers"),
        (np.zeros((2, 3, 4)), 24000, "shape"),
        (tone(24000), 0, "sample rate"),
    ],
)
def test_useless_recordings_are_refused(encoder: PromptEncoder, waveform: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(InputError, match=message):
        encoder.encode(waveform, rate)


def test_resampling_comes_before_encoding(encoder: PromptEncoder) -> None:
    recording = tone(48000)
    direct = encoder.encode(resample(recording, 48000, 24000), 24000)
    assert (encoder.encode(recording, 48000) == direct).all()
