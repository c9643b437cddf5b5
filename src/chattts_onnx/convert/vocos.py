"""Vocos, mel to spectrum (facts A11). The inverse STFT is left to ``audio/vocoder.py``: an FFT over rows is faster in
NumPy than as a matrix product in the graph, and streaming needs the overlap in its own hands.
"""

from __future__ import annotations

from typing import Tuple

import numpy as np

from chattts_onnx.convert.checkpoint import Checkpoint, count_layers
from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.history import History
from chattts_onnx.convert.layers import conv1d, convnext, layer_norm, take_convnext, transposed
from chattts_onnx.convert.quantize import Quantizer
from chattts_onnx.errors import CheckpointError

MAX_MAGNITUDE = 100.0


def build_vocos(checkpoint: Checkpoint, n_mels: int, n_fft: int, q: Quantizer) -> Tuple[GraphBuilder, int]:
    """The graph ``vocos`` of docs/design.md, from ``Vocos.safetensors``.

    Returns:
        The graph, and how many mel frames to either side a spectral frame depends on.
    """
    g = GraphBuilder("vocos")
    for name in ("feature_extractor.mel_spec.spectrogram.window", "feature_extractor.mel_spec.mel_scale.fb"):
        checkpoint.ignore(name)  # the mel front end is the DVAE encoder's; Vocos' own copy is for training
    mel = g.input("mel", np.float32, ["B", n_mels, "F"])
    channels, _, kernel = checkpoint.shape("backbone.embed.weight")
    weight = checkpoint.take("backbone.embed.weight", (channels, n_mels, kernel))
    bias = checkpoint.take("backbone.embed.bias", (channels,))
    history = History(g, g.op.Shape(mel, start=0, end=1))
    x = conv1d(g, q, mel, weight, bias, "embed", padding=kernel // 2, history=history)  # [B, C, F]
    x = g.op.Transpose(x, perm=[0, 2, 1])  # [B, F, C]
    shape = g.op.Concat(g.op.Shape(x, start=0, end=2), g.ints(-1), axis=0)
    rows = g.op.Reshape(x, g.ints(-1, channels))  # [B*F, C]
    rows = _norm(g, checkpoint, rows, channels, "norm")
    context = kernel // 2
    for i in range(count_layers(checkpoint, "backbone.convnext.")):
        weights = take_convnext(checkpoint, f"backbone.convnext.{i}.", channels, "gamma")
        context += weights["dwconv.weight"].shape[2] // 2
        rows = convnext(g, q, rows, weights, shape, f"blocks.{i}", dilation=1, history=history)
    rows = _norm(g, checkpoint, rows, channels, "final_layer_norm")
    bins = n_fft // 2 + 1
    window = checkpoint.take("head.istft.window", (n_fft,))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    if float(np.max(np.abs(window - hann))) > 1e-3:
        raise CheckpointError(
            f"{checkpoint.path}: head.istft.window is not the periodic Hann window that the inverse STFT of the run "
            "time assumes: only checkpoints with the published window convert"
        )
    weight = checkpoint.take("head.out.weight", (2 * bins, channels))
    out = q.matmul(g, rows, transposed(weight), "head")  # [B*F, 2 * bins]
    out = g.op.Add(out, g.weight("head.bias", checkpoint.take("head.out.bias", (2 * bins,))))
    log_magnitude, phase = g.node("Split", out, outputs=2, axis=1, num_outputs=2)
    magnitude = g.op.Min(g.op.Exp(log_magnitude), g.scalar(MAX_MAGNITUDE))
    for name, part in (("real", g.op.Cos(phase)), ("imag", g.op.Sin(phase))):
        g.output(g.op.Reshape(g.op.Mul(magnitude, part), shape), name, np.float32, ["B", "F", bins])
    history.finish()
    return g, context


def _norm(g: GraphBuilder, checkpoint: Checkpoint, rows: str, channels: int, name: str) -> str:
    weight = checkpoint.take(f"backbone.{name}.weight", (channels,))
    return layer_norm(g, rows, weight, checkpoint.take(f"backbone.{name}.bias", (channels,)), name)
