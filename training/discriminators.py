"""Small period and resolution discriminators (HiFi-GAN / UnivNet style) for the polishing stage."""

from __future__ import annotations

from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Features = List[Tensor]
GAIN = 12.0  # speech has an RMS of 0.05 to 0.1, at which the first layers learn nothing for hundreds of steps


class Period(nn.Module):
    """Convolutions over the samples that are one period apart (1-D over each phase: half the time of 2-D on CPUs)."""

    def __init__(self, period: int, width: int = 16) -> None:
        super().__init__()
        self.period = period
        sizes = (1, width, width * 2, width * 4, width * 4)
        self.convs = nn.ModuleList(weight_norm(nn.Conv1d(a, b, 5, 3, 2)) for a, b in zip(sizes, sizes[1:]))
        self.last = weight_norm(nn.Conv1d(sizes[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tuple[Tensor, Features]:
        x = F.pad(GAIN * x, (0, -x.shape[-1] % self.period)).unflatten(-1, (-1, self.period))
        x = x.transpose(1, 2).reshape(-1, 1, x.shape[1])
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
            features.append(x)
        return self.last(x), features


class Resolution(nn.Module):
    """2-D convolutions over one magnitude spectrogram."""

    def __init__(self, n_fft: int, hop: int, width: int = 16) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft))
        strides = ((2, 1), (2, 2), (2, 1), (2, 2))
        sizes = (1, width, width, width * 2, width * 2)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 3), s, (2, 1))) for a, b, s in zip(sizes, sizes[1:], strides)
        )
        self.last = weight_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tuple[Tensor, Features]:
        spec = torch.stft(x.float(), self.n_fft, self.hop, window=self.window, return_complex=True)
        x = 0.5 + 0.2 * torch.log(spec.real.square() + spec.imag.square() + 1e-6)[:, None]  # about -2 to 2
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
            features.append(x)
        return self.last(x), features


class Discriminators(nn.Module):
    """Three periods and three resolutions, of which each step asks a few: they cost far more than what they judge.

    The fine resolutions learn at once (a short vocoder blurs between the harmonics), the periods ten times slower.
    """

    def __init__(self) -> None:
        super().__init__()
        self.periods = nn.ModuleList(Period(p) for p in (2, 3, 5))
        self.resolutions = nn.ModuleList(Resolution(n, n // 4) for n in (2048, 1024, 512))

    def jury(self) -> List[nn.Module]:
        """One period and two resolutions, drawn anew each time."""
        return [
            parts[i]
            for parts, count in ((self.periods, 1), (self.resolutions, 2))
            for i in torch.randperm(len(parts))[:count].tolist()
        ]


def loss_real_fake(jury: List[nn.Module], real: Tensor, fake: Tensor) -> Tuple[Tensor, List[Features]]:
    """What the judges learn from (least squares), and what they saw in the real audio."""
    total, goals = real.new_zeros(()), []
    for judge in jury:
        score, features = judge(real)
        total = total + ((score.float() - 1) ** 2).mean() + (judge(fake)[0].float() ** 2).mean()
        goals.append([f.detach() for f in features])
    return total / len(jury), goals


def loss_generator(jury: List[nn.Module], goals: List[Features], fake: Tensor) -> Tuple[Tensor, Tensor]:
    """Adversarial and feature-matching loss of the same judges."""
    adversarial, feature, layers = fake.new_zeros(()), fake.new_zeros(()), 0
    for judge, goal in zip(jury, goals):
        score, features = judge(fake)
        adversarial = adversarial + ((score.float() - 1) ** 2).mean()
        for a, b in zip(features, goal):
            feature = feature + (a.float() - b.float()).abs().mean() / (b.float().abs().mean() + 1e-4)
            layers += 1
    return adversarial / len(jury), feature / layers
