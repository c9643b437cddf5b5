"""The pieces the five networks share, each emitting its nodes into a ``GraphBuilder``.

Channels are last wherever they can be: a matrix product, a norm and a per-row quantisation scale all see one token (or
one mel frame) per row, so what one row computes cannot depend on its neighbours. Only attention and convolutions see
the time axis.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.convert.checkpoint import Checkpoint, FloatArray
from chattts_onnx.convert.graph import Array, GraphBuilder
from chattts_onnx.convert.history import History
from chattts_onnx.convert.quantize import Quantizer

CONVNEXT_EPS = 1e-6
"""LayerNorm epsilon of every ConvNeXt block (facts A9, A11)."""


def transposed(weight: FloatArray) -> NDArray[np.float32]:
    """A PyTorch linear weight [out, in] as the right-hand side of a product, [in, out]."""
    return np.ascontiguousarray(weight.T)


def rms_norm(g: GraphBuilder, x: str, weight: Array, eps: float, name: str) -> str:
    """Root-mean-square norm over the last axis."""
    # The operator lives in the default domain of ONNX Runtime though no ONNX opset up to 21 has it.
    return g.op.SimplifiedLayerNormalization(x, g.weight(name, weight), axis=-1, epsilon=eps, stash_type=1)


def skip_rms_norm(g: GraphBuilder, x: str, skip: str, weight: Array, eps: float, name: str) -> Tuple[str, str]:
    """``h = x + skip``; returns the norm of h and h, from one fused operator."""
    label = g.path(name)
    normed, _, _, total = g.node(
        "SkipSimplifiedLayerNormalization",
        x,
        skip,
        g.weight(name, weight),
        names=[label + "/normed", "", "", label + "/sum"],
        epsilon=eps,
    )
    return normed, total


def layer_norm(g: GraphBuilder, x: str, weight: FloatArray, bias: FloatArray, name: str) -> str:
    """Layer norm over the last axis."""
    return g.op.LayerNormalization(
        x, g.weight(name + ".weight", weight), g.weight(name + ".bias", bias), axis=-1, epsilon=CONVNEXT_EPS
    )


def conv1d(
    g: GraphBuilder,
    q: Quantizer,
    x: str,
    weight: FloatArray,
    bias: Optional[FloatArray],
    name: str,
    *,
    padding: int = 0,
    dilation: int = 1,
    stride: int = 1,
    groups: int = 1,
    history: Optional[History] = None,
) -> str:
    """Convolution over the last axis of ``x`` [B, C, L]: zero padded, on the left with ``history`` if there is one."""
    pads = [padding, padding]
    if history is not None:
        x, pads = history.extend(x, weight.shape[1] * groups, padding), [0, padding]
    inputs = [x, q.stored(g, weight, name + ".weight")]
    if bias is not None:
        inputs.append(g.weight(name + ".bias", bias))
    return g.op.Conv(
        *inputs,
        kernel_shape=[weight.shape[2]],
        pads=pads,
        dilations=[dilation],
        strides=[stride],
        group=groups,
    )


def convnext(
    g: GraphBuilder,
    q: Quantizer,
    x: str,
    weights: Dict[str, FloatArray],
    shape: str,
    name: str,
    *,
    dilation: int,
    history: Optional[History] = None,
) -> str:
    """One ConvNeXt block on rows ``x`` [B*L, C].

    Args:
        g: graph.
        q: how its two matrices are stored.
        x: rows.
        weights: from `take_convnext`.
        shape: value of shape [3] holding B, L, C.
        name: scope.
        dilation: of the depthwise convolution.
        history: what the convolution has on its left, in a graph that streams.

    Returns:
        Rows [B*L, C].
    """
    with g.scope(name):
        channels, _, kernel = weights["dwconv.weight"].shape
        # [B, L, C] -> [B, C, L] for the depthwise convolution and back to rows
        columns = g.op.Transpose(g.op.Reshape(x, shape), perm=[0, 2, 1])
        mixed = conv1d(
            g,
            q,
            columns,
            weights["dwconv.weight"],
            weights["dwconv.bias"],
            "dwconv",
            padding=dilation * (kernel // 2),
            dilation=dilation,
            groups=channels,
            history=history,
        )
        rows = g.op.Reshape(g.op.Transpose(mixed, perm=[0, 2, 1]), g.ints(-1, channels))  # [B*L, C]
        rows = layer_norm(g, rows, weights["norm.weight"], weights["norm.bias"], "norm")
        inner = q.matmul(g, rows, transposed(weights["pwconv1.weight"]), "pwconv1")  # [B*L, inner]
        inner = g.op.BiasGelu(inner, g.weight("pwconv1.bias", weights["pwconv1.bias"]))
        # The layer scale multiplies what comes out of the last product, so it is folded into its weights.
        scale = weights["scale"]
        out = q.matmul(g, inner, transposed(weights["pwconv2.weight"] * scale[:, None]), "pwconv2")  # [B*L, C]
        out = g.op.Add(out, g.weight("pwconv2.bias", weights["pwconv2.bias"] * scale))
        return g.op.Add(x, out)


def take_convnext(checkpoint: Checkpoint, prefix: str, channels: int, scale: str) -> Dict[str, FloatArray]:
    """Read one ConvNeXt block.

    Args:
        checkpoint: file.
        prefix: of the block's tensors, ending in a dot.
        channels: C.
        scale: name of the layer scale: ``gamma`` in Vocos, ``weight`` in ChatTTS' own blocks; older files of those have
            ``gamma``, which is taken instead.
    """
    kernel = checkpoint.shape(prefix + "dwconv.weight")[2]
    inner = checkpoint.shape(prefix + "pwconv1.weight")[0]
    shapes = {
        "dwconv.weight": (channels, 1, kernel),
        "dwconv.bias": (channels,),
        "norm.weight": (channels,),
        "norm.bias": (channels,),
        "pwconv1.weight": (inner, channels),
        "pwconv1.bias": (inner,),
        "pwconv2.weight": (channels, inner),
        "pwconv2.bias": (channels,),
    }
    weights = {name: checkpoint.take(prefix + name, shape) for name, shape in shapes.items()}
    if prefix + scale not in checkpoint and prefix + "gamma" in checkpoint:
        scale = "gamma"
    weights["scale"] = checkpoint.take(prefix + scale, (channels,))
    return weights
