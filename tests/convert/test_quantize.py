"""Recipes are matched in order; every scheme stays near fp32, on its own row, on every CPU."""

from __future__ import annotations

import numpy as np
import pytest
from graph_running import LanguageModel, cosine, inverse_stft, open_graph, run_builder
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx")

from chattts_onnx.convert import schemes
from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.package import convert
from chattts_onnx.convert.quantize import RECIPES, Quantizer, QuantRecipe, find_recipe
from chattts_onnx.errors import InputError

RNG = np.random.default_rng(11)


def product(scheme, weight, x, tmp_path, scale=None):
    g = GraphBuilder(scheme)
    dtype = np.float16 if scheme == "fp16" else np.float32
    value = g.input("x", dtype, ["B", "T", weight.shape[0]])
    g.output(schemes.SCHEMES[scheme](g, value, weight, "m", scale), "y", dtype, None)
    return run_builder(g, {"x": x.astype(dtype)}, tmp_path)[0]


def test_the_first_rule_that_matches_wins():
    recipe = QuantRecipe("r", (("gpt/*/o_proj", "int8-row"), ("gpt/*", "int4-block")))
    assert recipe.scheme("gpt/layers.3/o_proj") == "int8-row"
    assert recipe.scheme("gpt/layers.3/qkv_proj") == "int4-block"
    assert recipe.scheme("vocos/head") == "fp32"


def test_rules_name_schemes_that_exist():
    for recipe in RECIPES.values():
        assert {scheme for _, scheme in recipe.rules} <= set(schemes.SCHEMES)
        assert find_recipe(recipe.name) is recipe


def test_unknown_precision_names_the_known():
    with pytest.raises(InputError, match="unknown precision 'int3': use one of fp32, fp16, int8, int4, int8-static"):
        find_recipe("int3")


@pytest.mark.parametrize(
    ("scheme", "bound"),
    [
        ("fp32", 1e-6),
        ("fp16", 1e-3),
        ("fp16-weights", 1e-3),
        ("int8-row", 0.02),
        ("int8-static", 0.03),
        ("int4-block", 0.11),
    ],
)
@pytest.mark.parametrize("inputs", [96, 100])
def test_error_of_a_product(tmp_path, scheme, bound, inputs):
    weight = RNG.standard_normal((inputs, 80)).astype(np.float32)
    x = RNG.standard_normal((2, 5, inputs)).astype(np.float32)
    expected = x.astype(np.float64) @ weight
    found = product(scheme, weight, x, tmp_path, float(np.abs(x).max()))
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < bound


@pytest.mark.parametrize("scheme", ["fp32", "int8-row", "int8-static", "int4-block"])
def test_a_row_does_not_depend_on_its_neighbours(tmp_path, scheme):
    weight = RNG.standard_normal((256, 96)).astype(np.float32)
    x = RNG.standard_normal((7, 1, 256)).astype(np.float32)
    expected = product(scheme, weight, x, tmp_path, 4.0)
    x[2] = np.nan
    x[5] *= 1e6
    found = product(scheme, weight, x, tmp_path, 4.0)
    keep = [0, 1, 3, 4, 6]
    np.testing.assert_array_equal(found[keep], expected[keep])
    assert not np.any(np.isfinite(found[2])) or scheme == "int8-static"


@pytest.mark.parametrize("scheme", ["int8-row", "int8-static"])
@pytest.mark.parametrize("rows", [1, 2, 3, 8])
def test_int8_is_bit_exact_in_any_batch(tmp_path, scheme, rows):
    weight = RNG.standard_normal((256, 96)).astype(np.float32)
    x = RNG.standard_normal((8, 1, 256)).astype(np.float32)
    together = product(scheme, weight, x, tmp_path, 4.0)
    np.testing.assert_array_equal(product(scheme, weight, x[:rows], tmp_path, 4.0), together[:rows])


def test_int8_products_are_the_integers_they_should_be(tmp_path):
    """On a CPU without VNNI this fails for weights that use the whole range; docs/convert.md has the figures."""
    weight = RNG.standard_normal((768, 96)).astype(np.float32)
    x = (4 * RNG.standard_normal((1, 5, 768))).astype(np.float32)
    levels, scales = schemes.round_int8(weight)
    largest = np.abs(x).max(-1, keepdims=True)
    activations = np.clip(np.rint((x / largest) / np.float32(1 / 127)), -128, 127).astype(np.int64)
    expected = (activations @ levels.astype(np.int64)) * scales.astype(np.float64) * largest / 127
    found = product("int8-row", weight, x, tmp_path)
    assert np.linalg.norm(found - expected) / np.linalg.norm(expected) < 1e-6


def test_int4_is_bit_exact_in_any_batch_of_two_or_more(tmp_path):
    """On CPUs without AVX-512 a single row goes through another kernel, which rounds differently."""
    weight = RNG.standard_normal((256, 96)).astype(np.float32)
    x = RNG.standard_normal((8, 1, 256)).astype(np.float32)
    together = product("int4-block", weight, x, tmp_path)
    for rows in (2, 3, 5):
        np.testing.assert_array_equal(product("int4-block", weight, x[:rows], tmp_path), together[:rows])
    np.testing.assert_allclose(product("int4-block", weight, x[:1], tmp_path), together[:1], atol=1e-3)


def test_a_row_of_zeros_is_zero(tmp_path):
    weight = RNG.standard_normal((64, 32)).astype(np.float32)
    x = np.zeros((1, 2, 64), np.float32)
    for scheme in ("int8-row", "int8-static", "int4-block"):
        np.testing.assert_array_equal(product(scheme, weight, x, tmp_path, 1.0), np.zeros((1, 2, 32)))


def test_an_output_without_weights_is_zero(tmp_path):
    weight = RNG.standard_normal((64, 32)).astype(np.float32)
    weight[:, 3] = 0
    x = RNG.standard_normal((1, 2, 64)).astype(np.float32)
    for scheme in ("int8-row", "int4-block"):
        np.testing.assert_array_equal(product(scheme, weight, x, tmp_path)[..., 3], np.zeros((1, 2)))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 70),
    columns=st.integers(1, 9),
    tail=st.sampled_from([1.0, 2.0, 5.0]),
)
def test_no_pair_of_int8_weights_can_overflow_sixteen_bits(seed, rows, columns, tail):
    """vpmaddubsw, the instruction of CPUs without VNNI, adds two products of neighbours in 16 bits, saturating."""
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((rows, columns)) * rng.lognormal(0, tail, (rows, columns))
    weight = weight.astype(np.float32)
    levels, scales = schemes.round_int8(weight)
    assert np.all(np.abs(levels.astype(int)) <= 127)
    pairs = levels[: rows // 2 * 2].astype(np.int64).reshape(-1, 2, columns)
    for activations in ((255, 255), (255, 0), (0, 255)):
        sums = pairs[:, 0] * activations[0] + pairs[:, 1] * activations[1]
        assert np.all((sums >= -(2**15)) & (sums < 2**15))
    assert np.all(np.abs(levels * scales - weight) <= scales * 0.501)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 100), columns=st.integers(1, 5))
def test_int4_rounds_to_the_nearest_level(seed, rows, columns):
    weight = np.random.default_rng(seed).standard_normal((rows, columns)).astype(np.float32)
    packed, scales = schemes.round_int4(weight)
    blocks = -(-rows // schemes.BLOCK)
    assert packed.shape == (columns, blocks, schemes.BLOCK // 2)
    levels = np.stack([packed & 15, packed >> 4], -1).reshape(columns, blocks, schemes.BLOCK).astype(int) - 8
    values = (levels * scales.reshape(columns, blocks, 1)).reshape(columns, -1)[:, :rows].T
    padded = np.zeros((blocks * schemes.BLOCK, columns))
    padded[:rows] = weight
    largest = np.abs(padded).reshape(blocks, schemes.BLOCK, columns).max(1)
    # 16 levels over the range of a block: no value is farther off than clipping the far end costs.
    limit = np.repeat(largest, schemes.BLOCK, 0)[:rows] * 0.2 + 1e-7
    assert np.all(np.abs(values - weight) <= limit)


def test_embedding_tables_keep_eleven_bits(tmp_path):
    table = RNG.standard_normal((10, 8)).astype(np.float32)
    for precision, tolerance in (("fp32", 0), ("int8", 2**-11)):
        g = GraphBuilder(precision)
        ids = g.input("ids", np.int64, ["N"])
        g.output(Quantizer(find_recipe(precision)).lookup(g, table, ids, "table"), "rows", np.float32, None)
        (rows,) = run_builder(g, {"ids": np.array([3, 3, 9])}, tmp_path)
        np.testing.assert_allclose(rows, table[[3, 3, 9]], rtol=tolerance, atol=0)


# Cosines against the reference on random weights, which are harder to round than trained ones; measured values are in
# docs/convert.md, and these bounds leave them a little room.
BOUNDS = {"fp16": (0.9999, 0.99999, 0.9999), "int8": (0.995, 0.9995, 0.999), "int4": (0.90, 0.9995, 0.999)}


@pytest.fixture(scope="module", params=sorted(BOUNDS))
def quantised(request, golden, tmp_path_factory):
    directory = convert(golden.directory, tmp_path_factory.mktemp("precision") / request.param, request.param)
    return request.param, directory


def test_whole_model_against_the_reference(golden, quantised):
    precision, directory = quantised
    language, mel_bound, wave_bound = BOUNDS[precision]
    model = LanguageModel(directory)
    real = golden.arrays["plain_attention_mask"][0] > 0
    speaker = golden.arrays["speaker_embedding"].astype(np.float32)
    ids, mask = golden.arrays["plain_input_ids"][0][real], golden.arrays["plain_text_mask"][0][real]
    found = model.decode(ids, mask, speaker, golden.arrays["plain_greedy_codes"][0])
    assert cosine(found["hidden"], golden.arrays["plain_greedy_hidden"][0]) > language
    assert cosine(found["logits"], golden.arrays["plain_greedy_logits"][0]) > language
    (mel,) = open_graph(directory, "decoder").run(["mel"], {"hidden": golden.arrays["plain_greedy_hidden"][:1]})
    assert cosine(mel, golden.arrays["decoder_mel"]) > mel_bound
    real, imag = open_graph(directory, "vocos").run(["real", "imag"], {"mel": golden.arrays["decoder_mel"]})
    assert cosine(inverse_stft(real[0], imag[0], 256), golden.arrays["vocos_wav"]) > wave_bound


def test_codes_of_a_recording_are_the_same_in_every_precision(golden, quantised):
    _, directory = quantised
    (codes,) = open_graph(directory, "dvae_encoder").run(["codes"], {"waveform": golden.arrays["encode_wav"][None]})
    assert np.mean(golden.arrays["encode_codes"] == codes[0].T) >= 0.99


def test_what_a_recipe_does_not_name_is_stored_bit_equal(golden_model, quantised):
    import onnx

    def weights(directory):
        graph = onnx.load(str(directory / "vocos.onnx")).graph
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}

    _, directory = quantised
    before, after = weights(golden_model), weights(directory)
    weights_of_convolutions = {"embed.weight", "blocks.0/dwconv.weight", "blocks.1/dwconv.weight"}
    kept = {name for name in before if "matmul" not in name and not name.startswith("constant")}
    for name in kept - weights_of_convolutions:
        np.testing.assert_array_equal(after[name], before[name])
    assert len(kept) > 10
    for name in weights_of_convolutions:
        np.testing.assert_array_equal(after[name], before[name].astype(np.float16))
    assert after["head/matmul.weight"].dtype == np.float16
