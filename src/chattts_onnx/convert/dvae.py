"""The acoustic half without the vocoder: hidden states or codes to mel, and a recording to codes (facts A9, A10, A12).

``Decoder`` and the DVAE's decoder are one network with two inputs. A token is two mel frames: its channels are split
into halves, one a frame, which is a reshape when channels are last.
"""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np

from chattts_onnx.convert.checkpoint import Checkpoint, FloatArray, count_layers
from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.history import History
from chattts_onnx.convert.layers import conv1d, convnext, take_convnext, transposed
from chattts_onnx.convert.quantize import Quantizer
from chattts_onnx.errors import CheckpointError

DILATION = 2
"""Of the depthwise convolutions: the one number of these networks that no shape tells."""
FRAMES_PER_TOKEN = 2
RESIDUAL_SCALE = 0.25
"""Of the second residual quantiser: 1 / (levels - 1), as the library the model was trained with had it (facts A10)."""
BOUND = 1.001
"""tanh is stretched by this much so that the outermost levels are reached."""
MEL_FLOOR = 1e-5


def build_decoder(
    checkpoint: Checkpoint, hidden_size: int, q: Quantizer, postfilter: Optional[Checkpoint] = None
) -> Tuple[GraphBuilder, int, int]:
    """The graph ``decoder`` of docs/design.md, from ``Decoder.safetensors``.

    Args:
        checkpoint: that file.
        hidden_size: width of the GPT.
        q: how matrices are stored.
        postfilter: ``Postfilter.safetensors``, where the checkpoint has it: a linear map of the mel bands behind it
            all. A small Decoder blurs what is uncertain, and the map gives the spectrum back its contrast.

    Returns:
        The graph, mel bands, and how many mel frames to either side a frame depends on.
    """
    g = GraphBuilder("decoder")
    hidden = g.input("hidden", np.float32, ["B", "T", hidden_size])
    frames = g.op.Reshape(hidden, _unfolded(g, hidden, hidden_size))  # [B, 2T, H/2]
    n_mels, context = _to_mel(g, checkpoint, frames, hidden_size // FRAMES_PER_TOKEN, q, postfilter)
    return g, n_mels, context


def build_dvae_decoder(
    checkpoint: Checkpoint, codes_per_book: int, num_codebooks: int, q: Quantizer
) -> Tuple[GraphBuilder, int]:
    """The graph ``dvae_decoder`` of docs/design.md, from ``DVAE.safetensors``; returns it and its context in frames."""
    g = GraphBuilder("dvae_decoder")
    codes = g.input("codes", np.int64, ["B", "T", num_codebooks])
    groups = _count_groups(checkpoint, num_codebooks)
    residuals = num_codebooks // groups
    features = []
    with g.scope("quantizer"):
        dims = checkpoint.shape("vq_layer.quantizer.rvqs.0.project_out.weight")[1]
        values = g.weight("values", _code_values(codes_per_book, dims))
        for group in range(groups):
            total = ""
            for stage in range(residuals):
                index = g.constant(group * residuals + stage, np.int64)
                value = g.op.Gather(values, g.op.Gather(codes, index, axis=2), axis=0)  # [B, T, dims]
                scaled = g.op.Mul(value, g.scalar(RESIDUAL_SCALE**stage)) if stage else value
                total = g.op.Add(total, scaled) if stage else scaled
            prefix = f"vq_layer.quantizer.rvqs.{group}.project_out."
            wide = checkpoint.shape(prefix + "weight")[0]
            weight = transposed(checkpoint.take(prefix + "weight", (wide, dims)))
            bias = checkpoint.take(prefix + "bias", (wide,))
            projected = g.op.MatMul(total, g.weight(f"{group}.weight", weight))
            features.append(g.op.Add(projected, g.weight(f"{group}.bias", bias)))
    joined = g.op.Concat(*features, axis=2)  # [B, T, groups * wide]
    width = groups * wide
    frames = g.op.Reshape(joined, _unfolded(g, joined, width))  # [B, 2T, width / 2]
    _, context = _to_mel(g, checkpoint, frames, width // FRAMES_PER_TOKEN, q)
    return g, context


def build_dvae_encoder(
    checkpoint: Checkpoint, codes_per_book: int, num_codebooks: int, hop_length: int, q: Quantizer
) -> GraphBuilder:
    """The graph ``dvae_encoder`` of docs/design.md, from ``DVAE.safetensors``."""
    g = GraphBuilder("dvae_encoder")
    waveform = g.input("waveform", np.float32, ["B", "N"])
    mel, n_mels = _log_mel(g, checkpoint, waveform, hop_length)  # [B, n_mels, F]
    g.output(mel, "mel", np.float32, ["B", n_mels, "F"])
    coef = checkpoint.take("coef", (1, n_mels, 1))
    x = g.op.Div(mel, g.weight("coef", coef))
    for name, stride in (("downsample_conv.0", 1), ("downsample_conv.2", 2)):
        out, into, kernel = checkpoint.shape(name + ".weight")
        weight = checkpoint.take(name + ".weight", (None, n_mels if stride == 1 else into, kernel))
        bias = checkpoint.take(name + ".bias", (out,))
        x = g.op.Gelu(conv1d(g, q, x, weight, bias, name, padding=1, stride=stride))  # [B, C, F], then [B, C, F/2]
    rows, width, batch_shape, _ = _blocks(g, checkpoint, "encoder.", x, out, q)  # [B*T, width]
    codes = _encode_codes(g, checkpoint, rows, width, codes_per_book, num_codebooks)  # [B*T, Q]
    codes = g.op.Reshape(
        codes, g.op.Concat(g.op.Slice(batch_shape, g.ints(0), g.ints(2)), g.ints(num_codebooks), axis=0)
    )
    g.output(codes, "codes", np.int64, ["B", "T", num_codebooks])
    return g


def ignore_decoder(checkpoint: Checkpoint) -> None:
    """Mark what only the DVAE's decoder graph takes as known, for the pass that builds the encoder."""
    for name in checkpoint.names():
        if name.startswith(("decoder.", "out_conv.")) or ".project_out." in name:
            checkpoint.ignore(name)


def ignore_encoder(checkpoint: Checkpoint) -> None:
    """Mark what only the DVAE's encoder graph takes as known, for the pass that builds the decoder."""
    for name in checkpoint.names():
        if name.startswith(("encoder.", "downsample_conv.", "preprocessor_mel.")) or ".project_in." in name:
            checkpoint.ignore(name)


def _unfolded(g: GraphBuilder, x: str, width: int) -> str:
    """Shape that turns tokens [B, T, width] into frames [B, 2T, width / 2]."""
    batch = g.op.Shape(x, start=0, end=1)
    return g.op.Concat(batch, g.ints(-1, width // FRAMES_PER_TOKEN), axis=0)


def _to_mel(
    g: GraphBuilder,
    checkpoint: Checkpoint,
    frames: str,
    width: int,
    q: Quantizer,
    postfilter: Optional[Checkpoint] = None,
) -> Tuple[int, int]:
    """Frames [B, F, width] to the output ``mel`` [B, n_mels, F]; returns mel bands and the context in frames."""
    history = History(g, g.op.Shape(frames, start=0, end=1))
    x = g.op.Transpose(frames, perm=[0, 2, 1])
    rows, out, shape, context = _blocks(g, checkpoint, "decoder.", x, width, q, history)
    n_mels = checkpoint.shape("coef")[1]
    columns = g.op.Transpose(g.op.Reshape(rows, shape), perm=[0, 2, 1])  # [B, out, F]
    weight = checkpoint.take("out_conv.weight", (n_mels, out, 3))
    # The coefficient multiplies what comes out of a convolution without bias, so it is folded into its weights.
    coef = checkpoint.take("coef", (1, n_mels, 1))
    weight = weight * coef.reshape(-1, 1, 1)
    mel = conv1d(g, q, columns, weight, None, "out_conv", padding=1, history=history)
    if postfilter is not None:
        weight = postfilter.take("weight", (n_mels, n_mels))
        mel = conv1d(g, q, mel, weight[:, :, None], postfilter.take("bias", (n_mels,)), "postfilter")
    g.output(mel, "mel", np.float32, ["B", n_mels, "F"])
    history.finish()
    return n_mels, context + 1


def _blocks(
    g: GraphBuilder,
    checkpoint: Checkpoint,
    prefix: str,
    x: str,
    width: int,
    q: Quantizer,
    history: Optional[History] = None,
) -> Tuple[str, int, str, int]:
    """The trunk of encoder and decoders, on columns ``x`` [B, width, L].

    Returns:
        Rows [B*L, out], out, a value of shape [3] holding B, L, -1, and the context in frames.
    """
    narrow = checkpoint.shape(prefix + "conv_in.0.weight")[0]
    channels = checkpoint.shape(prefix + "conv_in.2.weight")[0]
    with g.scope(prefix.rstrip(".")):
        x = _conv3(g, q, checkpoint, prefix + "conv_in.0", x, (narrow, width, 3), history)
        x = _conv3(g, q, checkpoint, prefix + "conv_in.2", g.op.Gelu(x), (channels, narrow, 3), history)  # [B, C, L]
        x = g.op.Transpose(x, perm=[0, 2, 1])  # [B, L, C]
        shape = g.op.Concat(g.op.Shape(x, start=0, end=2), g.ints(-1), axis=0)
        rows = g.op.Reshape(x, g.ints(-1, channels))
        context = 2
        for i in range(count_layers(checkpoint, prefix + "decoder_block.")):
            weights = take_convnext(checkpoint, f"{prefix}decoder_block.{i}.", channels, "weight")
            context += DILATION * (weights["dwconv.weight"].shape[2] // 2)
            rows = convnext(g, q, rows, weights, shape, f"blocks.{i}", dilation=DILATION, history=history)
        out = checkpoint.shape(prefix + "conv_out.weight")[0]
        weight = checkpoint.take(prefix + "conv_out.weight", (out, channels, 1))[:, :, 0]
        rows = q.matmul(g, rows, transposed(weight), "conv_out")  # [B*L, out]
    return rows, out, shape, context


def _conv3(
    g: GraphBuilder,
    q: Quantizer,
    checkpoint: Checkpoint,
    name: str,
    x: str,
    shape: Tuple[int, int, int],
    history: Optional[History],
) -> str:
    weight, bias = checkpoint.take(name + ".weight", shape), checkpoint.take(name + ".bias", shape[:1])
    return conv1d(g, q, x, weight, bias, name.split(".", 1)[1], padding=1, history=history)


def _log_mel(g: GraphBuilder, checkpoint: Checkpoint, waveform: str, hop_length: int) -> Tuple[str, int]:
    """log(max(mel, floor)) [B, n_mels, 1 + N // hop] of a waveform [B, N], magnitudes over centred windows."""
    prefix = "preprocessor_mel.mel_spec."
    n_fft = checkpoint.shape(prefix + "spectrogram.window")[0]
    bins = n_fft // 2 + 1
    window = checkpoint.take(prefix + "spectrogram.window", (n_fft,))
    bank = checkpoint.take(prefix + "mel_scale.fb", (bins, None))
    with g.scope("mel"):
        padded = g.op.Pad(waveform, g.ints(0, n_fft // 2, 0, n_fft // 2), mode="reflect")
        signal = g.op.Unsqueeze(padded, g.ints(-1))  # [B, N + n_fft, 1]
        hop = g.constant(hop_length, np.int64)
        spectrum = g.op.STFT(signal, hop, g.weight("window", window), g.constant(n_fft, np.int64), onesided=1)
        magnitude = g.op.ReduceL2(spectrum, g.ints(-1), keepdims=0)  # [B, F, bins]
        mel = g.op.MatMul(magnitude, g.weight("bank", bank))  # [B, F, n_mels]
        mel = g.op.Log(g.op.Max(mel, g.scalar(MEL_FLOOR)))
        return g.op.Transpose(mel, perm=[0, 2, 1]), bank.shape[1]


def _encode_codes(
    g: GraphBuilder, checkpoint: Checkpoint, rows: str, width: int, codes_per_book: int, num_codebooks: int
) -> str:
    """Grouped residual finite scalar quantisation of rows [R, width] to codes [R, Q] (facts A10)."""
    groups = _count_groups(checkpoint, num_codebooks)
    narrow = width // groups
    codes: List[str] = []
    with g.scope("quantizer"):
        for group, part in enumerate(g.node("Split", rows, outputs=groups, axis=1, num_outputs=groups)):
            prefix = f"vq_layer.quantizer.rvqs.{group}.project_in."
            dims = checkpoint.shape(prefix + "weight")[0]
            levels = _levels(codes_per_book, dims)
            weight = transposed(checkpoint.take(prefix + "weight", (dims, narrow)))
            bias = checkpoint.take(prefix + "bias", (dims,))
            residual = g.op.Add(g.op.MatMul(part, g.weight(f"{group}.weight", weight)), g.weight(f"{group}.bias", bias))
            residual = _bound(g, residual, levels)
            basis = g.constant(levels ** np.arange(dims), np.float32)
            half = levels // 2
            for stage in range(num_codebooks // groups):
                scale = RESIDUAL_SCALE**stage
                scaled = g.op.Div(residual, g.scalar(scale)) if stage else residual
                level = g.op.Round(_bound(g, scaled, levels))  # half to even; -half … half
                index = g.op.ReduceSum(g.op.Mul(g.op.Add(level, g.scalar(half)), basis), g.ints(1), keepdims=1)
                codes.append(g.op.Cast(index, to=g.dtype(np.int64)))
                residual = g.op.Sub(residual, g.op.Mul(level, g.scalar(scale / half)))
    return g.op.Concat(*codes, axis=1)


def _bound(g: GraphBuilder, x: str, levels: int) -> str:
    """tanh(x) stretched to just over half the levels, so that rounding reaches the outermost."""
    return g.op.Mul(g.op.Tanh(x), g.scalar((levels - 1) * BOUND / 2))


def _levels(codes: int, dims: int) -> int:
    """Levels of each scalar: codes = levels ** dims, an odd number."""
    levels: int = round(codes ** (1.0 / dims))
    if levels**dims != codes or levels % 2 == 0:
        raise CheckpointError(
            f"{codes} codes of {dims} scalars: not the same odd number of levels each, as the published model has"
        )
    return levels


def _code_values(codes: int, dims: int) -> FloatArray:
    """The point [-1, 1]^dims each code stands for: index = sum of level_i * levels ** i."""
    levels = _levels(codes, dims)
    digits = np.arange(codes)[:, None] // levels ** np.arange(dims) % levels
    return ((digits - levels // 2) / (levels // 2)).astype(np.float32)


def _count_groups(checkpoint: Checkpoint, num_codebooks: int) -> int:
    groups = count_layers(checkpoint, "vq_layer.quantizer.rvqs.")
    if num_codebooks % groups:
        raise CheckpointError(
            f"{checkpoint.path}: {groups} quantiser groups cannot share {num_codebooks} codebooks: "
            "the file is of another model than Embed.safetensors"
        )
    return groups
