"""Level: a soft limiter for the output and loudness after ITU-R BS.1770 for measuring.

Gain is one fixed factor and the limiter is a memoryless curve, so a stream and a file get the same samples and no
chunk is ever louder than its neighbour (the reference scales each streamed chunk by its own peak, which is heard).
Loudness is measured, never chased: whoever wants a target measures a voice once and passes the fixed gain.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

KNEE = 0.85
"""Samples up to here (-1.4 dBFS) pass unchanged."""

SILENCE_LUFS = -70.0
"""The absolute gate of BS.1770; also what silence is reported as."""


def decibels(gain: float) -> float:
    """A factor of amplitude in dB."""
    return float(20.0 * np.log10(max(gain, 1e-10)))


def amplitude(db: float) -> float:
    """Decibels as a factor of amplitude."""
    return float(10.0 ** (db / 20.0))


def soft_limit(samples: FloatArray, knee: float = KNEE) -> FloatArray:
    """Keep the samples inside [-1, 1]: unchanged up to ``knee``, then bent by a tanh with a continuous slope.

    NaN and infinities, which a damaged model could make, become silence and full scale.
    """
    peak = float(np.abs(samples).max()) if len(samples) else 0.0
    if peak <= knee:
        return samples
    clean = np.nan_to_num(samples, nan=0.0, posinf=1e6, neginf=-1e6)
    magnitude = np.abs(clean)
    span = np.float32(1.0 - knee)
    bent = knee + span * np.tanh((magnitude - np.float32(knee)) / span)
    limited: FloatArray = np.where(magnitude > knee, np.copysign(bent, clean), clean).astype(np.float32)
    return limited


def integrated_loudness(samples: FloatArray, sample_rate: int) -> float:
    """Gated loudness of mono sound in LUFS (ITU-R BS.1770-4: K weighting, 400 ms blocks, gates at -70 and -10).

    The K weighting is applied to the spectrum: the filters' responses multiply a zero-padded transform, which equals
    running them but needs no loop over samples.
    """
    block = round(0.4 * sample_rate)
    if len(samples) == 0:
        return SILENCE_LUFS
    padded = np.zeros(max(block, len(samples)), np.float64)
    padded[: len(samples)] = samples
    size = len(padded) + sample_rate // 4
    weighted = np.fft.irfft(np.fft.rfft(padded, size) * _k_weighting(size, sample_rate), size)[: len(padded)]
    power = np.concatenate((np.zeros(1), np.cumsum(np.square(weighted))))
    starts = np.arange(0, len(padded) - block + 1, max(1, block // 4))
    mean_square = np.maximum((power[starts + block] - power[starts]) / block, 1e-20)
    levels = -0.691 + 10.0 * np.log10(mean_square)
    audible = mean_square[levels > SILENCE_LUFS]
    if len(audible) == 0:
        return SILENCE_LUFS
    relative_gate = -0.691 + 10.0 * np.log10(audible.mean()) - 10.0
    kept = mean_square[levels > max(relative_gate, SILENCE_LUFS)]
    return float(-0.691 + 10.0 * np.log10(kept.mean()))


def gain_for_loudness(samples: FloatArray, sample_rate: int, target_lufs: float, *, max_gain_db: float = 20.0) -> float:
    """The fixed gain in dB that brings a sample of a voice to ``target_lufs``; 0 for silence."""
    loudness = integrated_loudness(samples, sample_rate)
    if loudness <= SILENCE_LUFS:
        return 0.0
    return float(np.clip(target_lufs - loudness, -max_gain_db, max_gain_db))


def _k_weighting(size: int, sample_rate: int) -> npt.NDArray[np.complex128]:
    """Response of the two K-weighting filters at the bins of a real transform of ``size``."""
    omega = 2.0 * np.pi * np.arange(size // 2 + 1) / size
    delay = np.exp(-1j * omega)
    response = np.ones(len(omega), np.complex128)
    for b, a in (_shelf(sample_rate), _high_pass(sample_rate)):
        response *= (b[0] + b[1] * delay + b[2] * delay**2) / (a[0] + a[1] * delay + a[2] * delay**2)
    return response


_Biquad = Tuple[Tuple[float, float, float], Tuple[float, float, float]]


def _shelf(sample_rate: int) -> _Biquad:
    """Stage 1: the head's high shelf; analogue parameters that give BS.1770's table at 48 kHz for any rate."""
    gain_db, quality, frequency = 3.999843853973347, 0.7071752369554196, 1681.974450955533
    k = float(np.tan(np.pi * min(frequency, 0.49 * sample_rate) / sample_rate))
    high = 10.0 ** (gain_db / 20.0)
    band = high**0.4996667741545416
    norm = 1.0 + k / quality + k * k
    b = (
        (high + band * k / quality + k * k) / norm,
        2 * (k * k - high) / norm,
        (high - band * k / quality + k * k) / norm,
    )
    return b, (1.0, 2 * (k * k - 1) / norm, (1 - k / quality + k * k) / norm)


def _high_pass(sample_rate: int) -> _Biquad:
    """Stage 2: the revised low-frequency B curve."""
    quality, frequency = 0.5003270373238773, 38.13547087602444
    k = float(np.tan(np.pi * frequency / sample_rate))
    norm = 1.0 + k / quality + k * k
    return (1.0, -2.0, 1.0), (1.0, 2 * (k * k - 1) / norm, (1 - k / quality + k * k) / norm)
