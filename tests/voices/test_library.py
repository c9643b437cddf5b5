"""Finding voices: names are never paths, and one bad file takes nothing else away."""

from __future__ import annotations

import builtins
import io
import json
import os
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chattts_onnx.config import Manifest
from chattts_onnx.errors import InputError, OutputError, UnknownVoiceError, VoiceFormatError
from chattts_onnx.voices import Voice, VoiceLibrary, VoiceStatistics, embedding_to_string, user_voice_directory
from chattts_onnx.voices.statistics import standard_normal, torch_normal
from chattts_onnx.voices.strings import codes_to_string

WIDTH = 48


def voice(name: str, seed: int = 0, width: int = WIDTH) -> Voice:
    return Voice(name, standard_normal(seed, width))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model" / "voices"
    folder.mkdir(parents=True)
    for index, name in enumerate(("anna", "bo", "carl")):
        (folder / f"{name}.json").write_text(voice(name, index).to_json(), encoding="utf-8")
    return folder


@pytest.fixture
def user(tmp_path: Path) -> Path:
    return tmp_path / "user" / "voices"


@pytest.fixture
def library(model: Path, user: Path) -> VoiceLibrary:
    return VoiceLibrary([model], WIDTH, user_directory=user, code_limit=625)


def test_listing(library: VoiceLibrary) -> None:
    assert library.names() == ["anna", "bo", "carl"]
    assert [entry.name for entry in library.list()] == library.names()
    assert "bo" in library
    assert "bob" not in library
    assert library.default().name == "anna"
    assert library.get(None).name == "anna"


def test_the_default_preset_is_the_default(model: Path) -> None:
    (model / "default.json").write_text(voice("default", 9).to_json(), encoding="utf-8")
    assert VoiceLibrary([model], WIDTH).default().name == "default"


def test_a_model_without_presets_speaks_with_seed_zero() -> None:
    statistics = VoiceStatistics(np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32))
    library = VoiceLibrary([], WIDTH, statistics)
    assert library.default().name == "seed-0"
    np.testing.assert_array_equal(library.get("17").embedding, library.get(17).embedding)
    with pytest.raises(InputError, match="neither"):
        VoiceLibrary([], WIDTH).default()


def test_every_kind_of_spec(library: VoiceLibrary) -> None:
    assert library.get("bo") == voice("bo", 1)
    assert library.get(" bo ") == voice("bo", 1)
    assert library.get(voice("x", 3)).name == "x"
    assert library.get(2222) == library.get("2222") == library.sample(2222)
    text = embedding_to_string(voice("s", 4).embedding)
    np.testing.assert_allclose(library.get(text).embedding, voice("s", 4).embedding, atol=5e-3)
    mixed = library.get("anna:0.7+bo:0.3")
    assert mixed == library.get(" anna : .7 + bo:0.3 ") == library.mix([("anna", 0.7), ("bo", 0.3)])
    assert library.get("anna+bo") == library.mix([("anna", 1), ("bo", 1)])
    assert library.get("anna:0.5+2222:0.5").width == WIDTH


@pytest.mark.parametrize(
    "spec",
    ["nobody", "", "anna.json",
     "../anna", "anna/../bo", "/etc/passwd", "C:\\x", "\\\\host\\x", "anna\0", "..%2fanna", "ANNA",
     "anna:", "anna:x+bo:1", "+", "a+b", "anna+nobody", "-1", "1e3", "٣", "x" * 5000, "\ud800"],
)  # fmt: skip
def test_what_is_no_voice(library: VoiceLibrary, spec: str) -> None:
    with pytest.raises(UnknownVoiceError) as caught:
        library.get(spec)
    assert "anna, bo, carl" in str(caught.value)
    assert len(str(caught.value)) < 600


def test_seeds_of_the_reference(library: VoiceLibrary, model: Path) -> None:
    statistics = VoiceStatistics(np.zeros(WIDTH, np.float32), np.ones(WIDTH, np.float32))
    published = VoiceLibrary([model], WIDTH, statistics)
    np.testing.assert_array_equal(published.get("torch:2222").embedding, torch_normal(2222, WIDTH))
    assert published.get("torch:2222") != published.get("2222")
    with pytest.raises(InputError, match="published model"):
        library.get("torch:2222")


@pytest.mark.parametrize("spec", ["anna:0+bo:0", "anna" + "+bo" * 8])
def test_mixes_that_cannot_be(library: VoiceLibrary, spec: str) -> None:
    with pytest.raises(InputError):
        library.get(spec)


@pytest.mark.parametrize("seed", [-1, 2**63, str(2**63)])
def test_seeds_out_of_range(library: VoiceLibrary, seed: Any) -> None:
    with pytest.raises(InputError, match="from 0 to"):
        library.get(seed)


def test_a_string_of_the_other_kind_is_explained(library: VoiceLibrary) -> None:
    with pytest.raises(VoiceFormatError, match=r"words of the recording.*voices add"):
        library.get(codes_to_string(np.random.default_rng(0).integers(0, 600, (30, 4))))
    with pytest.raises(VoiceFormatError, match="another model"):
        library.get(embedding_to_string(standard_normal(1, 768)))
    with pytest.raises(VoiceFormatError, match="characters"):
        library.get("蘁" * 100_000)


@given(st.text(max_size=30))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_spec_opens_a_file(library: VoiceLibrary, spec: str) -> None:
    opened: List[Any] = []
    original, original_io = builtins.open, io.open

    def watch(*arguments: Any, **options: Any) -> Any:
        opened.append(arguments)
        return original(*arguments, **options)

    builtins.open = io.open = watch  # type: ignore[assignment]
    try:
        library.get(spec)
    except (InputError, VoiceFormatError):
        pass
    finally:
        builtins.open, io.open = original, original_io
    assert opened == []


def test_paths_are_read_only_for_the_trusted(library: VoiceLibrary, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("".join(f"{value!r}\n" for value in standard_normal(5, WIDTH).tolist()))
    with pytest.raises(UnknownVoiceError):
        library.get(str(path))
    got = library.get(str(path), trusted_paths=True)
    np.testing.assert_allclose(got.embedding, standard_normal(5, WIDTH), rtol=1e-6)
    with pytest.raises(UnknownVoiceError):
        library.get(str(tmp_path / "none.csv"), trusted_paths=True)
    path.write_text("1\n2\n3\n")
    with pytest.raises(VoiceFormatError, match="made for another model"):
        library.get(str(path), trusted_paths=True)


def test_add_and_remove(library: VoiceLibrary, model: Path, user: Path) -> None:
    path = library.add(voice("dora", 7))
    assert path == user / "dora.json"
    assert json.loads(path.read_text(encoding="utf-8"))["name"] == "dora"
    assert library.names() == ["anna", "bo", "carl", "dora"]
    assert library.is_removable("dora")
    assert not library.is_removable("anna")
    assert VoiceLibrary([model], WIDTH, user_directory=user).get("dora") == voice("dora", 7)
    with pytest.raises(InputError, match="already"):
        library.add(voice("dora", 8))
    library.add(voice("dora", 8), overwrite=True)
    assert library.get("dora") == voice("dora", 8)
    assert [file.name for file in user.iterdir()] == ["dora.json"]
    library.remove("dora")
    assert "dora" not in library
    assert list(user.iterdir()) == []
    with pytest.raises(UnknownVoiceError):
        library.remove("dora")


def test_a_voice_of_the_user_hides_the_models(library: VoiceLibrary) -> None:
    with pytest.raises(InputError, match="already"):
        library.add(voice("anna", 30))
    library.add(voice("anna", 30), overwrite=True)
    assert library.get("anna") == voice("anna", 30)
    library.remove("anna")
    assert library.get("anna") == voice("anna", 0)
    with pytest.raises(InputError, match="belongs to the model"):
        library.remove("anna")


def test_a_server_adds_without_writing(library: VoiceLibrary, user: Path) -> None:
    assert library.add(voice("eve", 3), save=False) is None
    assert library.get("eve") == voice("eve", 3)
    assert not user.exists()
    library.remove("eve")
    assert "eve" not in library
    readonly = VoiceLibrary([], WIDTH)
    readonly.add(voice("eve", 3), save=False)
    with pytest.raises(InputError, match="no directory"):
        readonly.add(voice("finn", 3))


@pytest.mark.parametrize("name", ["2222", "../x", "A", "", "a b"])
def test_names_that_cannot_be_added(library: VoiceLibrary, user: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot name a voice"):
        library.add(voice(name))
    assert not user.exists()


def test_voices_of_other_models_cannot_be_added(library: VoiceLibrary) -> None:
    with pytest.raises(VoiceFormatError, match="768 numbers and this model takes 48"):
        library.add(voice("wide", 0, 768))
    with pytest.raises(VoiceFormatError, match="the code 625"):
        library.add(Voice("codes", prompt_codes=np.full((5, 4), 625), prompt_text="x"))
    library.add(Voice("codes", prompt_codes=np.full((5, 4), 624), prompt_text="x"))


def test_bad_files_are_skipped_and_explained(model: Path, user: Path) -> None:
    user.mkdir(parents=True)
    (user / "wide.json").write_text(voice("wide", 0, 768).to_json())
    (user / "broken.json").write_bytes(b"\xff{")
    (user / "huge.json").write_bytes(b" " * 400_000)
    (user / "Upper.json").write_text(voice("upper").to_json())
    (user / "fine.txt").write_text("x")
    (user / "folder.json").mkdir()
    library = VoiceLibrary([model, model / "none"], WIDTH, user_directory=user)
    assert library.names() == ["anna", "bo", "carl"]
    with pytest.raises(VoiceFormatError, match=r"cannot be used.*another model"):
        library.get("wide")
    with pytest.raises(VoiceFormatError, match="cannot be used"):
        library.get("broken")
    with pytest.raises(VoiceFormatError, match="cannot be used"):
        library.get("huge")
    with pytest.raises(UnknownVoiceError):
        library.get("folder")
    library.remove("wide")
    with pytest.raises(UnknownVoiceError):
        library.get("wide")


def test_the_file_name_counts_not_the_name_inside(model: Path) -> None:
    (model / "zoe.json").write_text(voice("anna", 77).to_json())
    library = VoiceLibrary([model], WIDTH)
    assert library.get("zoe") == voice("zoe", 77)
    assert library.get("anna") == voice("anna", 0)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs POSIX")
def test_a_directory_that_cannot_be_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    library = VoiceLibrary([model], WIDTH, user_directory=tmp_path / "file" / "voices")
    with pytest.raises(OutputError, match="CHATTTS_VOICES"):
        library.add(voice("dora"))
    assert "dora" not in library


def test_where_the_users_voices_live(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert user_voice_directory({"CHATTTS_VOICES": str(tmp_path)}) == tmp_path
    monkeypatch.setattr("sys.platform", "linux")
    assert user_voice_directory({"XDG_DATA_HOME": str(tmp_path)}) == tmp_path / "chattts-onnx" / "voices"
    assert user_voice_directory({}) == Path.home() / ".local" / "share" / "chattts-onnx" / "voices"
    monkeypatch.setattr("sys.platform", "darwin")
    assert user_voice_directory({}).parts[-4:] == ("Library", "Application Support", "chattts-onnx", "voices")
    monkeypatch.setattr("sys.platform", "win32")
    assert user_voice_directory({"APPDATA": str(tmp_path)}) == tmp_path / "chattts-onnx" / "voices"


def test_of_a_model_directory(tiny_model: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(tiny_model)
    library = VoiceLibrary.of_model(tiny_model, manifest, user_directory=tmp_path)
    if manifest.voice_statistics is not None or library.names():
        assert library.default().width == manifest.gpt.hidden_size
        assert library.get(5) == library.get("5")
    library.add(voice("mine", 1, manifest.gpt.hidden_size))
    assert library.get("mine").width == manifest.gpt.hidden_size


def test_the_models_choice_speaks_when_nobody_is_asked_for(model: Path, user: Path) -> None:
    library = VoiceLibrary([model], WIDTH, user_directory=user, default_voice="bo")
    assert library.get(None).name == "bo"
    library.add(voice("default", 9))
    assert library.get(None).name == "default"
