"""Rounds of Griffin-Lim: magnitudes stay, phases come to agree, and a frame sees as far as it says."""

from __future__ import annotations

import numpy as np
import pytest

from chattts_onnx.audio.istft import ComplexArray, InverseSTFT, hann_window
from chattts_onnx.audio.phase import consistent_phase, context_frames

N_FFT, HOP = 256, 64


def transform(signal: np.ndarray) -> ComplexArray:
    """The spectrum of centred frames [1 + n / hop, bins]."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(signal, N_FFT // 2), N_FFT)[::HOP]
    return np.fft.rfft(frames * hann_window(N_FFT), axis=1).astype(np.complex64)


def speech_like(seed: int, seconds: float = 0.5) -> np.ndarray:
    """A gliding harmonic tone with a little noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(seconds * 8000) // HOP * HOP) / 8000
    tone = sum(np.sin(2 * np.pi * k * (120 * time + 40 * time**2)) / k for k in range(1, 12))
    return (tone + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def inconsistency(spectrum: ComplexArray) -> float:
    """Distance of the spectrum to that of its own waveform, over its size (inner frames)."""
    inverse = InverseSTFT(N_FFT, HOP)
    again = transform(np.concatenate((inverse.push(spectrum), inverse.finish())))[4:-4]
    kept = spectrum[4:-4]
    return float(np.linalg.norm(np.abs(again) - np.abs(kept)) / np.linalg.norm(kept))


def blurred(seed: int) -> ComplexArray:
    spectrum = transform(speech_like(seed))
    noise = np.random.default_rng(seed).normal(0, 1.0, spectrum.shape)
    return (spectrum * np.exp(1j * noise)).astype(np.complex64)


def test_phases_come_to_agree_and_magnitudes_stay() -> None:
    spectrum = blurred(1)
    found = [inconsistency(settled(spectrum, rounds)) for rounds in (0, 1, 2, 4)]
    assert found == sorted(found, reverse=True)
    assert found[-1] < 0.6 * found[0]
    loud = np.abs(spectrum) > 1e-2
    np.testing.assert_allclose(np.abs(settled(spectrum, 4))[loud], np.abs(spectrum)[loud], rtol=1e-3)


def test_consistent_phases_stay() -> None:
    spectrum = transform(speech_like(2))
    after = settled(spectrum, 4)
    np.testing.assert_allclose(after[8:-8], spectrum[8:-8], atol=2e-2)


@pytest.mark.parametrize("rounds", [1, 3])
def test_a_frame_sees_its_context_and_needs_it(rounds: int) -> None:
    spectrum, reach = blurred(3), context_frames(N_FFT, HOP, rounds)
    whole = settled(spectrum, rounds)
    part = settled(spectrum[20 - reach : 21 + reach], rounds)
    np.testing.assert_allclose(part[reach], whole[20], atol=1e-3)
    less = settled(spectrum[19:22], rounds)
    assert np.abs(less[1] - whole[20]).max() > 1e-2


def test_an_utterance_begins_with_few_rounds() -> None:
    spectrum = blurred(5)
    once, often = (consistent_phase(spectrum, N_FFT, HOP, rounds) for rounds in (1, 6))
    np.testing.assert_array_equal(often[:2], once[:2])
    assert np.abs(often[2] - once[2]).max() > 1e-2
    # A part that begins at a frame gets the rounds of that frame, and its context on the left is enough to make it.
    reach, at = context_frames(N_FFT, HOP, 6), 33
    part = consistent_phase(spectrum[at - reach :], N_FFT, HOP, 6, first_frame=at - reach)
    np.testing.assert_allclose(part[reach:], often[at:], atol=1e-3)


def settled(spectrum: ComplexArray, rounds: int) -> ComplexArray:
    """From the middle of an utterance, where every frame gets all rounds."""
    return consistent_phase(spectrum, N_FFT, HOP, rounds, first_frame=1000)


def test_silence_and_nothing() -> None:
    silent = np.zeros((6, N_FFT // 2 + 1), np.complex64)
    assert not consistent_phase(silent, N_FFT, HOP, 4).any()
    assert consistent_phase(silent[:0], N_FFT, HOP, 4).shape == (0, N_FFT // 2 + 1)
    assert np.isfinite(consistent_phase(blurred(4)[:1], N_FFT, HOP, 4)).all()
