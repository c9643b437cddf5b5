"""Files of every community, told apart by content."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chattts_onnx.errors import VoiceFormatError
from chattts_onnx.voices import Voice, embedding_to_string, name_from, read_voice, read_voice_file, to_csv
from chattts_onnx.voices.strings import codes_to_string

VALUES = np.random.default_rng(0).standard_normal(768).astype(np.float16).astype(np.float32)


def forge(tokens: Any, **meta: Any) -> bytes:
    return json.dumps({"id": "x", "version": "0.1", "meta": meta, "token": tokens}).encode()


def forge_token(values: np.ndarray, model: str = "chat-tts") -> dict:
    data = base64.b64encode(values.astype("<f4").tobytes()).decode()
    return {"model_id": model, "tokens": [{"_type": "torch.Tensor", "data": data}]}


def test_csv_of_one_number_a_line() -> None:
    text = "".join(f"{value}\n" for value in VALUES.tolist())
    for data in (text, text.replace("\n", "\r\n"), "\ufeff" + text, ",".join(map(str, VALUES.tolist()))):
        np.testing.assert_allclose(read_voice(data.encode(), name="a").embedding, VALUES, rtol=1e-6)


def test_csv_round_trip_is_exact() -> None:
    voice = Voice("a", np.random.default_rng(3).standard_normal(768).astype(np.float32))
    np.testing.assert_array_equal(read_voice(to_csv(voice).encode(), name="a").embedding, voice.embedding)
    with pytest.raises(VoiceFormatError, match="no embedding"):
        to_csv(Voice("b", prompt_codes=np.ones((5, 4), int)))


def test_text_with_a_voice_string() -> None:
    text = embedding_to_string(VALUES)
    for data in (text, f'"{text}"\n', "\n".join((text[:100], text[100:]))):
        np.testing.assert_array_equal(read_voice(data.encode(), name="a").embedding, VALUES)


def test_text_with_codes_needs_the_words() -> None:
    codes = np.random.default_rng(0).integers(0, 626, (50, 4))
    data = codes_to_string(codes).encode()
    with pytest.raises(VoiceFormatError, match="--text"):
        read_voice(data, name="a")
    voice = read_voice(data, name="a", transcript="你好")
    np.testing.assert_array_equal(voice.prompt_codes, codes)
    assert voice.prompt_text == "你好"


def test_speech_ai_forge() -> None:
    voice = read_voice(forge([forge_token(VALUES)], author="someone", license="CC0"), name="f", origin="f.spkv1.json")
    np.testing.assert_array_equal(voice.embedding, VALUES)
    assert voice.licence == "CC0"
    assert voice.provenance == "imported from f.spkv1.json, by someone"
    both = forge([forge_token(VALUES), forge_token(VALUES[:100], "cosyvoice")])
    assert read_voice(both, name="f").width == 768


@pytest.mark.parametrize(
    "tokens",
    [[], [forge_token(VALUES, "fish")], [forge_token(VALUES)] * 2,
     [{"model_id": "chat-tts", "tokens": [{"data": "!"}]}],
     [{"model_id": "chat-tts", "tokens": [{"data": "AAA="}]}], [3], ["x"], [{"model_id": "chat-tts", "tokens": 5}],
     [{"model_id": "chat-tts", "tokens": [7]}], [{"model_id": "chat-tts", "tokens": [{"data": ""}]}],
     [{"model_id": "chat-tts", "tokens": [{"data": "AAAA" * 20_000}]}]],
)  # fmt: skip
def test_damaged_forge_files_are_refused(tokens: Any) -> None:
    with pytest.raises(VoiceFormatError):
        read_voice(forge(tokens), name="f")


def test_own_files_are_renamed() -> None:
    voice = Voice("old", VALUES, licence="CC0", language=("en",))
    got = read_voice(voice.to_json().encode(), name="new")
    assert got == voice.renamed("new")


def torch_file(pickle_code: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("a/data.pkl", pickle_code)
        file.writestr("a/data/0", VALUES.tobytes())
    return buffer.getvalue()


TENSOR = (
    b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
    b"X\x03\x00\x00\x00cpuM\x00\x03tQK\x00%b\x89ccollections\nOrderedDict\n)RtR."
)


def test_torch_files(tmp_path: Path) -> None:
    path = tmp_path / "seed_1528_restored_emb.pt"
    for shape in (b"M\x00\x03\x85K\x01\x85", b"K\x01M\x00\x03\x86M\x00\x03K\x01\x86"):
        path.write_bytes(torch_file(TENSOR % shape))
        voice = read_voice_file(path)
        np.testing.assert_array_equal(voice.embedding, VALUES)
        assert voice.name == "seed_1528_restored_emb"
        assert voice.provenance == "imported from seed_1528_restored_emb.pt"


def test_a_torch_file_with_a_string() -> None:
    text = embedding_to_string(VALUES).encode()
    code = b"\x80\x02X" + len(text).to_bytes(4, "little") + text + b"q\x00."
    np.testing.assert_array_equal(read_voice(torch_file(code), name="a").embedding, VALUES)


def test_old_torch_files_are_explained() -> None:
    with pytest.raises(VoiceFormatError, match=r"PyTorch before 1\.6"):
        read_voice(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", name="a")


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe\x00", b"hello", b"1.0", b"1 2 x", b"{", b"{}", b"[1, 2]", "女声".encode(), b"nan\nnan", b"0\n0\n0",
     b"1\n" * 20_000, b"9" * 2_000_000, b"RIFF\x00\x00\x00\x00WAVE", b"\n" * 500_000, b'{"token": 3}'],
)  # fmt: skip
def test_everything_else_is_refused(data: bytes) -> None:
    with pytest.raises(VoiceFormatError):
        read_voice(data, name="a")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(VoiceFormatError, match="No such file"):
        read_voice_file(tmp_path / "none.pt")
    with pytest.raises(VoiceFormatError, match="cannot be read"):
        read_voice_file(tmp_path)
    huge = tmp_path / "huge.pt"
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(VoiceFormatError, match="MiB"):
        read_voice_file(huge)


@pytest.mark.parametrize(
    ("file", "name"),
    [("2222.csv", "voice-2222"), ("女声.pt", "voice"), ("My Voice (1).pt", "my-voice-1"), ("a.spkv1.json", "a"),
     ("x" * 90 + ".pt", "x" * 64), ("..pt", "voice"), ("-_.pt", "voice")],
)  # fmt: skip
def test_names_from_files(file: str, name: str) -> None:
    assert name_from(file) == name
