"""Models every room's tests share, each made once per run through the real conversion.

``golden_*`` read reference vectors that live beside the repository and skip where those are absent; ``tiny_*`` are made
from seeded random weights and need nothing but the ``convert`` extra.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict

import numpy as np
import pytest


def pytest_configure(config: pytest.Config) -> None:
    """On Python 3.8 event loops and their sockets are left to the collector, in whatever test that then runs."""
    if sys.version_info < (3, 9):
        config.addinivalue_line("filterwarnings", "ignore:unclosed (event loop|.*socket):ResourceWarning")
        config.addinivalue_line(
            "filterwarnings", "ignore:.*(socket|BaseEventLoop):pytest.PytestUnraisableExceptionWarning"
        )


GOLDEN = Path(__file__).resolve().parents[2] / "shared" / "golden"


@dataclass(frozen=True)
class Golden:
    """What the reference implementation computes with the weights of ``tiny``."""

    directory: Path
    """Holds ``asset/``."""
    dims: Dict[str, Any]
    text: Dict[str, Any]
    """``golden.json``."""
    arrays: Dict[str, np.ndarray]
    """``golden.npz``."""


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """The folder of reference vectors (``tiny/`` and ``tokenizer/``)."""
    if not (GOLDEN / "tiny" / "golden.npz").is_file():
        pytest.skip("the reference vectors (../shared/golden) are not on this machine")
    return GOLDEN


@pytest.fixture(scope="session")
def golden(golden_dir: Path) -> Golden:
    """The reference vectors of the tiny model, loaded."""
    directory = golden_dir / "tiny"
    with np.load(directory / "golden.npz") as arrays:
        loaded = {name: arrays[name] for name in arrays.files}
    return Golden(
        directory=directory,
        dims=json.loads((directory / "dims.json").read_text(encoding="utf-8")),
        text=json.loads((directory / "golden.json").read_text(encoding="utf-8")),
        arrays=loaded,
    )


def _convert(source: Path, destination: Path, precision: str) -> Path:
    pytest.importorskip("onnx", reason="making a model needs the convert extra")
    pytest.importorskip("safetensors", reason="making a model needs the convert extra")
    from chattts_onnx.convert.package import convert

    return convert(source, destination, precision)


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seeded random checkpoint in the published layout, with a synthetic tokenizer."""
    pytest.importorskip("safetensors", reason="making a checkpoint needs the convert extra")
    from chattts_onnx.convert.random_checkpoint import write_random_checkpoint

    return write_random_checkpoint(tmp_path_factory.mktemp("tiny_checkpoint"), preset="tiny", seed=0)


@pytest.fixture(scope="session")
def tiny_model(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random checkpoint as an fp32 model directory."""
    return _convert(tiny_checkpoint, tmp_path_factory.mktemp("tiny_model") / "fp32", "fp32")


@pytest.fixture(scope="session")
def tiny_model_int8(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny random checkpoint as an int8 model directory."""
    return _convert(tiny_checkpoint, tmp_path_factory.mktemp("tiny_model") / "int8", "int8")


@pytest.fixture(scope="session")
def golden_model(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reference vectors' own weights as an fp32 model directory."""
    return _convert(golden.directory, tmp_path_factory.mktemp("golden_model") / "fp32", "fp32")
