"""Recorded feeds become scales; scales become a static model."""

from __future__ import annotations

import numpy as np
import pytest
from graph_running import LanguageModel, cosine

pytest.importorskip("onnx")

from chattts_onnx.convert import calibrate
from chattts_onnx.convert.package import convert
from chattts_onnx.errors import InputError
from chattts_onnx.session import Recorder


@pytest.fixture(scope="module")
def feeds(golden, tmp_path_factory):
    """Two rows of the reference vectors as the engine records them: whole sequences, no cache."""
    recorder = Recorder()
    for b in range(2):
        real = golden.arrays["plain_attention_mask"][b] > 0
        ids = np.concatenate([golden.arrays["plain_input_ids"][b][real], golden.arrays["plain_greedy_codes"][b]])
        mask = np.zeros(len(ids), bool)
        mask[: real.sum()] = golden.arrays["plain_text_mask"][b][real]
        speaker = golden.arrays["speaker_embedding"].astype(np.float32)
        recorder.record("gpt", {"input_ids": ids[None], "text_mask": mask[None], "speaker_embedding": speaker[None]})
    recorder.record("decoder", {"hidden": golden.arrays["plain_greedy_hidden"][:2]})
    recorder.record("vocos", {"mel": golden.arrays["decoder_mel"]})
    path = tmp_path_factory.mktemp("calibration") / "feeds.npz"
    recorder.save(path)
    return path


def test_static_model_from_feeds(golden, feeds, tmp_path):
    directory = convert(golden.directory, tmp_path / "static", "int8-static", calibration=feeds)
    assert not (directory / "observed").exists()
    model = LanguageModel(directory)
    real = golden.arrays["plain_attention_mask"][2] > 0
    ids, mask = golden.arrays["plain_input_ids"][2][real], golden.arrays["plain_text_mask"][2][real]
    speaker = golden.arrays["speaker_embedding"].astype(np.float32)
    found = model.decode(ids, mask, speaker, golden.arrays["plain_greedy_codes"][2])
    assert cosine(found["logits"], golden.arrays["plain_greedy_logits"][2]) > 0.98
    operators = {node.op_type for node in load(directory / "gpt.onnx").graph.node}
    assert "MatMulIntegerToFloat" in operators
    assert "ReduceMax" not in operators  # no scale is found at run time
    # Nothing was recorded of the DVAE decoder, so its rows keep finding their own scales.
    assert "ReduceMax" in {node.op_type for node in load(directory / "dvae_decoder.onnx").graph.node}


def load(path):
    import onnx

    return onnx.load(str(path), load_external_data=False)


def test_ranges_are_what_was_fed(golden, feeds, tmp_path):
    """The input of a graph's first matrix can be computed by hand."""
    from chattts_onnx.convert.package import _Conversion

    _Conversion(golden.directory / "asset", tmp_path, "fp32", calibrate.ObservingQuantizer(), None).run()
    ranges = calibrate.measure_ranges(tmp_path, Recorder.load(feeds))
    assert {name.split("/")[0] for name in ranges} == {"gpt", "decoder", "vocos"}
    assert len([name for name in ranges if name.startswith("gpt/")]) == 3 * 4 + 1
    # The code heads multiply the last hidden state of each sequence: the reference has it.
    largest, most, fewer = ranges["gpt/head_code"]
    assert largest >= most >= fewer > 0
    path = tmp_path / "ranges.npz"
    calibrate.save_ranges(path, ranges)
    kept = calibrate.read_ranges(path)
    assert set(kept) == set(ranges)
    np.testing.assert_array_equal(kept["gpt/head_code"], ranges["gpt/head_code"])
    assert calibrate.read_ranges(feeds) is None
    assert calibrate.static_ranges(ranges)["gpt/head_code"] == pytest.approx(float(most))


def test_static_model_from_ranges_is_the_one_from_feeds(golden, feeds, tmp_path):
    from chattts_onnx.convert.package import _Conversion

    (tmp_path / "observed").mkdir()
    _Conversion(golden.directory / "asset", tmp_path / "observed", "fp32", calibrate.ObservingQuantizer(), None).run()
    calibrate.save_ranges(tmp_path / "r.npz", calibrate.measure_ranges(tmp_path / "observed", Recorder.load(feeds)))
    a = convert(golden.directory, tmp_path / "a", "int8-static", calibration=feeds)
    b = convert(golden.directory, tmp_path / "b", "int8-static", calibration=tmp_path / "r.npz")
    for name in ("gpt.onnx", "decoder.onnx", "vocos.onnx"):
        assert (a / name).read_bytes() == (b / name).read_bytes()


def test_percentiles():
    histogram = calibrate._Histogram()
    values = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    for part in np.array_split(values, 7):
        histogram.add(part)
    largest, most, fewer = histogram.summary()
    assert largest == np.abs(values).max()
    np.testing.assert_allclose([most, fewer], np.percentile(np.abs(values), [99.99, 99.9]), rtol=0.02)


def test_without_calibration(golden, tmp_path):
    with pytest.raises(InputError, match="int8-static needs a calibration"):
        convert(golden.directory, tmp_path / "static", "int8-static")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none(golden, tmp_path):
    path = tmp_path / "x.npz"
    path.write_text("no archive")
    with pytest.raises(InputError, match="holds no calibration"):
        convert(golden.directory, tmp_path / "static", "int8-static", calibration=path)
    recorder = Recorder()
    recorder.record("vocos", {"mel": np.zeros((1, 100, 4), np.float32)})
    recorder.save(path)
    with pytest.raises(InputError, match="no run of the language model"):
        convert(golden.directory, tmp_path / "static", "int8-static", calibration=path)
    recorder.record("gpt", {"input_ids": np.zeros((1, 3, 4), np.int64)})
    recorder.save(path)
    with pytest.raises(InputError, match="where it reads"):
        convert(golden.directory, tmp_path / "static", "int8-static", calibration=path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.npz"]
