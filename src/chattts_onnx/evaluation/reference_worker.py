"""The reference implementation as a benchmark's other side; run by a Python that has PyTorch, not by this package's.

It answers the same lines as ``bench_worker``. With the package ``ChatTTS`` installed there, its own public interface
is timed; without it, a Llama of the same dims from ``transformers``, or, failing that, from plain PyTorch modules,
which is what any reimplementation on PyTorch would at best be. This file imports nothing of chattts_onnx.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

_TEXT = "今天早上市政府宣布新的地铁线路将于明年春天正式通车沿线的居民都很高兴"


_now: Callable[[], float] = time.perf_counter


class Reference:
    """A random model of the published dims in PyTorch."""

    def __init__(self) -> None:
        self._model: Any = None
        self._chat: Any = None
        self._kind = ""

    def open(
        self, checkpoint: str, threads: Optional[int], kind: Optional[str] = None, clock: str = "wall"
    ) -> Dict[str, Any]:
        """Load; ``kind`` is chattts, transformers or torch, None: the first that works."""
        global _now  # noqa: PLW0603 - one clock for the process
        _now = time.process_time if clock == "cpu" else time.perf_counter
        started = _now()
        import torch

        if threads:
            torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        imported = _now()
        failures: List[str] = []
        for name in [kind] if kind else ["chattts", "transformers", "torch"]:
            try:
                getattr(self, "_open_" + name)(Path(checkpoint))
            except Exception as error:  # noqa: BLE001 - the next kind is tried, and the report says why
                failures.append(f"{name}: {type(error).__name__}: {error}")
            else:
                self._kind = name
                break
        else:
            raise RuntimeError("; ".join(failures))
        return {
            "import_seconds": imported - started,
            "load_seconds": _now() - imported,
            "kind": self._kind,
            "versions": _versions(("torch", "transformers", "ChatTTS")),
            "failures": failures,
            "tokens_per_second": 24000 / 512,
        }

    def decode(self, batch: int, context: int, steps: int) -> Dict[str, Any]:
        """Time of ``steps`` decode steps of ``batch`` rows after ``context`` prompt tokens."""
        if self._kind == "chattts":
            # The public interface has no step; two lengths of the same request differ by that many steps.
            few = 4
            short = self._infer(batch, context, few)
            return {
                "seconds": self._infer(batch, context, few + steps) - short,
                "steps": steps,
                "prefill_seconds": short,
            }
        return dict(self._model.decode(batch, context, steps))

    def request(self, batch: int, input_tokens: int, steps: int) -> Dict[str, Any]:
        """Seconds of ``batch`` equal requests, to sound where the implementation makes sound."""
        if self._kind == "chattts":
            seconds = self._infer(batch, input_tokens, steps)
        else:
            begin = _now()
            self._model.decode(batch, input_tokens, steps)
            seconds = _now() - begin
        return {"seconds": seconds, "latencies": [seconds] * batch}

    def peak(self) -> Dict[str, Any]:
        """Most memory this process ever held."""
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return {"bytes": int(line.split()[1]) * 1024}
        return {"bytes": None}

    def close(self) -> Dict[str, Any]:
        """Nothing to let go of that the end of the process does not."""
        return {}

    def _infer(self, batch: int, context: int, steps: int) -> float:
        reference = import_module("ChatTTS")
        text = (_TEXT * (context // len(_TEXT) + 1))[: max(1, context - 4)]
        begin = _now()
        self._chat.infer(
            [text] * batch,
            skip_refine_text=True,
            split_text=False,
            do_text_normalization=False,
            do_homophone_replacement=False,
            params_infer_code=reference.Chat.InferCodeParams(
                max_new_token=steps, min_new_token=steps, show_tqdm=False, manual_seed=1
            ),
        )
        return _now() - begin

    def _open_chattts(self, checkpoint: Path) -> None:
        import logging

        chat = import_module("ChatTTS").Chat(logging.getLogger("reference"))
        folder = _with_tokenizer_files(checkpoint)
        # It loads nothing but the published files, told by their checksums: here they are those of the random ones.
        chat.sha256_map = {
            "sha256_" + str(path.relative_to(folder)).translate({ord("/"): "_", ord("."): "_"}): _sha256(path)
            for path in sorted((folder / "asset").rglob("*.*"))
        }
        if not chat.load(source="custom", custom_path=str(folder), device=_cpu(), compile=False):
            raise RuntimeError("ChatTTS refused the checkpoint")
        self._chat = chat
        self._infer(1, 16, 2)

    def _open_transformers(self, checkpoint: Path) -> None:
        self._model = _Transformers(_dims(checkpoint))

    def _open_torch(self, checkpoint: Path) -> None:
        self._model = _PlainTorch(_dims(checkpoint))


class _Transformers:
    """Llama of ``transformers`` with four code heads."""

    def __init__(self, dims: Dict[str, int]) -> None:
        import torch

        transformers = import_module("transformers")
        config = transformers.LlamaConfig(
            hidden_size=dims["hidden_size"],
            intermediate_size=dims["intermediate_size"],
            num_hidden_layers=dims["num_hidden_layers"],
            num_attention_heads=dims["num_attention_heads"],
            num_key_value_heads=dims["num_attention_heads"],
            vocab_size=8,
            max_position_embeddings=4096,
            rms_norm_eps=1e-6,
        )
        self._llama = transformers.LlamaModel(config).eval()
        self._codes = [torch.nn.Embedding(626, config.hidden_size) for _ in range(4)]
        self._heads = torch.nn.Linear(config.hidden_size, 4 * 626, bias=False)
        self._width = config.hidden_size

    def decode(self, batch: int, context: int, steps: int) -> Dict[str, Any]:
        import torch

        begin = _now()
        output = self._llama(inputs_embeds=torch.randn(batch, context, self._width), use_cache=True)
        started = _now()
        for _ in range(steps):
            embedded = _next_embedding(self._heads(output.last_hidden_state[:, -1]), self._codes, batch)
            output = self._llama(inputs_embeds=embedded, past_key_values=output.past_key_values, use_cache=True)
        return {"seconds": _now() - started, "steps": steps, "prefill_seconds": started - begin}


class _PlainTorch:
    """The same arithmetic in plain modules, with a cache that is written in place."""

    def __init__(self, dims: Dict[str, int]) -> None:
        import torch

        self._width, self._heads_count = dims["hidden_size"], dims["num_attention_heads"]
        inner, self._count = dims["intermediate_size"], dims["num_hidden_layers"]

        def linear(rows: int, columns: int) -> Any:
            return torch.nn.Linear(rows, columns, bias=False)

        self._layers = [
            (
                linear(self._width, 3 * self._width),
                linear(self._width, self._width),
                linear(self._width, 2 * inner),
                linear(inner, self._width),
            )
            for _ in range(self._count)
        ]
        self._codes = [torch.nn.Embedding(626, self._width) for _ in range(4)]
        self._heads = linear(self._width, 4 * 626)

    def decode(self, batch: int, context: int, steps: int) -> Dict[str, Any]:
        import torch

        size = self._width // self._heads_count
        cache = torch.zeros(self._count, 2, batch, self._heads_count, context + steps, size)
        begin = _now()
        hidden = self._forward(torch.randn(batch, context, self._width), cache, 0)
        started = _now()
        for step in range(steps):
            embedded = _next_embedding(self._heads(hidden[:, -1]), self._codes, batch)
            hidden = self._forward(embedded, cache, context + step)
        return {"seconds": _now() - started, "steps": steps, "prefill_seconds": started - begin}

    def _forward(self, x: Any, cache: Any, start: int) -> Any:
        import torch
        from torch.nn import functional

        batch, length, width = x.shape
        size = width // self._heads_count
        for index, (packed, out, gate_up, down) in enumerate(self._layers):
            normed = functional.rms_norm(x, (width,))
            query, key, value = packed(normed).view(batch, length, 3, self._heads_count, size).permute(2, 0, 3, 1, 4)
            cache[index, 0, :, :, start : start + length] = _rotate(key, start)
            cache[index, 1, :, :, start : start + length] = value
            keys, values = cache[index, :, :, :, : start + length]
            mixed = functional.scaled_dot_product_attention(_rotate(query, start), keys, values, is_causal=length > 1)
            x = x + out(mixed.transpose(1, 2).reshape(batch, length, width))
            gate, up = gate_up(functional.rms_norm(x, (width,))).chunk(2, dim=-1)
            x = x + down(functional.silu(gate) * up)
        return functional.rms_norm(x, (width,)).to(torch.float32)


def _rotate(x: Any, start: int) -> Any:
    import torch

    half = x.shape[-1] // 2
    positions = torch.arange(start, start + x.shape[-2], dtype=torch.float32)
    angles = positions[:, None] / 10000.0 ** (torch.arange(half) / half)
    cos, sin = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _next_embedding(logits: Any, codes: Any, batch: int) -> Any:
    import torch

    drawn = torch.multinomial(torch.softmax(logits.view(batch * 4, 626) / 0.3, dim=-1), 1).view(batch, 4)
    return sum(table(drawn[:, position]) for position, table in enumerate(codes))[:, None]


def _with_tokenizer_files(checkpoint: Path) -> Path:
    """The checkpoint under links, with the two files that ``transformers`` wants beside a tokenizer."""
    folder = Path(tempfile.mkdtemp(prefix="reference-"))
    for path in sorted((checkpoint / "asset").rglob("*.*")):
        target = folder / path.relative_to(checkpoint)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path.resolve())
    beside = folder / "asset" / "tokenizer"
    for name, content in (
        ("tokenizer_config.json", {"tokenizer_class": "BertTokenizerFast", "model_max_length": 1 << 30}),
        ("special_tokens_map.json", {"pad_token": "[PAD]", "unk_token": "[UNK]"}),
    ):
        if not (beside / name).exists():
            (beside / name).write_text(json.dumps(content), encoding="utf-8")
    return folder


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _cpu() -> Any:
    import torch

    return torch.device("cpu")


def _dims(checkpoint: Path) -> Dict[str, int]:
    config: Dict[str, int] = json.loads((checkpoint / "asset" / "gpt" / "config.json").read_text(encoding="utf-8"))
    return config


def _versions(names: Any) -> Dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    _reference = Reference()
    for _line in sys.stdin:
        _request = json.loads(_line)
        try:
            _result = getattr(_reference, _request.pop("do"))(**_request)
        except Exception as _error:  # noqa: BLE001 - whatever went wrong belongs to the parent
            _result = {"error": f"{type(_error).__name__}: {_error}"}
        _answers.write(json.dumps(_result) + "\n")
        _answers.flush()
