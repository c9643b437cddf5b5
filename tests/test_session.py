from __future__ import annotations

import logging

import numpy as np
import onnxruntime
import pytest

from chattts_onnx import session
from chattts_onnx.config import Manifest
from chattts_onnx.errors import InputError, MissingExtraError, ModelFormatError, ModelNotFoundError
from chattts_onnx.session import Recorder, create_session, default_threads, resolve_providers

CPU = "CPUExecutionProvider"
EVERYTHING = [
    "TensorrtExecutionProvider",
    "CUDAExecutionProvider",
    "DmlExecutionProvider",
    "CoreMLExecutionProvider",
    "OpenVINOExecutionProvider",
    CPU,
]


@pytest.mark.parametrize(
    ("device", "providers"),
    [
        ("cpu", [CPU]),
        ("cuda", ["CUDAExecutionProvider", CPU]),
        ("cuda:1", ["CUDAExecutionProvider", CPU]),
        ("tensorrt", ["TensorrtExecutionProvider", "CUDAExecutionProvider", CPU]),
        ("directml", ["DmlExecutionProvider", CPU]),
        ("coreml", ["CoreMLExecutionProvider", CPU]),
        ("openvino", ["OpenVINOExecutionProvider", CPU]),
        ("auto", ["CUDAExecutionProvider", CPU]),
    ],
)
def test_a_device_maps_to_providers_with_the_cpu_behind(device, providers) -> None:
    assert resolve_providers(device, EVERYTHING) == providers


def test_auto_takes_what_there_is() -> None:
    assert resolve_providers("auto", [CPU]) == [CPU]
    assert resolve_providers("auto", ["DmlExecutionProvider", CPU])[0] == "DmlExecutionProvider"
    # Not taken unasked: their gain depends on shapes that do not change.
    assert resolve_providers("auto", ["CoreMLExecutionProvider", "OpenVINOExecutionProvider", CPU]) == [CPU]


@pytest.mark.parametrize(
    ("device", "error", "says"),
    [
        ("cuda", MissingExtraError, r"pip install 'chattts-onnx\[gpu\]'"),
        ("tensorrt", MissingExtraError, "onnxruntime-gpu"),
        ("directml", InputError, "pip install onnxruntime-directml"),
        ("openvino", InputError, "pip install onnxruntime-openvino"),
        ("coreml", InputError, "macOS only"),
        ("tpu", InputError, "use one of cpu, cuda"),
    ],
)
def test_what_is_missing_is_named_in_one_line(device, error, says) -> None:
    with pytest.raises(error, match=says) as caught:
        resolve_providers(device, [CPU])
    assert "\n" not in str(caught.value)


def test_an_index_that_is_no_number_is_refused(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: EVERYTHING)
    with pytest.raises(InputError, match="cuda:1"):
        create_session(tiny_model / "vocos.onnx", device="cuda:one")


def test_a_provider_that_cannot_start_is_an_error_and_not_a_slow_surprise(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: EVERYTHING)
    real = onnxruntime.InferenceSession
    # What ONNX Runtime does when the CUDA libraries are absent: it falls back to the CPU.
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda path, options, **_: real(path, options, providers=[CPU])
    )
    with pytest.raises(InputError, match="could not start"):
        create_session(tiny_model / "vocos.onnx", device="cuda")


def test_a_missing_file(tmp_path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"gpt\.onnx is missing"):
        create_session(tmp_path / "gpt.onnx")


@pytest.mark.parametrize("damage", ["truncate", "garbage", "empty", "no_data"])
def test_a_damaged_graph_is_one_line(tiny_model, tmp_path, damage, capfd) -> None:
    manifest = Manifest.load(tiny_model)
    source = manifest.path(tiny_model, "decoder")
    path = tmp_path / source.name
    data = source.read_bytes()
    if damage == "truncate":
        path.write_bytes(data[: len(data) // 2])
    elif damage == "garbage":
        path.write_bytes(bytes(range(256)) * 64)
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        source = manifest.path(tiny_model, "gpt")
        path = tmp_path / source.name
        path.write_bytes(source.read_bytes())
        assert source.with_name(source.name + ".data").exists() or pytest.skip("the tiny graph has no external data")
    with pytest.raises(ModelFormatError, match="convert or pull the model again") as caught:
        create_session(path)
    assert path.name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_an_old_runtime_is_refused_with_what_to_do(tiny_model, monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "1.19.2")
    path = Manifest.load(tiny_model).path(tiny_model, "vocos")
    create_session(path, min_onnxruntime="1.19.2")
    create_session(path, min_onnxruntime="1.9.10")
    with pytest.raises(ModelFormatError, match=r"needs onnxruntime 1\.20\.0 or newer and 1\.19\.2 is installed"):
        create_session(path, min_onnxruntime="1.20.0")


@pytest.mark.parametrize("version", ["1.32.0", "1.20.0", "1.20.0rc1", "1.20.0+cu12"])
def test_newer_runtimes_pass(version, monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", version)
    session.require_runtime("1.20.0")


def test_threads() -> None:
    assert 1 <= default_threads() <= session.MAX_DEFAULT_THREADS
    assert session.session_options(threads=3).intra_op_num_threads == 3
    assert session.session_options().intra_op_num_threads == default_threads()
    with pytest.raises(InputError, match="threads"):
        session.session_options(threads=0)


def test_only_who_asks_gets_an_arena() -> None:
    plain, asked = session.session_options(), session.session_options(arena=True)
    assert (plain.enable_cpu_mem_arena, asked.enable_cpu_mem_arena) == (False, True)
    assert not plain.enable_mem_pattern


@pytest.mark.parametrize(
    ("version", "cores", "spins", "microseconds", "stops"),
    [
        ("1.32.0", 2, "1", str(session.SPIN_MICROSECONDS), ""),
        ("1.32.0", 8, "1", str(session.SPIN_MICROSECONDS), ""),
        ("1.25.1", 8, "1", "", "1"),
        ("1.19.2", 2, "0", "", ""),
    ],
)
def test_threads_of_a_step_spin_briefly_or_where_there_are_cores(
    version, cores, spins, microseconds, stops, monkeypatch
) -> None:
    monkeypatch.setattr(session, "usable_cores", lambda: cores)
    monkeypatch.setattr(onnxruntime, "__version__", version)

    def entry(options: onnxruntime.SessionOptions, key: str) -> str:
        try:
            return options.get_session_config_entry(key)
        except Exception:  # noqa: BLE001 - ONNX Runtime's own class of error for a key that is not set
            return ""

    step = session.session_options(spinning=True)
    assert entry(step, "session.intra_op.allow_spinning") == spins
    assert entry(step, "session.intra_op.spin_duration_us") == microseconds
    assert entry(step, "session.force_spinning_stop") == stops
    assert entry(session.session_options(), "session.intra_op.allow_spinning") == "0"


def test_threads_count_cores_not_hyper_threads_within_quota_and_affinity(monkeypatch) -> None:
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda _: set(range(12)), raising=False)
    monkeypatch.setattr(session, "_siblings", lambda cpu: f"{cpu % 6}")
    monkeypatch.setattr(session, "_cpu_quota", lambda: None)
    assert default_threads() == 6
    monkeypatch.setattr(session, "_cpu_quota", lambda: 2.5)
    assert default_threads() == 2
    monkeypatch.setattr(session, "_cpu_quota", lambda: 0.5)
    assert default_threads() == 1
    monkeypatch.setattr(session, "_cpu_quota", lambda: None)
    monkeypatch.setattr(session, "_siblings", str)
    monkeypatch.setattr(session.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert default_threads() == session.MAX_DEFAULT_THREADS


def test_profile_writes_where_it_is_told(tiny_model, tmp_path) -> None:
    opened = create_session(Manifest.load(tiny_model).path(tiny_model, "vocos"), profile=tmp_path / "vocos", threads=1)
    name = opened.get_inputs()[0]
    opened.run(None, {name.name: np.zeros((1, name.shape[1], 9), np.float32)})
    assert opened.end_profiling().startswith(str(tmp_path / "vocos"))


def test_half_precision_on_the_cpu_is_warned_about(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        session.warn_if_slow("fp16", "cuda")
        session.warn_if_slow("int8", "cpu")
        assert not caplog.records
        session.warn_if_slow("fp16", "cpu")
    assert "--precision int8" in caplog.text


@pytest.mark.parametrize(
    ("device", "providers", "half"),
    [
        ("cuda:1", ["CUDAExecutionProvider", "CPUExecutionProvider"], True),
        ("auto", ["DmlExecutionProvider", "CPUExecutionProvider"], True),
        ("auto", ["CPUExecutionProvider"], False),
        ("cpu", ["CUDAExecutionProvider", "CPUExecutionProvider"], False),
        ("cuda", ["CPUExecutionProvider"], False),  # opening the model says what is missing
        ("nonsense", ["CPUExecutionProvider"], False),
    ],
)
def test_devices_that_compute_in_half_precision(device, providers, half, monkeypatch) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: providers)
    assert session.computes_half(device) is half


def test_recorder_keeps_copies_and_reads_back_what_it_wrote(tiny_model, tmp_path) -> None:
    recorder = Recorder(limit=2)
    opened = recorder.wrap("vocos", create_session(Manifest.load(tiny_model).path(tiny_model, "vocos"), threads=1))
    mel = np.zeros((1, opened.get_inputs()[0].shape[1], 9), np.float32)
    for value in (1.0, 2.0, 3.0):
        mel[:] = value
        opened.run(None, {"mel": mel})
    recorder.record("gpt", {"input_ids": np.arange(8).reshape(1, 2, 4), "text_mask": np.ones((1, 2), np.bool_)})
    assert len(recorder) == 3
    recorder.save(tmp_path / "feeds.npz")
    feeds = Recorder.load(tmp_path / "feeds.npz")
    assert sorted(feeds) == ["gpt", "vocos"]
    assert [float(one["mel"].max()) for one in feeds["vocos"]] == [1.0, 2.0]
    assert feeds["gpt"][0]["text_mask"].dtype == np.bool_


def test_recorder_refuses_other_files(tmp_path) -> None:
    with pytest.raises(InputError, match="chattts calibrate"):
        Recorder.load(tmp_path / "absent.npz")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="chattts calibrate"):
        Recorder.load(tmp_path / "other.npz")
    np.savez(tmp_path / "pickled.npz", **{"gpt/0/x": np.array([{}], dtype=object)})
    with pytest.raises(InputError, match="chattts calibrate"):
        Recorder.load(tmp_path / "pickled.npz")
