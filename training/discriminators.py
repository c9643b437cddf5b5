"""Small discriminators for the adversarial stages, made for what a short Vocos gets wrong, and for CPUs.

What gives a short Vocos away is phase: judges of log-magnitude spectrograms and of samples one period apart (UnivNet's
and HiFi-GAN's, narrow) learn to tell it from the teacher half as well, and are soon fooled without being right
(training/report.md). Frequencies and patches of samples are channels here, so that the work is a few large matrix
products.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from .nets import RATE
from .tools import autocast, cosine

Features = List[Tensor]
JUDGE_RATE = 6e-4
GAIN = 12.0  # speech has an RMS of 0.05 to 0.1, at which the first layers learn nothing for hundreds of steps


def _through(convs: nn.ModuleList, x: Tensor) -> Features:
    features = []
    for conv in convs:
        x = F.leaky_relu(conv(x), 0.1)
        features.append(x)
    return features


class Coherence(nn.Module):
    """1-D convolutions over the frames of one spectrogram up to ``top`` Hz: log-magnitudes and phase differences.

    The phase of each bin against its own a frame before (less the advance of the bin's centre) and against its lower
    neighbour's, as cosine and sine: neither changes with where in time the window stands.
    """

    def __init__(self, n_fft: int, top: float, width: int = 224) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, n_fft // 4
        self.bins = min(n_fft // 2 + 1, round(top * n_fft / RATE) + 1)
        self.register_buffer("window", torch.hann_window(n_fft))
        advance = -2 * math.pi * self.hop / n_fft * torch.arange(self.bins)
        self.register_buffer("advance", torch.polar(torch.ones(self.bins), advance)[:, None])
        sizes = (5 * self.bins, width, width, width, width)
        self.convs = nn.ModuleList(weight_norm(nn.Conv1d(a, b, 3, padding=1)) for a, b in zip(sizes, sizes[1:]))
        self.last = weight_norm(nn.Conv1d(width, 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tuple[Tensor, Features]:
        spec = torch.stft(x.float(), self.n_fft, self.hop, window=self.window, return_complex=True)[:, : self.bins]
        magnitude = torch.sqrt(spec.real.square() + spec.imag.square() + 1e-8)
        unit = spec / (magnitude + 1e-2)  # what is hardly there has hardly a phase
        in_time = torch.view_as_real(unit[:, :, 1:] * unit[:, :, :-1].conj() * self.advance)
        across = torch.view_as_real(-unit[:, 1:] * unit[:, :-1].conj())  # a pulse in mid-window turns each bin by half
        maps = (
            0.5 + 0.4 * torch.log(magnitude + 1e-3),
            *F.pad(in_time, (0, 0, 1, 0)).unbind(-1),
            *F.pad(across, (0, 0, 0, 0, 1, 0)).unbind(-1),
        )
        features = _through(self.convs, torch.cat(maps, 1))
        return self.last(features[-1]), features


class Patches(nn.Module):
    """1-D convolutions over overlapping patches of samples."""

    def __init__(self, stride: int, width: int = 96) -> None:
        super().__init__()
        first = nn.Conv1d(1, width, 4 * stride, stride, 2 * stride)
        strides = (2, 2, 1)
        sizes = (width, 2 * width, 2 * width, 2 * width)
        rest = (nn.Conv1d(a, b, 5, s, 2) for a, b, s in zip(sizes, sizes[1:], strides))
        self.convs = nn.ModuleList(weight_norm(conv) for conv in (first, *rest))
        self.last = weight_norm(nn.Conv1d(sizes[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tuple[Tensor, Features]:
        features = _through(self.convs, GAIN * x[:, None])
        return self.last(features[-1]), features


class Texture(nn.Module):
    """2-D convolutions over a log-mel [B, mels, frames] and its differences: the detail that a mean of mels has lost.

    The differences are what tells: without them, and with a stride in the first layer, it was at chance for 600 steps.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        sizes, strides = (3, width, 2 * width, 2 * width, 2 * width), ((1, 1), (2, 2), (2, 2), (2, 1))
        self.convs = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, 3, stride, 1)) for a, b, stride in zip(sizes, sizes[1:], strides)
        )
        self.last = weight_norm(nn.Conv2d(sizes[-1], 1, 3, padding=1))

    def forward(self, x: Tensor) -> Tuple[Tensor, Features]:
        x = (x + 5) / 3  # speech lies between -11 and 2
        in_time, across = F.pad(x.diff(dim=2), (1, 0)), F.pad(x.diff(dim=1), (0, 0, 1, 0))
        features = _through(self.convs, torch.stack((x, 3 * in_time, 3 * across), 1))
        return self.last(features[-1]), features


def judges_of_mels() -> List[nn.Module]:
    """For Decoder."""
    return [Texture()]


def judges_of_waveforms() -> List[nn.Module]:
    """For Vocos: three of phase and one of samples."""
    return [Coherence(2048, 4000.0), Coherence(1024, 8000.0), Coherence(512, 12000.0), Patches(16)]


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


class Jury:
    """Discriminators, how they learn beside a voice, and what they make of it.

    Each step asks two of them at most: together they cost more than what they judge.
    """

    def __init__(
        self,
        judges: List[nn.Module],
        dev: torch.device,
        state: Optional[Dict[str, Any]],
        look_on: int,
        rate: float = JUDGE_RATE,
    ) -> None:
        self.judges = nn.ModuleList(judges).to(dev)
        if state:
            self.judges.load_state_dict(state)
        self.optimizer = torch.optim.AdamW(self.judges.parameters(), betas=(0.8, 0.99))
        self.rate = rate
        self.dev = dev
        self.silent = 0 if state else look_on
        """Steps for which they are not heard yet: judges that know nothing would only add noise."""

    def weigh(self, real: Tensor, fake: Tensor, done: float) -> Tuple[Tensor, Dict[str, Tensor]]:
        """One step of theirs; then what they say of ``fake``, and the parts of that for the log."""
        asked = [self.judges[i] for i in torch.randperm(len(self.judges))[:2].tolist()]
        self.optimizer.param_groups[0]["lr"] = self.rate * cosine(done, 0.0)
        with autocast(self.dev):
            loss, goals = loss_real_fake(asked, real, fake.detach())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.silent = max(0, self.silent - 1)
        if self.silent:
            return fake.new_zeros(()), {"d": loss}
        self.judges.requires_grad_(False)  # their gradients would be computed here and thrown away
        with autocast(self.dev):
            adversarial, feature = loss_generator(asked, goals, fake)
        self.judges.requires_grad_(True)
        return adversarial + 2 * feature, {"d": loss, "adv": adversarial, "feat": feature}
