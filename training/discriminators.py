"""Small period and resolution discriminators (HiFi-GAN / UnivNet style) for the polishing stage."""

from __future__ import annotations

from typing import List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

Features = List[Tensor]


class Period(nn.Module):
    """2-D convolutions over the waveform folded at one period."""

    def __init__(self, period: int, width: int = 16) -> None:
        super().__init__()
        self.period = period
        sizes = (1, width, width * 2, width * 4, width * 4)
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0))) for a, b in zip(sizes, sizes[1:])
        )
        self.last = weight_norm(nn.Conv2d(sizes[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, x: Tensor) -> Tuple[Tensor, Features]:
        x = F.pad(x, (0, -x.shape[-1] % self.period)).view(x.shape[0], 1, -1, self.period)
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
        x = torch.log1p(10 * torch.sqrt(spec.real.square() + spec.imag.square() + 1e-7))[:, None]
        features = []
        for conv in self.convs:
            x = F.leaky_relu(conv(x), 0.1)
            features.append(x)
        return self.last(x), features


class Discriminators(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList(
            [*(Period(p) for p in (2, 3, 5, 7, 11)), Resolution(1024, 256), Resolution(512, 128)]
        )

    def loss_real_fake(self, real: Tensor, fake: Tensor) -> Tensor:
        total = real.new_zeros(())
        for part in self.parts:
            total = total + ((part(real)[0].float() - 1) ** 2).mean() + (part(fake)[0].float() ** 2).mean()
        return total / len(self.parts)

    def loss_generator(self, real: Tensor, fake: Tensor) -> Tuple[Tensor, Tensor]:
        adversarial, feature, layers = real.new_zeros(()), real.new_zeros(()), 0
        for part in self.parts:
            score, features = part(fake)
            with torch.no_grad():
                _, goal = part(real)
            adversarial = adversarial + ((score.float() - 1) ** 2).mean()
            for a, b in zip(features, goal):
                feature = feature + (a.float() - b.float()).abs().mean() / (b.float().abs().mean() + 1e-4)
                layers += 1
        return adversarial / len(self.parts), feature / layers
