"""The Llama of ChatTTS (A3 of the facts): text symbols and four code books in, four code heads out."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Dict, List, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .nets import BOOKS, CODES, EOS

HEAD = 64


@dataclass
class GPTConfig:
    vocab: int = 0
    voices: int = 0
    width: int = 256
    inter: int = 704
    layers: int = 6
    aligned_layer: int = 2  # its first two heads are told where to look
    mid_layer: int = 3  # auxiliary phoneme heads read the state after this many layers

    def dict(self) -> Dict[str, Any]:
        return asdict(self)


class RMSNorm(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), 1e-6)


def rope(length: int, start: int = 0) -> Tuple[Tensor, Tensor]:
    inv = 10000.0 ** (-torch.arange(0, HEAD, 2).float() / HEAD)
    angle = (torch.arange(start, start + length).float()[:, None] * inv).repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


class Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, cache: Optional[list], mask: Optional[Tensor], look: int
    ) -> Tuple[Tensor, Optional[Tensor]]:
        b, t, c = x.shape
        q, k, v = (p(x).view(b, t, -1, HEAD).transpose(1, 2) for p in (self.q_proj, self.k_proj, self.v_proj))
        cos, sin = cos.to(q.dtype), sin.to(q.dtype)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        weights = None
        if look:  # attention of the first `look` heads, explicit, for the alignment loss
            scores = (q[:, :look] @ k[:, :look].transpose(-1, -2)).float() / math.sqrt(HEAD)
            causal = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
            weights = torch.softmax(scores.masked_fill(causal, -1e9), -1)
        if cache is not None:
            if cache:
                k, v = torch.cat((cache[0], k), 2), torch.cat((cache[1], v), 2)
            cache[:] = [k, v]
        if mask is None and x.device.type == "cpu" and t > 1:  # 2.6 times faster than the fused kernel's backward here
            future = torch.ones(t, t, dtype=torch.bool, device=x.device).triu(1)
            y = (q @ k.transpose(-1, -2) * HEAD**-0.5).masked_fill(future, -1e9).softmax(-1).to(v.dtype) @ v
        else:
            y = F.scaled_dot_product_attention(
                q, k.to(q.dtype), v.to(q.dtype), attn_mask=mask, is_causal=mask is None and t > 1
            )
        return self.o_proj(y.transpose(1, 2).reshape(b, t, c)), weights


class MLP(nn.Module):
    def __init__(self, width: int, inter: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inter, bias=False)
        self.up_proj = nn.Linear(width, inter, bias=False)
        self.down_proj = nn.Linear(inter, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, width: int, inter: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(width)
        self.self_attn = Attention(width)
        self.post_attention_layernorm = RMSNorm(width)
        self.mlp = MLP(width, inter)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, cache: Optional[list], mask: Optional[Tensor], look: int):
        y, weights = self.self_attn(self.input_layernorm(x), cos, sin, cache, mask, look)
        x = x + y
        return x + self.mlp(self.post_attention_layernorm(x)), weights


class GPT(nn.Module):
    """`share` [V, S] ties symbols that have parts in common (finals of one vowel, finals of one tone): a
    symbol's embedding is its own row plus its parts'. Folded into one table at export."""

    def __init__(self, cfg: GPTConfig, share: Tensor) -> None:
        super().__init__()
        self.cfg = cfg
        self.register_buffer("share", share)
        self.emb_own = nn.Parameter(torch.randn(cfg.vocab, cfg.width) * 0.5 / math.sqrt(cfg.width))
        self.emb_parts = nn.Parameter(torch.randn(share.shape[1], cfg.width) * 0.6 / math.sqrt(cfg.width))
        self.emb_code = nn.ModuleList(nn.Embedding(CODES + 1, cfg.width) for _ in range(BOOKS))
        for table in self.emb_code:
            nn.init.normal_(table.weight, std=0.5 / math.sqrt(cfg.width))
        self.voice = nn.Embedding(cfg.voices, cfg.width)
        nn.init.normal_(self.voice.weight, std=1 / math.sqrt(cfg.width))
        self.layers = nn.ModuleList(Layer(cfg.width, cfg.inter) for _ in range(cfg.layers))
        self.norm = RMSNorm(cfg.width)
        self.head_code = nn.Linear(cfg.width, BOOKS * (CODES + 1), bias=False)
        self.aux_mid = nn.Linear(cfg.width, 3 * cfg.vocab)
        self.aux_last = nn.Linear(cfg.width, 3 * cfg.vocab)
        for name, p in self.named_parameters():
            if name.startswith("layers") and p.dim() == 2:
                nn.init.normal_(p, std=0.5 / math.sqrt(p.shape[1]))
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                p.data *= 1 / math.sqrt(2 * cfg.layers)
        nn.init.normal_(self.head_code.weight, std=0.5 / math.sqrt(cfg.width))

    def text_table(self) -> Tensor:
        return self.emb_own + self.share @ self.emb_parts

    def voice_table(self) -> Tensor:
        """Every voice's unit vector, and behind them their mean, `[empty_spk]`: nobody is named."""
        named = F.normalize(self.voice.weight.float(), dim=-1)
        return torch.cat((named, named.mean(0, keepdim=True)))

    def embed_text(self, ids: Tensor, voice: Tensor, spk_id: int) -> Tensor:
        x = self.text_table()[ids]
        return torch.where((ids == spk_id)[..., None], self.voice_table()[voice][:, None], x)

    def embed_codes(self, codes: Tensor) -> Tensor:
        """[B, T, 4] -> [B, T, C]."""
        return sum(self.emb_code[q](codes[..., q]) for q in range(BOOKS))  # type: ignore[return-value]

    def trunk(
        self,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        caches: Optional[List[list]] = None,
        mask: Optional[Tensor] = None,
        look: int = 0,
    ) -> Tuple[Tensor, Tensor, Optional[Tensor]]:
        """Last state (normed), the middle state, and the supervised heads' attention."""
        mid, weights = x, None
        for i, layer in enumerate(self.layers):
            x, w = layer(x, cos, sin, caches[i] if caches else None, mask, look if i == self.cfg.aligned_layer else 0)
            weights = w if w is not None else weights
            if i + 1 == self.cfg.mid_layer:
                mid = x
        return self.norm(x), mid, weights

    def logits(self, hidden: Tensor) -> Tensor:
        return self.head_code(hidden).float().view(*hidden.shape[:-1], BOOKS, CODES + 1)


@torch.no_grad()
def generate(
    model: GPT,
    texts: List[List[int]],
    voices: List[int],
    spk_id: int,
    temperature: float = 0.3,
    top_p: float = 0.7,
    top_k: int = 20,
    penalty: float = 1.05,
    limit: int = 420,
    seed: int = 0,
) -> List[Tuple[Tensor, Tensor]]:
    """Sample a batch as the runtime does; per row (hidden [T, C], codes [T, 4])."""
    dev = model.emb_own.device
    gen = torch.Generator().manual_seed(seed)
    rows, longest = len(texts), max(map(len, texts))
    ids = torch.zeros(rows, longest, dtype=torch.long, device=dev)
    pad = torch.tensor([longest - len(t) for t in texts], device=dev)
    for i, text in enumerate(texts):
        ids[i, longest - len(text) :] = torch.tensor(text, device=dev)
    x = model.embed_text(ids, torch.tensor(voices, device=dev), spk_id)
    cos_all, sin_all = (r.to(dev) for r in rope(longest + limit))
    position = (torch.arange(longest, device=dev)[None] - pad[:, None]).clamp(min=0)
    caches: List[list] = [[] for _ in model.layers]
    keep = torch.arange(longest + limit, device=dev)[None] >= pad[:, None]
    mask = keep[:, None, None, :longest] & torch.ones(longest, longest, dtype=torch.bool, device=dev).tril()
    mask = mask | torch.eye(longest, dtype=torch.bool, device=dev)
    hidden, _, _ = model.trunk(x, cos_all[position][:, None], sin_all[position][:, None], caches, mask)
    hidden = hidden[:, -1]
    outs: List[List[Tensor]] = [[] for _ in texts]
    codes: List[Tensor] = []
    alive = torch.ones(rows, dtype=torch.bool, device=dev)
    for step in range(limit):
        scores = model.logits(hidden).reshape(rows * BOOKS, CODES + 1) / temperature
        if codes and penalty != 1:
            window = torch.stack(codes[-16:], -1).reshape(rows * BOOKS, -1)
            freq = torch.zeros_like(scores).scatter_add_(1, window, torch.ones_like(window, dtype=scores.dtype))
            alpha = penalty**freq
            scores = torch.where(scores < 0, scores * alpha, scores / alpha)
        ordered, order = scores.sort(-1)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - top_p
        drop[:, -3:] = False
        drop[:, : -max(top_k, 3)] = True
        scores = scores.masked_fill(torch.zeros_like(drop).scatter(1, order, drop), -1e9)
        noise = torch.rand(scores.shape, generator=gen).to(dev).clamp(min=1e-9)
        picked = (scores - torch.log(-torch.log(noise))).argmax(-1).view(rows, BOOKS)
        alive = alive & ~(picked == EOS).any(-1)
        if not alive.any():
            break
        for i in range(rows):
            if alive[i]:
                outs[i].append(hidden[i])
        codes.append(picked)
        at = (longest + step - pad)[:, None]
        x = model.embed_codes(picked[:, None])
        mask = keep[:, None, None, : longest + step + 1]
        hidden, _, _ = model.trunk(x, cos_all[at][:, None], sin_all[at][:, None], caches, mask)
        hidden = hidden[:, -1]
    every = torch.stack(codes, 1) if codes else torch.zeros(rows, 0, BOOKS, dtype=torch.long, device=dev)
    width = model.cfg.width
    return [
        (torch.stack(o) if o else torch.zeros(0, width, device=dev), every[i, : len(o)]) for i, o in enumerate(outs)
    ]
