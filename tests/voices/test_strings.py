"""The reference's voice strings: golden, round trips, damage and bombs."""

from __future__ import annotations

import lzma
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.errors import VoiceFormatError
from chattts_onnx.voices.strings import (
    CODES_HEAD,
    MAX_CODES_BYTES,
    MAX_EMBEDDING_BYTES,
    b14_decode,
    b14_encode,
    codes_from_string,
    codes_to_string,
    embedding_from_string,
    embedding_to_string,
    looks_like_voice_string,
    statistics_from_string,
)


def raw_lzma(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 9}])


def random_embedding(width: int = 768) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(width).astype(np.float16).astype(np.float32)


def test_golden_embedding(golden: Any) -> None:
    text = golden.text["speaker_embedding_string"]
    embedding = embedding_from_string(text)
    np.testing.assert_array_equal(embedding, golden.arrays["speaker_embedding"].astype(np.float32))
    assert embedding_to_string(embedding) == text


def test_golden_codes(golden: Any) -> None:
    text = golden.text["prompt_codes_string"]
    codes = codes_from_string(text, code_limit=626)
    np.testing.assert_array_equal(codes, golden.arrays["prompt_codes"].T)
    assert codes_to_string(codes) == text


def test_golden_statistics(golden: Any) -> None:
    mean, std = statistics_from_string(golden.text["spk_stat_string"])
    assert len(mean) == len(std) == 128
    assert (std > 0).all()
    assert (mean < 0).any()


@given(st.binary(max_size=200))
def test_base16384_round_trip(data: bytes) -> None:
    text = b14_encode(data)
    assert b14_decode(text) == data
    assert all(0x4E00 <= ord(character) < 0x8E00 for character in text[:-1])
    assert len(text) == -(-len(data) * 8 // 14) + (1 if len(data) % 7 else 0)


def test_base16384_known_values() -> None:
    assert b14_encode(b"") == ""
    assert b14_encode(bytes(7)) == "\u4e00" * 4
    assert b14_encode(b"\xff" * 7) == "\u8dff" * 4
    assert b14_encode(b"\xe0\x05\xff")[:1] == "蘁"
    assert b14_encode(b"\x04\x00") == "\u4f00\u4e00\u3d02"


@given(st.text(max_size=40))
def test_base16384_refuses_everything_else_politely(text: str) -> None:
    try:
        data = b14_decode(text)
    except VoiceFormatError:
        return
    assert b14_decode(b14_encode(data)) == data


def test_the_published_width_starts_as_it_should() -> None:
    text = embedding_to_string(random_embedding())
    assert text.startswith("蘁淰")
    assert looks_like_voice_string(text)
    np.testing.assert_array_equal(embedding_from_string(f"  {text[:50]}\n{text[50:]}\n"), random_embedding())


@given(frames=st.integers(1, 60), seed=st.integers(0, 9))
@settings(max_examples=20, deadline=None)
def test_codes_round_trip(frames: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 626, (frames, 4))
    text = codes_to_string(codes)
    assert text.startswith(CODES_HEAD)
    np.testing.assert_array_equal(codes_from_string(text), codes)


def test_one_kind_given_for_the_other_is_named() -> None:
    embedding, codes = embedding_to_string(random_embedding()), codes_to_string(np.ones((9, 4), np.int64))
    with pytest.raises(VoiceFormatError, match=r"spk_smp string.*--text"):
        embedding_from_string(codes)
    with pytest.raises(VoiceFormatError, match=r"not a spk_smp string.*spk_emb"):
        codes_from_string(embedding)


@pytest.mark.parametrize("cut", [1, 2, 5, 100, 400])
def test_cut_strings_say_so(cut: int) -> None:
    for text, read in (
        (embedding_to_string(random_embedding()), embedding_from_string),
        (codes_to_string(np.random.default_rng(0).integers(0, 626, (400, 4))), codes_from_string),
    ):
        with pytest.raises(VoiceFormatError, match="copy"):
            read(text[:-cut])


def test_changed_strings_never_crash() -> None:
    text = embedding_to_string(random_embedding())
    rng = np.random.default_rng(1)
    for _ in range(200):
        position = int(rng.integers(0, len(text)))
        changed = text[:position] + chr(0x4E00 + int(rng.integers(0, 1 << 14))) + text[position + 1 :]
        try:
            embedding = embedding_from_string(changed)
        except VoiceFormatError:
            continue
        assert embedding.dtype == np.float32


@pytest.mark.parametrize("size", [MAX_EMBEDDING_BYTES + 1, 5_000_000])
def test_embedding_bombs_are_refused_early(size: int) -> None:
    bomb = b14_encode(raw_lzma(bytes(size)))
    assert len(bomb) < 20_000
    with pytest.raises(VoiceFormatError, match="too large"):
        embedding_from_string(bomb)


def test_codes_bombs_are_refused_early() -> None:
    header = np.array([4, 1000], "<u2").tobytes()
    with pytest.raises(VoiceFormatError, match="too large"):
        codes_from_string(b14_encode(header + raw_lzma(bytes(MAX_CODES_BYTES + 1))))


@pytest.mark.parametrize("shape", [(4, 0), (4, 5000), (3, 10), (65535, 65535)])
def test_stated_sizes_are_checked(shape: tuple) -> None:
    header = np.array(shape, "<u2").tobytes()
    text = b14_encode(header + raw_lzma(bytes(80)))
    with pytest.raises(VoiceFormatError, match=r"states|not a spk_smp"):
        codes_from_string(text)


def test_fewer_codes_than_stated() -> None:
    header = np.array([4, 10], "<u2").tobytes()
    with pytest.raises(VoiceFormatError, match="fewer or more"):
        codes_from_string(b14_encode(header + raw_lzma(bytes(60))))


def test_codes_of_another_model() -> None:
    text = codes_to_string(np.full((3, 4), 700))
    with pytest.raises(VoiceFormatError, match="another model"):
        codes_from_string(text, code_limit=626)


def test_endless_text_is_not_looked_at() -> None:
    with pytest.raises(VoiceFormatError, match="longer than"):
        embedding_from_string("蘁" * 1_000_000)


@pytest.mark.parametrize("text", ["", "female", "蘁淰", "四川美食确实以辣闻名，但也有不辣的选择。四川美食"])
def test_names_and_sentences_are_no_strings(text: str) -> None:
    assert not looks_like_voice_string(text)
