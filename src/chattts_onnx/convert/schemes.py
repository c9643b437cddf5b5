"""The ways a matrix can be stored and multiplied, each as the nodes it becomes.

Whatever the scheme, a row of the result depends on its own row of the input alone: a scale shared by all rows would let
one request change, or with a NaN destroy, its neighbours in the batch. That rules out ``DynamicQuantizeLinear`` and
``DynamicQuantizeMatMul``; the per-row scale written out here costs the same.
"""

from __future__ import annotations

from typing import Callable, Dict, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.convert.graph import GraphBuilder

FloatArray = NDArray[np.float32]
BLOCK = 32
"""Inputs that share a scale in the int4 scheme."""
_ACTIVATION_LEVELS = 127
_ZERO_POINT = 128
_PAIR_LIMIT = 128
"""255 * 128 is the last product that fits 16 bits."""


def fp32(g: GraphBuilder, x: str, weight: FloatArray, name: str, scale: Optional[float]) -> str:
    """float32 weights."""
    del scale
    return g.op.MatMul(x, g.weight(f"{name}.weight", weight))


def fp16(g: GraphBuilder, x: str, weight: FloatArray, name: str, scale: Optional[float]) -> str:
    """float16 weights and activations, for GPUs."""
    del scale
    return g.op.MatMul(x, g.weight(f"{name}.weight", weight.astype(np.float16)))


def fp16_weights(g: GraphBuilder, x: str, weight: FloatArray, name: str, scale: Optional[float]) -> str:
    """float16 weights that ONNX Runtime turns into float32 as it loads them: half the file, the arithmetic of fp32."""
    del scale
    stored = g.weight(f"{name}.weight", weight.astype(np.float16))
    return g.op.MatMul(x, g.op.Cast(stored, to=g.dtype(np.float32)))


def int8_row(g: GraphBuilder, x: str, weight: FloatArray, name: str, scale: Optional[float]) -> str:
    """8-bit weights with a scale per output, 8-bit activations with a scale per row, found as the row comes."""
    del scale
    quantised, scales = round_int8(weight)
    largest = g.op.ReduceMax(g.op.Abs(x), g.ints(-1), keepdims=1)
    step = g.scalar(1.0 / _ACTIVATION_LEVELS)
    # Unsigned with zero point 128: signed activations fall into a kernel that is 30 times slower. A row of zeros is
    # 0 / 0 here, and any number times its scale of 0 below.
    levels = g.op.QuantizeLinear(g.op.Div(x, largest), step, g.constant(_ZERO_POINT, np.uint8))
    return g.op.Mul(_integer_matmul(g, levels, step, quantised, scales, name), largest)


def int8_static(g: GraphBuilder, x: str, weight: FloatArray, name: str, scale: Optional[float]) -> str:
    """As `int8_row`, with one activation scale for all rows, known from calibration."""
    if scale is None:
        return int8_row(g, x, weight, name, None)
    quantised, scales = round_int8(weight)
    step = g.scalar(scale / _ACTIVATION_LEVELS)
    levels = g.op.QuantizeLinear(x, step, g.constant(_ZERO_POINT, np.uint8))
    return _integer_matmul(g, levels, step, quantised, scales, name)


def int4_block(g: GraphBuilder, x: str, weight: FloatArray, name: str, scale: Optional[float]) -> str:
    """4-bit weights with a scale per 32 inputs; ONNX Runtime quantises activations to 8 bits per row and block."""
    del scale
    packed, scales = round_int4(weight)
    rows, columns = weight.shape
    return g.op.MatMulNBits(
        x,
        g.weight(f"{name}.weight", packed),
        g.weight(f"{name}.scale", scales),
        K=rows,
        N=columns,
        bits=4,
        block_size=BLOCK,
        accuracy_level=4,
    )


SCHEMES: Dict[str, Callable[[GraphBuilder, str, FloatArray, str, Optional[float]], str]] = {
    "fp32": fp32,
    "fp16": fp16,
    "fp16-weights": fp16_weights,
    "int8-row": int8_row,
    "int8-static": int8_static,
    "int4-block": int4_block,
}


def round_int8(weight: FloatArray) -> Tuple[NDArray[np.int8], FloatArray]:
    """Round a matrix [in, out] to int8 with a scale per output.

    CPUs without VNNI multiply unsigned by signed bytes and add two neighbours in 16 bits, where 255 * (127 + 127) does
    not fit. The range is therefore narrowed, per output, to where no pair of neighbours can overflow whatever the
    activations are: 127 levels where large weights stand alone, 64 (7 bits) at worst, about 95 in practice.

    Returns:
        Levels [in, out] and scales [out]; weight is about levels * scales.
    """
    largest = np.max(np.abs(weight), axis=0)
    even = weight.shape[0] // 2 * 2
    pairs = np.abs(weight[0:even:2] + weight[1:even:2])
    pair = np.max(pairs, axis=0) if even else largest
    # Rounding may add half a level to each of a pair.
    scales = np.maximum(largest / 127.0, pair / (_PAIR_LIMIT - 1.0)).astype(np.float32)
    scales[scales == 0] = 1.0
    levels = np.rint(weight / scales).astype(np.int8)
    return levels, scales


def round_int4(weight: FloatArray) -> Tuple[NDArray[np.uint8], FloatArray]:
    """Round a matrix [in, out] to 4 bits with a scale per `BLOCK` inputs, as MatMulNBits stores it.

    The value farthest from zero becomes level -8, so all sixteen levels are used; of a few scales around that one, each
    block takes the one with the least squared error.

    Returns:
        Two levels a byte [out, blocks, BLOCK / 2], and scales [out * blocks].
    """
    rows, columns = weight.shape
    blocks = -(-rows // BLOCK)
    padded = np.zeros((columns, blocks * BLOCK), np.float32)
    padded[:, :rows] = weight.T
    values = padded.reshape(-1, BLOCK)
    extreme = np.take_along_axis(values, np.argmax(np.abs(values), axis=1)[:, None], axis=1)
    best = np.full((len(values), 1), np.inf, np.float32)
    scales = np.ones_like(best)
    for divisor in (-8.0, -7.4, -8.8, 7.4, -6.8):
        candidate = extreme / np.float32(divisor)
        candidate[candidate == 0] = 1.0
        error = values - np.clip(np.rint(values / candidate), -8, 7) * candidate
        squared = np.sum(error * error, axis=1, keepdims=True)
        better = squared < best
        best = np.where(better, squared, best)
        scales = np.where(better, candidate, scales)
    levels = (np.clip(np.rint(values / scales), -8, 7) + 8).astype(np.uint8)
    scales[extreme == 0] = 0.0  # a block of zeros is to be zero, not nearly
    packed = np.asarray(levels[:, 0::2] | (levels[:, 1::2] << 4), np.uint8)
    return packed.reshape(columns, blocks, BLOCK // 2), scales.reshape(-1)


def _integer_matmul(
    g: GraphBuilder, levels: str, step: str, weight: NDArray[np.int8], scales: FloatArray, name: str
) -> str:
    return g.op.MatMulIntegerToFloat(
        levels,
        g.weight(f"{name}.weight", weight),
        step,
        g.weight(f"{name}.scale", scales),
        g.constant(_ZERO_POINT, np.uint8),
    )
