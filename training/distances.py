"""How far a voice is from the recording: distances of waveforms and of spectra."""

from __future__ import annotations

from typing import Tuple

import torch
from torch import Tensor, nn

from .nets import HOP, N_FFT, MelSpectrogram

EDGE = 2
"""Frames at each end of a slice that are not compared: they lack the context that the whole clip gives."""
FLOOR = 1e-2
"""Magnitude below which a bin of the head's spectrum (RMS of speech: about 1.5) counts as silent."""
RESOLUTIONS = ((2048, 480), (1024, 240), (512, 120), (256, 60))


class SpectralLoss(nn.Module):
    """Log-magnitude and spectral-convergence distances at several resolutions, and an 80-band log-mel."""

    def __init__(self) -> None:
        super().__init__()
        for n, _ in RESOLUTIONS:
            self.register_buffer(f"w{n}", torch.hann_window(n))
        self.mel = MelSpectrogram(1024, 256, 80)

    def magnitude(self, x: Tensor, n: int, hop: int) -> Tensor:
        spec = torch.stft(x, n, hop, window=getattr(self, f"w{n}"), return_complex=True)
        return torch.sqrt(spec.real.square() + spec.imag.square() + 1e-7)

    def forward(self, out: Tensor, real: Tensor) -> Tuple[Tensor, Tensor]:
        total = out.new_zeros(())
        for n, hop in RESOLUTIONS:
            a, b = self.magnitude(out, n, hop), self.magnitude(real, n, hop)
            total = total + (a.log() - b.log()).abs().mean() + (a - b).norm() / (b.norm() + 1e-3)
        mel = (
            (
                torch.log(self.mel.fb.t() @ self.mel.magnitude(out) + 1e-4)
                - torch.log(self.mel.fb.t() @ self.mel.magnitude(real) + 1e-4)
            )
            .abs()
            .mean()
        )
        return total / len(RESOLUTIONS), mel


def spectrum_loss(log_mag: Tensor, phasor: Tensor, audio: Tensor) -> Tuple[Tensor, Tensor]:
    """Distance of a spectrum (log-magnitudes, and phases as complex numbers of size one) to that of the real audio.

    Log-magnitudes, and the differences of phase to the frame before and to the bin below (absolute phase is not in a
    mel): one minus the cosine, weighted by how much sound is there. Told of what the head says, no overlap blurs it.
    """
    window = torch.hann_window(N_FFT, device=audio.device)
    real = torch.stft(audio, N_FFT, HOP, window=window, return_complex=True)
    inner = slice(EDGE, -EDGE)  # frames at the slice's ends see a mirror
    real, log_mag, phasor = real[:, :, inner], log_mag[:, :, inner], phasor[:, :, inner]
    size = real.abs()
    mag = (torch.log(torch.exp(log_mag) + FLOOR) - torch.log(size + FLOOR)).abs().mean()
    weight, error = size / (size + 10 * FLOOR), phasor * real.conj() / (size + 1e-8)
    total = mag.new_zeros(())
    for axis in (1, 2):
        long = weight.shape[axis] - 1
        both = weight.narrow(axis, 1, long) * weight.narrow(axis, 0, long)
        turn = error.narrow(axis, 1, long) * error.narrow(axis, 0, long).conj()
        total = total + (both * (1 - turn.real)).sum() / both.sum()
    return mag, total / 2
