"""Each layer against plain NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
from graph_running import run_builder

pytest.importorskip("onnx")

from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.layers import conv1d, convnext, layer_norm, rms_norm, skip_rms_norm
from chattts_onnx.convert.quantize import Quantizer, find_recipe

RNG = np.random.default_rng(3)
FP32 = Quantizer(find_recipe("fp32"))


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def erf_gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def norm_oracle(x, weight, bias, eps):
    x = x.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def rms_oracle(x, weight, eps):
    x = x.astype(np.float64)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * weight


def conv_oracle(x, weight, bias, padding, dilation=1, stride=1, groups=1):
    """Convolution by its definition."""
    batch, _, length = x.shape
    out, per_group, kernel = weight.shape
    x = np.pad(x.astype(np.float64), ((0, 0), (0, 0), (padding, padding)))
    steps = (length + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    result = np.zeros((batch, out, steps))
    for o in range(out):
        first = o // (out // groups) * per_group
        for t in range(steps):
            window = x[:, first : first + per_group, t * stride : t * stride + dilation * (kernel - 1) + 1 : dilation]
            result[:, o, t] = (window * weight[o]).sum((1, 2))
    return result + (0 if bias is None else bias[None, :, None])


def test_norms(tmp_path):
    x, skip, weight, bias = normal(3, 5, 16), normal(3, 5, 16), normal(16), normal(16)
    g = GraphBuilder("norms")
    a, b = g.input("a", np.float32, ["B", "T", 16]), g.input("b", np.float32, ["B", "T", 16])
    g.output(rms_norm(g, a, weight, 1e-6, "rms"), "rms_out", np.float32, None)
    g.output(layer_norm(g, a, weight, bias, "layer"), "layer_out", np.float32, None)
    normed, total = skip_rms_norm(g, a, b, weight, 1e-6, "skip")
    g.output(normed, "normed", np.float32, None)
    g.output(total, "total", np.float32, None)
    rms, layer, normed, total = run_builder(g, {"a": x, "b": skip}, tmp_path)
    np.testing.assert_allclose(rms, rms_oracle(x, weight, 1e-6), atol=1e-5)
    np.testing.assert_allclose(layer, norm_oracle(x, weight, bias, 1e-6), atol=1e-5)
    np.testing.assert_allclose(normed, rms_oracle(x + skip, weight, 1e-6), atol=1e-5)
    np.testing.assert_array_equal(total, x + skip)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((6, 4, 3), {"padding": 1}),
        ((4, 1, 7), {"padding": 6, "dilation": 2, "groups": 4}),
        ((5, 4, 4), {"padding": 1, "stride": 2}),
    ],
)
@pytest.mark.parametrize("biased", [True, False])
def test_conv1d(tmp_path, shape, options, biased):
    x, weight, bias = normal(2, 4, 11), normal(*shape), normal(shape[0]) if biased else None
    g = GraphBuilder("conv")
    value = g.input("x", np.float32, ["B", 4, "L"])
    g.output(conv1d(g, FP32, value, weight, bias, "conv", **options), "y", np.float32, None)
    (found,) = run_builder(g, {"x": x}, tmp_path)
    np.testing.assert_allclose(found, conv_oracle(x, weight, bias, **options), atol=1e-5)


@pytest.mark.parametrize("dilation", [1, 2])
def test_convnext(tmp_path, dilation):
    width, inner = 8, 24
    weights = {
        "dwconv.weight": normal(width, 1, 7),
        "dwconv.bias": normal(width),
        "norm.weight": normal(width),
        "norm.bias": normal(width),
        "pwconv1.weight": normal(inner, width),
        "pwconv1.bias": normal(inner),
        "pwconv2.weight": normal(width, inner),
        "pwconv2.bias": normal(width),
        "scale": normal(width),
    }
    x = normal(2, 9, width)
    g = GraphBuilder("convnext")
    value = g.input("x", np.float32, ["B", "L", width])
    shape = g.op.Shape(value)
    rows = g.op.Reshape(value, g.ints(-1, width))
    g.output(convnext(g, FP32, rows, weights, shape, "block", dilation=dilation), "y", np.float32, None)
    (found,) = run_builder(g, {"x": x}, tmp_path)
    columns = np.swapaxes(x, 1, 2)
    mixed = conv_oracle(columns, weights["dwconv.weight"], weights["dwconv.bias"], 3 * dilation, dilation, 1, width)
    h = norm_oracle(np.swapaxes(mixed, 1, 2), weights["norm.weight"], weights["norm.bias"], 1e-6)
    h = erf_gelu(h @ weights["pwconv1.weight"].T + weights["pwconv1.bias"])
    h = (h @ weights["pwconv2.weight"].T + weights["pwconv2.bias"]) * weights["scale"]
    np.testing.assert_allclose(found.reshape(x.shape), x + h, atol=2e-4)


def test_finite_scalar_quantiser_round_trip(tmp_path):
    """What the code table says, by the definition of facts A10."""
    from chattts_onnx.convert.dvae import _code_values

    values = _code_values(625, 4)
    assert values.shape == (625, 4)
    for code in (0, 1, 5, 624, 312, 377):
        digits = [code // 5**i % 5 for i in range(4)]
        np.testing.assert_array_equal(values[code], [(digit - 2) / 2 for digit in digits])
    assert len({tuple(row) for row in values.tolist()}) == 625


def test_codes_that_are_no_power_of_an_odd_number_are_refused():
    from chattts_onnx.convert.dvae import _code_values
    from chattts_onnx.errors import CheckpointError

    for codes, dims in ((624, 4), (256, 4)):
        with pytest.raises(CheckpointError, match=f"{codes} codes of {dims} scalars"):
            _code_values(codes, dims)
