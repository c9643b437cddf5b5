"""A manifest that was edited or damaged is refused in one line, whatever stands in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from chattts_onnx.config import MANIFEST_NAME, Manifest
from chattts_onnx.errors import ModelFormatError


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("audio", "phase_rounds", -1),
        ("audio", "phase_rounds", "two"),
        ("audio", "hop_length", 384.5),
        ("audio", "hop_length", True),
        ("gpt", "num_layers", None),
        ("files", "gpt.onnx", []),
        ("", "segment_seconds", "long"),
        ("", "refines", 1),
        ("", "name", ["mini"]),
    ],
)
def test_a_field_of_another_kind_is_named(
    tiny_model: Path, tmp_path: Path, section: str, field: str, value: Any
) -> None:
    data = json.loads((tiny_model / MANIFEST_NAME).read_text("utf-8"))
    (data[section] if section else data)[field] = value
    (tmp_path / MANIFEST_NAME).write_text(json.dumps(data), "utf-8")
    with pytest.raises(ModelFormatError, match="convert or pull the model again") as caught:
        Manifest.load(tmp_path)
    if section != "files":
        assert field in str(caught.value)


def test_what_was_saved_is_read_back(tiny_model: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(tiny_model)
    manifest.save(tmp_path)
    assert Manifest.load(tmp_path) == manifest
