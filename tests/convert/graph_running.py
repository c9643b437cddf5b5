"""Running one graph, and the language model's step loop, as plainly as it can be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

import numpy as np

from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.session import create_session


def run_builder(builder: GraphBuilder, feeds: Dict[str, np.ndarray], directory: Path) -> List[np.ndarray]:
    """All outputs of a graph that is still in the builder."""
    path = directory / f"{builder.name}.onnx"
    builder.save(path)
    return create_session(path, threads=1).run(None, feeds)


def open_graph(directory: Path, role: str) -> Any:
    # The arena is what ONNX Runtime 1.19's GroupQueryAttention needs: see session.py.
    return create_session(directory / f"{role}.onnx", threads=1, arena=True)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


class LanguageModel:
    """The graph ``gpt`` with a cache that is passed by copy: slow, and nothing to get wrong."""

    def __init__(self, directory: Path, session: Optional[Any] = None) -> None:
        self.config = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))["gpt"]
        self.session = session or open_graph(directory, "gpt")
        past = next(value for value in self.session.get_inputs() if value.name == "past_key_0")
        self.dtype = np.float16 if "float16" in past.type else np.float32
        self.names = [f"{kind}_{i}" for i in range(self.config["num_layers"]) for kind in ("key", "value")]

    def empty_cache(self, batch: int, capacity: int) -> Dict[str, np.ndarray]:
        shape = (batch, self.config["num_kv_heads"], capacity, self.config["head_size"])
        return {name: np.zeros(shape, self.dtype) for name in self.names}

    def step(
        self,
        ids: np.ndarray,
        text_mask: np.ndarray,
        speaker: np.ndarray,
        lengths: Sequence[int],
        cache: Dict[str, np.ndarray],
        *extra: str,
    ) -> List[np.ndarray]:
        """One run; ``lengths`` count this call's tokens. Updates ``cache``; returns hidden, logits and ``extra``."""
        feeds = {
            "input_ids": np.asarray(ids, np.int64),
            "text_mask": text_mask,
            "speaker_embedding": np.asarray(speaker, np.float32),
            "seqlens_k": np.asarray(lengths, np.int32) - 1,
            "total_sequence_length": np.array(max(lengths), np.int32),
            **{f"past_{name}": value for name, value in cache.items()},
        }
        wanted = ["hidden", "code_logits", *extra]
        results = self.session.run([*wanted, *(f"present_{name}" for name in self.names)], feeds)
        cache.update(zip(self.names, results[len(wanted) :]))
        return results[: len(wanted)]

    def decode(
        self, ids: np.ndarray, text_mask: np.ndarray, speaker: np.ndarray, codes: np.ndarray
    ) -> Dict[str, np.ndarray]:
        """Prefill one row [T, Q], then feed it ``codes`` [N, Q]: the hidden state and logits that predict each."""
        length = len(ids)
        cache = self.empty_cache(1, length + len(codes))
        hidden, logits = self.step(ids[None], text_mask[None], speaker[None], [length], cache)
        result = {"prefill": hidden[0], "hidden": [hidden[0, -1]], "logits": [logits[0]]}
        for step, code in enumerate(codes[:-1]):
            hidden, logits = self.step(
                code[None, None], np.zeros((1, 1), bool), speaker[None], [length + step + 1], cache
            )
            result["hidden"].append(hidden[0, -1])
            result["logits"].append(logits[0])
        return {name: np.asarray(value) for name, value in result.items()}


def inverse_stft(real: np.ndarray, imag: np.ndarray, hop: int) -> np.ndarray:
    """Overlap-add of [F, bins] with a Hann window, the half window at both ends cut off."""
    frames = np.fft.irfft(real.astype(np.float64) + 1j * imag.astype(np.float64), axis=1)
    count, size = frames.shape
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    total, weight = np.zeros((count - 1) * hop + size), np.zeros((count - 1) * hop + size)
    for i, frame in enumerate(frames):
        total[i * hop : i * hop + size] += frame * window
        weight[i * hop : i * hop + size] += window**2
    return total[size // 2 : -size // 2] / weight[size // 2 : -size // 2]
