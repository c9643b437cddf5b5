"""Small shared pieces: device, precision, logs, checkpoints, schedules, Muon."""

from __future__ import annotations

import contextlib
import json
import math
import os
import random
import time
from pathlib import Path
from typing import Any, ContextManager, Dict, Iterable, List, Mapping, Union

import torch
from torch import Tensor, nn


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def quick_bfloat16(dev: torch.device) -> bool:
    """Whether bfloat16 pays: on GPUs, and on CPUs with AVX-512 (AVX512-BF16 or AMX, where it was 4 to 10 times faster).

    With AVX2 alone it is emulated, several times slower than float32. MINI_FP32 switches it off everywhere.
    """
    if os.environ.get("MINI_FP32"):
        return False
    return dev.type != "cpu" or "AVX512" in torch.backends.cpu.get_cpu_capability()


def autocast(dev: torch.device) -> ContextManager[Any]:
    return torch.autocast(dev.type, torch.bfloat16) if quick_bfloat16(dev) else contextlib.nullcontext()


def seed_all(seed: int) -> None:
    random.seed(seed)
    torch.manual_seed(seed)


def cosine(done: float, warm: float, floor: float = 0.03) -> float:
    """Learning-rate factor: linear warm-up over the share `warm`, then cosine to `floor`."""
    if done < warm:
        return (done + 1e-3) / (warm + 1e-3)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, (done - warm) / (1 - warm))))


def save(path: Path, **state: Any) -> None:
    """Atomic: an interrupted save leaves the previous checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".tmp")
    torch.save(state, fresh)
    fresh.replace(path)


def load_state(path: Path, dev: Union[str, torch.device] = "cpu") -> Dict[str, Any]:
    """What `save` wrote; tensors and plain values only."""
    state: Dict[str, Any] = torch.load(path, map_location=dev, weights_only=True)
    return state


def descend(loss: Tensor, params: List[nn.Parameter], optimizers: List[torch.optim.Optimizer], clip: float) -> None:
    """One step down."""
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(params, clip)
    for optimizer in optimizers:
        optimizer.step()


class Averages:
    """Exponential means of a module's weights: what is used in the end."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.state = {k: v.detach().clone() for k, v in module.state_dict().items()}
        self.steps = 0

    def update(self) -> None:
        self.steps += 1
        keep = min(0.998, self.steps / (self.steps + 9))
        for k, v in self.module.state_dict().items():
            self.state[k].lerp_(v, 1 - keep) if v.is_floating_point() else self.state[k].copy_(v)


class Log:
    """One JSON object a line, to file and screen."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._sums: Dict[str, float] = {}
        self._count = 0

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Take in the parts of one step's loss, for `means`."""
        self._count += 1
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, 0.0) + value.item()

    def means(self) -> Dict[str, float]:
        """Of the steps taken in since the last call."""
        means = {name: value / self._count for name, value in self._sums.items()}
        self._sums, self._count = {}, 0
        return means

    def write(self, **values: Any) -> None:
        row = {k: round(v, 4) if isinstance(v, float) else v for k, v in values.items()}
        row["at"] = int(time.time())
        line = json.dumps(row, ensure_ascii=False)
        print(line, flush=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")


class Peers:
    """Data-parallel ranks of one thread each, as torchrun starts them.

    Local SGD: every rank steps on its own and all take the mean of the weights every few steps. On a busy
    machine that beats threads, which meet at every operation, and shared gradients, which meet at every step.
    """

    def __init__(self, every: int) -> None:
        self.rank, self.world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
        self.every = every
        if self.world > 1:
            torch.distributed.init_process_group("gloo")

    @torch.no_grad()
    def mean(self, params: List[Tensor], extra: float) -> float:
        """Average weights (and a number) over the ranks, in place."""
        if self.world == 1:
            return extra
        flat = torch.cat([p.reshape(-1) for p in params] + [torch.tensor([extra], device=params[0].device)])
        torch.distributed.all_reduce(flat)
        flat /= self.world
        at = 0
        for p in params:
            p.copy_(flat[at : at + p.numel()].view_as(p))
            at += p.numel()
        return flat[-1].item()


def orthogonalise(g: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrix."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.bfloat16() if quick_bfloat16(g.device) else g.float()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised, for hidden matrices (the rest goes to AdamW)."""

    def __init__(
        self, params: Iterable[Tensor], lr: float = 0.02, momentum: float = 0.95, weight_decay: float = 0.01
    ) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            by_shape: dict = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if "m" not in state:
                    state["m"] = torch.zeros_like(p)
                m = state["m"]
                m.mul_(group["momentum"]).add_(p.grad)
                by_shape.setdefault(p.shape, []).append((p, p.grad.add(m, alpha=group["momentum"])))
            for shape, pairs in by_shape.items():
                updates: List[Tensor] = list(orthogonalise(torch.stack([u for _, u in pairs])))
                scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
                for (p, _), u in zip(pairs, updates):
                    p.mul_(1 - group["lr"] * group["weight_decay"]).add_(u, alpha=-scale)
