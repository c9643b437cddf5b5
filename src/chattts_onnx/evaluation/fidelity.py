"""How far a precision moves the model's numbers, before any of it is sound.

The recorded sequences of a calibration are run through the fp32 graphs and through another precision's, and the
distributions of the next codes are compared. It is the sharpest measure there is and needs no recogniser, but it says
only that something moved, not that anybody would hear it: error rates say that.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.config import Manifest
from chattts_onnx.errors import InputError
from chattts_onnx.session import create_session

Feeds = Sequence[Mapping[str, Any]]
Float = NDArray[np.float32]


@dataclass(frozen=True)
class Fidelity:
    """One precision against fp32 over the same sequences."""

    sequences: int
    cosine_mean: float
    """Of the code logits of one position and codebook with fp32's, each centred."""
    cosine_worst: float
    divergence_mean: float
    """Kullback-Leibler divergence from fp32's distribution to this one's, in nats, at temperature 1."""
    agreement: float
    """Share of positions and codebooks where the most probable code is the same."""
    hidden_cosine_mean: float
    """Of the hidden states, all positions: what the acoustic decoder hears."""
    mel_difference: Optional[float]
    """Mean absolute difference of the Decoder's log-mel on recorded hidden states; None if none were recorded."""


def compare(base: Path, other: Path, feeds: Mapping[str, Feeds], *, seed: int = 0, limit: int = 200) -> Fidelity:
    """Run both model directories over ``feeds`` (from `session.Recorder`).

    Each sequence is cut somewhere in its speech, so that the compared position is one where a code is drawn and not
    the end.

    Raises:
        InputError: no sequence of the language model was recorded.
    """
    recorded = list(feeds.get("gpt", ()))[:limit]
    if not recorded:
        raise InputError("nothing was recorded of the language model: make the file with `chattts calibrate`")
    generator = np.random.default_rng(seed)
    sequences = [_cut(feed, generator) for feed in recorded]
    expected, found = _Graph(base, "gpt"), _Graph(other, "gpt")
    cosines: List[Float] = []
    divergences: List[Float] = []
    agreements: List[float] = []
    hidden: List[Float] = []
    for feed in sequences:
        hidden_a, logits_a = expected.run_sequence(feed)
        hidden_b, logits_b = found.run_sequence(feed)
        cosines.append(_cosine(_centred(logits_a), _centred(logits_b)))
        divergences.append(_divergence(logits_a, logits_b))
        agreements.append(float(np.mean(logits_a.argmax(axis=-1) == logits_b.argmax(axis=-1))))
        hidden.append(_cosine(hidden_a, hidden_b))
    return Fidelity(
        sequences=len(sequences),
        cosine_mean=float(np.mean(np.concatenate(cosines))),
        cosine_worst=float(np.min(np.concatenate(cosines))),
        divergence_mean=float(np.mean(np.concatenate(divergences))),
        agreement=float(np.mean(agreements)),
        hidden_cosine_mean=float(np.mean(np.concatenate(hidden))),
        mel_difference=_mel_difference(base, other, list(feeds.get("decoder", ()))[: min(limit, 20)]),
    )


class _Graph:
    """One graph of a model directory, fed whole sequences with an empty cache."""

    def __init__(self, directory: Path, role: str) -> None:
        self._gpt = Manifest.load(directory).gpt
        self._session = create_session(Manifest.load(directory).path(directory, role), arena=role == "gpt")
        self._half = any(node.type == "tensor(float16)" for node in self._session.get_inputs())

    def run(self, feed: Mapping[str, Any]) -> List[Any]:
        return list(self._session.run(None, dict(feed)))

    def run_sequence(self, feed: Mapping[str, Any]) -> Tuple[Float, Float]:
        """Hidden states [T, H] and code logits [Q, V] of the last position."""
        length = feed["input_ids"].shape[1]
        inputs: Dict[str, Any] = {
            "input_ids": feed["input_ids"],
            "text_mask": feed["text_mask"],
            "speaker_embedding": feed["speaker_embedding"],
            "seqlens_k": np.array([length - 1], np.int32),
            "total_sequence_length": np.array(length, np.int32),
        }
        shape = (1, self._gpt.num_kv_heads, length, self._gpt.head_size)
        for layer in range(self._gpt.num_layers):
            for kind in ("key", "value"):
                inputs[f"past_{kind}_{layer}"] = np.zeros(shape, np.float16 if self._half else np.float32)
        hidden, logits = self._session.run(["hidden", "code_logits"], inputs)
        return hidden[0].astype(np.float32), logits[0].astype(np.float32)


def _cut(feed: Mapping[str, Any], generator: Any) -> Dict[str, Any]:
    mask = np.asarray(feed["text_mask"])
    length = mask.shape[1]
    codes = int(length - 1 - np.max(np.nonzero(mask[0])[0]))
    kept = length - int(generator.integers(0, codes)) if codes > 1 else length
    return {**feed, "input_ids": feed["input_ids"][:, :kept], "text_mask": mask[:, :kept]}


def _centred(values: Float) -> Float:
    centred: Float = values - values.mean(axis=-1, keepdims=True)
    return centred


def _cosine(a: Float, b: Float) -> Float:
    norms = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    cosine: Float = (a * b).sum(axis=-1) / np.maximum(norms, 1e-12)
    return cosine.ravel()


def _divergence(a: Float, b: Float) -> Float:
    log_a, log_b = _log_softmax(a), _log_softmax(b)
    divergence: Float = (np.exp(log_a) * (log_a - log_b)).sum(axis=-1)
    return divergence.ravel()


def _log_softmax(values: Float) -> Float:
    shifted = values.astype(np.float64) - values.max(axis=-1, keepdims=True)
    result: Float = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _mel_difference(base: Path, other: Path, feeds: Feeds) -> Optional[float]:
    if not feeds:
        return None
    expected, found = _Graph(base, "decoder"), _Graph(other, "decoder")
    return float(np.mean([np.abs(expected.run(feed)[0] - found.run(feed)[0]).mean() for feed in feeds]))
