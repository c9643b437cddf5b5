"""Phases that agree with one another, between Vocos and the inverse STFT.

Vocos says magnitude and phase of each frame by itself. Where the frames that overlap disagree they cancel each other,
which a small Vocos is heard to do: the voice is rough. A few rounds of the fast Griffin-Lim algorithm (Perraudin,
Balazs and Sondergaard, "A fast Griffin-Lim algorithm", WASPAA 2013) to the waveform and back keep its magnitudes and
let the phases settle; from phases that are nearly right, few rounds do what takes hundreds from noise
(training/report.md has the figures). A frame after a round depends on the frames that it overlaps, so the rounds are
one more layer with a known receptive field, and a stream treats them as that. A stream that begins soon knows little of
the future at first, so every utterance, streamed or not, begins with few rounds and soon gets more.
"""

from __future__ import annotations

import numpy as np

from chattts_onnx.audio.istft import NO_WEIGHT, ComplexArray, FloatArray, add_overlapping, hann_window, in_blocks

MOMENTUM = 0.9
"""How far a round goes beyond where it came from (alpha of the paper, whose best values are around 1)."""
_FRAMES_A_ROUND = 2
"""Frames of an utterance after which there is one round more, from one at its beginning up to what the model says."""
_SILENCE = np.float32(1e-8)
"""Power below which a bin has no phase of its own."""


def context_frames(n_fft: int, hop_length: int, rounds: int) -> int:
    """Frames to either side that one frame depends on after ``rounds``."""
    return rounds * (-(-n_fft // hop_length) - 1)


def consistent_phase(
    spectrum: ComplexArray, n_fft: int, hop_length: int, rounds: int, first_frame: int = 0
) -> ComplexArray:
    """The spectrum [F, n_fft/2+1] of centred frames with its magnitudes and with phases that agree better.

    Args:
        spectrum: as Vocos says it, of an utterance or of a part of one.
        n_fft: samples of a frame.
        hop_length: samples from frame to frame.
        rounds: most rounds of a frame.
        first_frame: frames of the utterance before this part.
    """
    if rounds == 0 or len(spectrum) == 0:
        return spectrum
    window, frames = hann_window(n_fft), len(spectrum)
    weight = _signal(np.broadcast_to(np.square(window), (frames, n_fft)), hop_length)
    weight = np.maximum(weight, NO_WEIGHT)
    magnitude = np.abs(spectrum)
    before = spectrum[:0]
    for done in range(rounds):
        parts = np.fft.irfft(spectrum, n_fft, axis=1).astype(np.float32, copy=False) * window
        signal = _signal(parts, hop_length) / weight
        windows = np.lib.stride_tricks.sliding_window_view(signal, n_fft)[::hop_length][:frames]
        ahead = heard = np.fft.rfft(windows * window, axis=1).astype(np.complex64, copy=False)
        if len(before):
            ahead = heard + np.float32(MOMENTUM) * (heard - before)
        before = heard
        power = np.square(ahead.real) + np.square(ahead.imag)
        begin = max(0, done * _FRAMES_A_ROUND - first_frame)
        after = ahead * (magnitude / np.sqrt(power + _SILENCE))
        spectrum = np.concatenate((spectrum[:begin], after[begin:])) if begin else after
    return spectrum


def _signal(frames: FloatArray, hop_length: int) -> FloatArray:
    """Windowed frames [F, n_fft] overlapped and added, both ends included."""
    blocks = in_blocks(frames, hop_length)
    total = np.zeros((len(blocks) + blocks.shape[1] - 1, hop_length), np.float32)
    add_overlapping(total, blocks)
    return total.ravel()
