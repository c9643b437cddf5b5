"""The doctor never falls ill itself, and every finding that asks for action says which."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Tuple

import pytest

from chattts_onnx.cli import main
from chattts_onnx.doctor import installation, machine
from chattts_onnx.doctor.finding import Finding


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTTS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CHATTTS_VOICES", str(tmp_path / "voices"))


def test_a_healthy_installation(tiny_model: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--offline", "--model", str(tiny_model)]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in ("python", "onnxruntime", "cores", "model", "speech", "cache"):
        assert any(line[5:].startswith(name) for line in lines), name
    assert lines[-1] == "everything that speech needs is in order"


def test_json(tiny_model: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["doctor", "--offline", "--no-speech", "--json", "--model", str(tiny_model)]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert {finding["state"] for finding in findings} <= {"ok", "note"}
    assert all(finding["remedy"] for finding in findings if finding["state"] != "ok")


def test_no_model_is_to_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("chattts_onnx.hub.resolve.shipped_models", lambda: tmp_path / "none")
    assert main(["doctor", "--offline", "--no-speech"]) == 4
    printed = capsys.readouterr().out
    assert "to be mended first: model" in printed
    assert "chattts pull" in printed


def test_a_changed_file_is_found(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    graph = model / "decoder.onnx"
    data = bytearray(graph.read_bytes())
    data[len(data) // 2] ^= 1
    graph.write_bytes(bytes(data))
    assert main(["doctor", "--offline", "--no-speech", "--model", str(model)]) == 4
    assert "decoder.onnx" in capsys.readouterr().out


def test_a_check_that_fails_is_a_note(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def check_cpu() -> None:
        raise RuntimeError("the processor is shy")

    monkeypatch.setattr(machine, "check_cpu", check_cpu)
    main(["doctor", "--offline", "--no-speech"])
    assert "note cpu          could not be examined (RuntimeError: the processor is shy)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "version", "python", "state", "said"),
    [
        ("glibc", "2.39", (3, 13), "ok", ""),
        ("glibc", "2.27", (3, 8), "note", "libsndfile1"),
        ("glibc", "2.28", (3, 8), "note", "onnxruntime 1.19.2"),
        ("glibc", "2.17", (3, 8), "fix", "2.27"),
        ("", "", (3, 12), "fix", "musl"),
    ],
)
def test_the_c_library(name: str, version: str, python: Tuple[int, int], state: str, said: str) -> None:
    (finding,) = machine.judge_libc(name, version, python)
    assert finding.state == state
    assert said in finding.remedy


def test_cpu_flags(tmp_path: Path) -> None:
    x86 = tmp_path / "x86"
    x86.write_text("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n", encoding="utf-8")
    arm = tmp_path / "arm"
    arm.write_text("Features\t: fp asimd asimddp\n", encoding="utf-8")
    assert machine.cpu_flags(x86) == {"fpu", "avx2", "avx512_vnni"}
    assert machine.cpu_flags(arm) == {"fp", "asimd", "asimddp"}
    assert machine.cpu_flags(tmp_path / "none") is None


@pytest.mark.parametrize(("content", "cores"), [("max 100000\n", None), ("150000 100000\n", 1.5), ("nonsense", None)])
def test_the_containers_cores(tmp_path: Path, content: str, cores: object) -> None:
    (tmp_path / "cpu.max").write_text(content, encoding="ascii")
    assert machine.cpu_quota(tmp_path) == cores


def test_the_containers_cores_in_old_cgroups(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text("200000\n", encoding="ascii")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n", encoding="ascii")
    assert machine.cpu_quota(tmp_path) == 2.0


def test_too_few_cores_name_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_quota", lambda: 0.5)
    (finding,) = machine.check_cores()
    assert finding.state == "note"
    assert "--threads 1" in finding.remedy


def test_memory_is_the_smaller_of_machine_and_container(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 9000000 kB\nMemAvailable: 4000000 kB\n", encoding="ascii")
    assert machine.available_memory(meminfo, tmp_path) == 4_000_000 * 1024
    (tmp_path / "memory.max").write_text("2000000000\n", encoding="ascii")
    (tmp_path / "memory.current").write_text("500000000\n", encoding="ascii")
    assert machine.available_memory(meminfo, tmp_path) == 1_500_000_000


@pytest.mark.parametrize(
    ("system", "said"), [("linux", "apt install libsndfile1"), ("win32", "DLL"), ("darwin", "brew")]
)
def test_the_sound_file_library(system: str, said: str) -> None:
    assert said in installation.library_remedy("soundfile", system)


def test_a_library_that_does_not_load(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_module(name: str) -> object:
        if name == "soundfile":
            raise OSError("sndfile library not found")
        raise ImportError(name)

    monkeypatch.setattr(installation.importlib, "import_module", import_module)
    findings = {finding.what: finding for finding in installation.check_audio()}
    assert "does not load" in findings["soundfile"].detail
    assert "[audio]" in findings["av"].remedy


@pytest.mark.parametrize("system", ["win32", "linux"])
def test_onnxruntime_that_does_not_load(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    def import_module(name: str) -> object:
        raise ImportError("DLL load failed")

    monkeypatch.setattr(installation.importlib, "import_module", import_module)
    monkeypatch.setattr(installation.sys, "platform", system)
    (finding,) = installation.check_onnxruntime()
    assert finding.state == "fix"
    assert ("Visual C++" in finding.remedy) == (system == "win32")


def test_an_old_onnxruntime_and_two_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        __version__ = "1.15.1"

        @staticmethod
        def get_available_providers() -> list:
            return ["CPUExecutionProvider"]

    monkeypatch.setattr(installation.importlib, "import_module", lambda name: Old)
    monkeypatch.setattr(installation, "_installed", lambda name: "1" if name.startswith("onnxruntime") else None)
    old, several = installation.check_onnxruntime()
    assert old.state == "fix"
    assert "1.19.2" in old.remedy
    assert "pip uninstall" in several.remedy


@pytest.mark.parametrize("version", ["0.43.0", "0.44.1"])
def test_the_servers_that_cut_streams(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    monkeypatch.setattr(installation, "_installed", lambda name: version)
    (finding,) = installation.check_server()
    assert "0.43 and 0.44" in finding.remedy


def test_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(installation, "_answer", lambda address: None if "mirror" in address else "no route")
    (reached,) = installation.check_hubs()
    assert reached == Finding("ok", "hubs", "mirror can be reached")
    monkeypatch.setattr(installation, "_answer", lambda address: "no route")
    (blocked,) = installation.check_hubs()
    assert blocked.state == "note"
    assert "chattts convert DIR" in blocked.remedy
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "not tried" in installation.check_hubs()[0].detail


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/x", "no-address"])
def test_an_address_that_does_not_answer_is_no_exception(address: str) -> None:
    assert installation._answer(address)
