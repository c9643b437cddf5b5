"""The inverse transform against the definition, and in pieces."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.istft import InverseSTFT, hann_window


def stft(signal: np.ndarray, n_fft: int, hop: int) -> np.ndarray:
    """Centred, zero-padded short-time transform, frame by frame."""
    padded = np.pad(signal.astype(np.float64), n_fft // 2)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    starts = range(0, len(padded) - n_fft + 1, hop)
    return np.stack([np.fft.rfft(padded[start : start + n_fft] * window) for start in starts])


@pytest.mark.parametrize(("n_fft", "hop"), [(1024, 256), (64, 16), (96, 20), (32, 16)])
def test_inverts_the_transform(n_fft: int, hop: int) -> None:
    signal = np.random.default_rng(0).standard_normal(hop * 40).astype(np.float32)
    spectrum = stft(signal, n_fft, hop)
    inverse = InverseSTFT(n_fft, hop)
    out = np.concatenate((inverse.push(spectrum.astype(np.complex64)), inverse.finish()))
    assert len(out) == (len(spectrum) - 1) * hop
    np.testing.assert_allclose(out, signal[: len(out)], atol=2e-5)


@given(cuts=st.lists(st.integers(0, 7), min_size=1, max_size=20), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_pieces_equal_the_whole(cuts: list, seed: int) -> None:
    frames = sum(cuts)
    rng = np.random.default_rng(seed)
    spectrum = (rng.standard_normal((frames, 33)) + 1j * rng.standard_normal((frames, 33))).astype(np.complex64)
    whole = InverseSTFT(64, 16)
    expected = np.concatenate((whole.push(spectrum), whole.finish()))
    pieces = InverseSTFT(64, 16)
    parts, start = [], 0
    for cut in cuts:
        parts.append(pieces.push(spectrum[start : start + cut]))
        start += cut
    parts.append(pieces.finish())
    got = np.concatenate(parts)
    assert len(got) == max(0, (frames - 1) * 16)
    np.testing.assert_allclose(got, expected, atol=1e-6)


def test_window_is_periodic() -> None:
    window = hann_window(8)
    assert window[0] == 0.0
    assert window[4] == 1.0
    np.testing.assert_allclose(window + np.roll(window, 4), 1.0, atol=1e-6)


@pytest.mark.parametrize(("n_fft", "hop"), [(63, 16), (64, 0), (64, 33)])
def test_impossible_dims_are_refused(n_fft: int, hop: int) -> None:
    with pytest.raises(ValueError, match="hop_length"):
        InverseSTFT(n_fft, hop)
