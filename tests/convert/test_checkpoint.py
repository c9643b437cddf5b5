"""Every tensor is used exactly once, or the error names it."""

from __future__ import annotations

import numpy as np
import pytest

from chattts_onnx.convert.checkpoint import Checkpoint, count_layers, read_json
from chattts_onnx.errors import CheckpointError

numpy_safetensors = pytest.importorskip("safetensors.numpy")


def write(path, **tensors):
    numpy_safetensors.save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, str(path))
    return path


def test_takes_each_tensor_once(tmp_path):
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    with Checkpoint(write(tmp_path / "a.safetensors", a=values)) as checkpoint:
        assert "a" in checkpoint
        np.testing.assert_array_equal(checkpoint.take("a", (2, None)), values)
        assert "a" not in checkpoint
        with pytest.raises(CheckpointError, match="'a' is missing"):
            checkpoint.take("a", (2, 3))


def test_half_precision_is_read_as_float32(tmp_path):
    values = np.linspace(-1, 1, 5).astype(np.float16)
    with Checkpoint(write(tmp_path / "a.safetensors", a=values)) as checkpoint:
        taken = checkpoint.take("a", (5,))
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, values.astype(np.float32))


def test_wrong_shape_names_the_tensor_and_both_shapes(tmp_path):
    checkpoint = Checkpoint(write(tmp_path / "a.safetensors", weight=np.zeros((2, 3), np.float32)))
    with pytest.raises(CheckpointError, match=r"'weight' has shape \[2, 3\] where \[3, any\] belongs"):
        checkpoint.take("weight", (3, None))
    with pytest.raises(CheckpointError, match=r"\[2, 3\] where \[2, 3, 1\]"):
        checkpoint.take("weight", (2, 3, 1))


def test_integers_are_refused(tmp_path):
    checkpoint = Checkpoint(write(tmp_path / "a.safetensors", a=np.zeros(2, np.int32)))
    with pytest.raises(CheckpointError, match="'a' is I32 where F32 belongs"):
        checkpoint.take("a", (2,))


def test_left_over_tensor_is_named(tmp_path):
    path = write(tmp_path / "a.safetensors", used=np.zeros(1, np.float32), spare=np.zeros(1, np.float32))
    with pytest.raises(CheckpointError, match="1 tensors have no place in the model: spare"), Checkpoint(path) as file:
        file.take("used", (1,))


def test_ignored_tensor_may_be_there_or_not(tmp_path):
    with Checkpoint(write(tmp_path / "a.safetensors", a=np.zeros(1, np.float32))) as checkpoint:
        checkpoint.ignore("a")
        checkpoint.ignore("b")


def test_an_error_inside_is_not_hidden_by_what_is_left(tmp_path):
    path = write(tmp_path / "a.safetensors", a=np.zeros(1, np.float32))
    with pytest.raises(ZeroDivisionError), Checkpoint(path):
        1 / 0  # noqa: B018


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_truncated_file_is_named(tmp_path, keep):
    path = write(tmp_path / "Vocos.safetensors", a=np.zeros(100, np.float32))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"Vocos\.safetensors is damaged or truncated"):
        Checkpoint(path)


def test_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match=r"Decoder\.safetensors is missing"):
        Checkpoint(tmp_path / "Decoder.safetensors")


def test_weight_norm_is_folded(tmp_path):
    rng = np.random.default_rng(0)
    direction = rng.standard_normal((7, 5)).astype(np.float32)
    length = rng.uniform(1, 3, (7, 1)).astype(np.float32)
    prefix = "head.parametrizations.weight.original"
    path = write(tmp_path / "a.safetensors", **{prefix + "0": length, prefix + "1": direction})
    with Checkpoint(path) as checkpoint:
        folded = checkpoint.take_weight_norm("head", (7, 5))
    np.testing.assert_allclose(np.linalg.norm(folded, axis=1), length[:, 0], rtol=1e-6)
    np.testing.assert_allclose(folded / length, direction / np.linalg.norm(direction, axis=1, keepdims=True), rtol=1e-5)


def test_layers_are_counted_and_a_hole_is_an_error(tmp_path):
    zeros = np.zeros(1, np.float32)
    checkpoint = Checkpoint(write(tmp_path / "a.safetensors", **{f"b.{i}.w": zeros for i in range(12)}))
    assert count_layers(checkpoint, "b.") == 12
    checkpoint.ignore("b.3.w")
    with pytest.raises(CheckpointError, match=r"b\.\* are numbered"):
        count_layers(checkpoint, "b.")
    with pytest.raises(CheckpointError, match=r"c\.\* are numbered"):
        count_layers(checkpoint, "c.")


@pytest.mark.parametrize("text", ["", "[1]", "{", "\udcff"])
def test_damaged_json_is_named(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(CheckpointError, match=r"config\.json"):
        read_json(path)
