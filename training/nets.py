"""The five networks in the published tensor layout, any width. Training code and nothing else uses them.

Shapes and names follow ChatTTS's published safetensors, so a state dict is an export; what the
published layout calls `weight` (block scale of its own blocks) and `gamma` (of Vocos) is one idea.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Dict, List, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chattts_onnx.audio.phase import MOMENTUM

RATE, HOP, N_FFT, MELS = 24000, 384, 1536, 100
CODES, BOOKS, LEVELS, GROUPS, RESIDUALS = 625, 4, 5, 2, 2
EOS = CODES
PHASE_ROUNDS = 3
"""After Vocos, while it learns: what its frames say of the phase is made consistent (`chattts_onnx.audio.phase`)."""
SHIPPED_PHASE_ROUNDS = 12
"""The same of the model that is exported. More rounds sound better, and each costs as much again in training."""


def mel_filters(n_fft: int = N_FFT, mels: int = MELS, rate: int = RATE) -> Tensor:
    """Triangular HTK mel filters [bins, mels], no area normalisation, 0 Hz to Nyquist."""
    top = 2595.0 * math.log10(1.0 + rate / 2 / 700.0)
    hz = 700.0 * (10.0 ** (torch.linspace(0, top, mels + 2, dtype=torch.float64) / 2595.0) - 1.0)
    freqs = torch.linspace(0, rate / 2, n_fft // 2 + 1, dtype=torch.float64)
    slope = hz[None] - freqs[:, None]
    width = hz[1:] - hz[:-1]
    down, up = -slope[:, :-2] / width[:-1], slope[:, 2:] / width[1:]
    return torch.clamp(torch.minimum(down, up), min=0).float()


class MelSpectrogram(nn.Module):
    """Natural-log magnitude mel [B, mels, 1 + n // hop]."""

    def __init__(self, n_fft: int = N_FFT, hop: int = HOP, mels: int = MELS) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.register_buffer("window", torch.hann_window(n_fft))
        self.register_buffer("fb", mel_filters(n_fft, mels))

    def magnitude(self, audio: Tensor) -> Tensor:
        spec = torch.stft(
            audio, self.n_fft, self.hop, window=self.window, center=True, pad_mode="reflect", return_complex=True
        )
        return torch.sqrt(spec.real.square() + spec.imag.square() + 1e-12)

    def forward(self, audio: Tensor) -> Tensor:
        return torch.log(torch.clamp(self.fb.t() @ self.magnitude(audio), min=1e-5))


class DepthwiseConv(nn.Module):
    """Depthwise Conv1d over [B, T, C] as shifted sums: channels last, no transposes, quick on CPUs."""

    def __init__(self, dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(dim, 1, kernel))
        self.bias = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.weight, std=1 / math.sqrt(kernel))
        self.kernel, self.dilation = kernel, dilation

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        pad = self.dilation * (self.kernel - 1) // 2
        y = F.conv1d(
            x, self.weight.to(x.dtype), self.bias.to(x.dtype), padding=pad, dilation=self.dilation, groups=x.shape[1]
        )
        return y.transpose(1, 2)


class Block(nn.Module):
    """ConvNeXt block over [B, T, C]."""

    def __init__(self, dim: int, inter: int, dilation: int, scale_name: str = "weight", scale: float = 0.1) -> None:
        super().__init__()
        self.dwconv = DepthwiseConv(dim, 7, dilation)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, inter)
        self.pwconv2 = nn.Linear(inter, dim)
        self.scale_name = scale_name
        self.register_parameter(scale_name, nn.Parameter(torch.full((dim,), scale)))

    def forward(self, x: Tensor) -> Tensor:
        y = self.pwconv2(F.gelu(self.pwconv1(self.norm(self.dwconv(x)))))
        return x + y * getattr(self, self.scale_name)


class ConvStack(nn.Module):
    """conv_in -> blocks -> conv_out, the body of the DVAE's two halves and of Decoder. [B, C, T]."""

    def __init__(self, idim: int, odim: int, bn: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.conv_in = nn.Sequential(nn.Conv1d(idim, bn, 3, padding=1), nn.GELU(), nn.Conv1d(bn, hidden, 3, padding=1))
        self.decoder_block = nn.ModuleList(Block(hidden, hidden * 4, 2) for _ in range(blocks))
        self.conv_out = nn.Conv1d(hidden, odim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x).transpose(1, 2)
        for block in self.decoder_block:
            x = block(x)
        return self.conv_out(x.transpose(1, 2))


def unfold_tokens(x: Tensor) -> Tensor:
    """[B, C, T] -> [B, C/2, 2T]: frame 2t+h takes the h-th half of token t's channels."""
    b, c, t = x.shape
    return x.view(b, 2, c // 2, t).permute(0, 2, 3, 1).reshape(b, c // 2, 2 * t)


class Decoder(nn.Module):
    """Hidden states [B, C, T] -> log-mel [B, 100, 2T]."""

    def __init__(self, width: int, bn: int, hidden: int, blocks: int, out: int) -> None:
        super().__init__()
        self.coef = nn.Parameter(torch.ones(1, MELS, 1), requires_grad=False)
        self.decoder = ConvStack(width // 2, out, bn, hidden, blocks)
        self.out_conv = nn.Conv1d(out, MELS, 3, padding=1, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.out_conv(self.decoder(unfold_tokens(hidden))) * self.coef


class ResidualFSQ(nn.Module):
    """One group: project to 4 dims, two rounds of 5-level quantisation, project back (straight through)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project_in = nn.Linear(dim, 4)
        self.project_out = nn.Linear(4, dim)

    def quantise(self, z: Tensor) -> Tuple[Tensor, List[Tensor]]:
        """[..., 4] -> quantised sum and the two code indices."""
        residual, total, indices = z, torch.zeros_like(z), []
        basis = torch.tensor([1, 5, 25, 125], device=z.device)
        half = (LEVELS - 1) * (1 + 1e-3) / 2
        for r in range(RESIDUALS):
            scale = (1.0 / (LEVELS - 1)) ** r
            bounded = torch.tanh(residual / scale) * half
            value = (bounded + (bounded.round() - bounded).detach()) / 2
            indices.append(((bounded.round() + 2).long() * basis).sum(-1))
            total = total + value * scale
            residual = residual - value.detach() * scale
        return total, indices

    def values(self, indices: List[Tensor]) -> Tensor:
        basis = torch.tensor([1, 5, 25, 125], device=indices[0].device)
        total = torch.zeros((), device=indices[0].device)
        for r, index in enumerate(indices):
            levels = torch.div(index[..., None], basis, rounding_mode="floor") % LEVELS
            total = total + (levels.float() - 2) / 2 * (1.0 / (LEVELS - 1)) ** r
        return total


class Quantizer(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.rvqs = nn.ModuleList(ResidualFSQ(dim // GROUPS) for _ in range(GROUPS))


class GFSQ(nn.Module):
    """Grouped residual FSQ over [B, D, T]; code order g0r0, g0r1, g1r0, g1r1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.quantizer = Quantizer(dim)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        outs, codes = [], []
        for rvq, part in zip(self.quantizer.rvqs, x.transpose(1, 2).chunk(GROUPS, -1)):
            z, indices = rvq.quantise(rvq.project_in(part))
            outs.append(rvq.project_out(z))
            codes += indices
        return torch.cat(outs, -1).transpose(1, 2), torch.stack(codes, 1)

    def embed(self, codes: Tensor) -> Tensor:
        outs = [
            rvq.project_out(rvq.values([codes[:, g * RESIDUALS + r] for r in range(RESIDUALS)]))
            for g, rvq in enumerate(self.quantizer.rvqs)
        ]
        return torch.cat(outs, -1).transpose(1, 2)


@dataclass
class DVAEConfig:
    down: int = 192
    bn: int = 96
    enc_hidden: int = 192
    dec_hidden: int = 192
    enc_blocks: int = 4
    dec_blocks: int = 5
    dim: int = 256
    out: int = 192


class DVAE(nn.Module):
    """log-mel [B, 100, 2T] <-> codes [B, 4, T]."""

    def __init__(self, cfg: DVAEConfig) -> None:
        super().__init__()
        self.coef = nn.Parameter(torch.ones(1, MELS, 1), requires_grad=False)
        self.downsample_conv = nn.Sequential(
            nn.Conv1d(MELS, cfg.down, 3, padding=1), nn.GELU(), nn.Conv1d(cfg.down, cfg.down, 4, 2, 1), nn.GELU()
        )
        self.encoder = ConvStack(cfg.down, cfg.dim, cfg.bn, cfg.enc_hidden, cfg.enc_blocks)
        self.decoder = ConvStack(cfg.dim // 2, cfg.out, cfg.bn, cfg.dec_hidden, cfg.dec_blocks)
        self.out_conv = nn.Conv1d(cfg.out, MELS, 3, padding=1, bias=False)
        self.vq_layer = GFSQ(cfg.dim)

    def encode(self, mel: Tensor) -> Tuple[Tensor, Tensor]:
        return self.vq_layer(self.encoder(self.downsample_conv(mel / self.coef)))

    def decode(self, features: Tensor) -> Tensor:
        return self.out_conv(self.decoder(unfold_tokens(features))) * self.coef

    def forward(self, mel: Tensor) -> Tuple[Tensor, Tensor]:
        features, codes = self.encode(mel)
        return self.decode(features), codes


class Backbone(nn.Module):
    def __init__(self, dim: int, inter: int, blocks: int) -> None:
        super().__init__()
        self.embed = nn.Conv1d(MELS, dim, 7, padding=3)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.convnext = nn.ModuleList(Block(dim, inter, 1, "gamma", 1 / blocks) for _ in range(blocks))
        self.final_layer_norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, mel: Tensor) -> Tensor:
        x = self.norm(self.embed(mel).transpose(1, 2))
        for block in self.convnext:
            x = block(x)
        return self.final_layer_norm(x)


class Head(nn.Module):
    """Log-magnitude and phase per bin, then the inverse STFT (centred, (frames - 1) * hop samples)."""

    def __init__(self, dim: int, n_fft: int = N_FFT, hop: int = HOP) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        self.out = nn.Linear(dim, n_fft + 2)
        self.register_buffer("window", torch.hann_window(n_fft))

    def polar(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """Log-magnitude and phase [B, bins, frames] of features [B, frames, dim]."""
        log_mag, phase = self.out(x).float().transpose(1, 2).chunk(2, 1)
        return log_mag, phase

    def wave(self, log_mag: Tensor, phase: Tensor, rounds: int = PHASE_ROUNDS) -> Tensor:
        """Audio [B, (frames - 1) * hop], after rounds of the fast Griffin-Lim algorithm (audio/phase.py)."""
        mag = torch.exp(log_mag).clamp(max=100.0)
        real, imag = mag * torch.cos(phase), mag * torch.sin(phase)
        before = None
        for _ in range(rounds):
            spec = self.stft(self.istft(real, imag))
            ahead = spec if before is None else spec + MOMENTUM * (spec - before)
            before = spec
            scale = mag * torch.rsqrt(ahead.real.square() + ahead.imag.square() + 1e-8)
            real, imag = scale * ahead.real, scale * ahead.imag
        return self.istft(real, imag)

    def stft(self, audio: Tensor) -> Tensor:
        return torch.stft(audio, self.n_fft, self.hop, window=self.window, return_complex=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.wave(*self.polar(x))

    def istft(self, real: Tensor, imag: Tensor) -> Tensor:
        frames = torch.fft.irfft(torch.complex(real, imag), n=self.n_fft, dim=1) * self.window[None, :, None]
        total = self.n_fft + self.hop * (frames.shape[-1] - 1)
        fold = {"output_size": (1, total), "kernel_size": (1, self.n_fft), "stride": (1, self.hop)}
        audio = F.fold(frames, **fold)[:, 0, 0]
        norm = F.fold(self.window.square()[None, :, None].expand(1, -1, frames.shape[-1]), **fold)[0, 0, 0]
        half = self.n_fft // 2
        return audio[:, half:-half] / norm[half:-half].clamp(min=1e-8)


class Vocos(nn.Module):
    """log-mel [B, 100, F] -> audio [B, (F - 1) * hop]."""

    def __init__(self, dim: int = 256, inter: int = 768, blocks: int = 7) -> None:
        super().__init__()
        self.backbone = Backbone(dim, inter, blocks)
        self.head = Head(dim)

    @classmethod
    def of(cls, state: Dict[str, Tensor]) -> Vocos:
        """The network whose state dict this is, as wide and deep as its tensors say."""
        first = state["backbone.convnext.0.pwconv1.weight"]
        net = cls(first.shape[1], first.shape[0], sum(k.endswith("pwconv1.weight") for k in state))
        net.load_state_dict(state)
        return net

    def forward(self, mel: Tensor) -> Tensor:
        return self.head(self.backbone(mel))
