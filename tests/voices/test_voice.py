"""The value, its file, mixing and cloning."""

from __future__ import annotations

import json
from typing import Any, Dict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.errors import InputError, VoiceFormatError
from chattts_onnx.voices import Voice, clone, is_voice_name, mix


def embedding(seed: int = 0, width: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(width).astype(np.float32)


def full() -> Voice:
    codes = np.random.default_rng(0).integers(0, 626, (20, 4))
    return Voice("anna", embedding(), codes, "你好 hello", ("zh", "en"), "CC0-1.0", "made for this test")


def test_the_file_brings_everything_back() -> None:
    voice = full()
    again = Voice.from_json(voice.to_json())
    assert again == voice
    assert hash(again) == hash(voice)
    np.testing.assert_array_equal(again.embedding, voice.embedding)
    np.testing.assert_array_equal(again.prompt_codes, voice.prompt_codes)
    assert again.prompt_codes is not None
    assert again.prompt_codes.dtype == np.int64
    data = json.loads(voice.to_json())
    assert data["format"] == "chattts-onnx.voice"
    assert data["version"] == 1
    assert data["prompt_codes"]["shape"] == [20, 4]


def test_a_clone_needs_no_embedding_and_a_plain_voice_no_codes() -> None:
    for voice in (Voice("a", embedding()), Voice("b", prompt_codes=full().prompt_codes, prompt_text="hi")):
        assert Voice.from_json(voice.to_json()) == voice
    with pytest.raises(VoiceFormatError, match="neither"):
        Voice("c")


def test_a_voice_does_not_change() -> None:
    source = embedding()
    voice = Voice("a", source)
    source[0] = 99
    assert voice.embedding is not None
    assert voice.embedding[0] != 99
    with pytest.raises(ValueError, match="read-only"):
        voice.embedding[0] = 1
    with pytest.raises(AttributeError):
        voice.name = "b"  # type: ignore[misc]
    assert voice.renamed("b").name == "b"
    assert voice != voice.renamed("b")
    assert voice != "a"


def test_a_row_is_taken_as_a_vector() -> None:
    assert Voice("a", embedding()[None]).width == 16


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(16),
        np.full(16, np.nan),
        np.array([1.0, np.inf]),
        np.ones((2, 16)),
        np.ones(0),
        np.ones(9000),
        np.float32(3),
    ],
)
def test_embeddings_that_are_none(values: np.ndarray) -> None:
    with pytest.raises(VoiceFormatError):
        Voice("a", values)


@pytest.mark.parametrize(
    "values",
    [np.ones((20, 3), int), np.ones(20, int), np.ones((0, 4), int), np.ones((2000, 4), int), np.full((2, 4), -1),
     np.full((2, 4), 70000), np.ones((2, 4))],
)  # fmt: skip
def test_codes_that_are_none(values: np.ndarray) -> None:
    with pytest.raises(VoiceFormatError):
        Voice("a", prompt_codes=values)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "other"}, {"version": 2}, {"version": "1"}, {"name": "../x"}, {"name": 3}, {"name": ""},
        {"name": "A"}, {"embedding": "!!!"}, {"embedding": "AAA="}, {"embedding": 3}, {"embedding": ""},
        {"embedding": "A" * 200_000},
        {"language": [1]}, {"language": {"zh": 1}}, {"licence": ["x"]}, {"provenance": "x" * 3000},
        {"prompt_codes": [1]}, {"prompt_codes": {"shape": [20, 4]}},
        {"prompt_codes": {"shape": [4, 1], "data": "AAAAAAAAAAA="}},
        {"prompt_codes": {"shape": "x", "data": "AAAAAAAAAAA="}}, {"embedding": None, "prompt_codes": None},
    ],
)  # fmt: skip
def test_damaged_files_are_refused(change: Dict[str, Any]) -> None:
    data = {**full().to_dict(), **change}
    with pytest.raises(VoiceFormatError):
        Voice.from_dict(data)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', "[" * 100_000, '"x"', "NaN", "x" * 300_000])
def test_what_is_no_voice_file_is_refused(text: str) -> None:
    with pytest.raises(VoiceFormatError):
        Voice.from_json(text)


@pytest.mark.parametrize("name", ["a", "anna", "2222b", "a_b-c", "x" * 64])
def test_names(name: str) -> None:
    assert is_voice_name(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "a b",
        "../a",
        "a/b",
        "a\\b",
        "-a",
        "_a",
        "a.pt",
        "a\n",
        "á",
        "甲",
        "x" * 65,
        "a\0",
        "..",
        "c:",
        "%2e",
        "ａ",
    ],
)
def test_names_that_are_none(name: str) -> None:
    assert not is_voice_name(name)


def test_a_mix_lies_between() -> None:
    first, second = Voice("a", embedding(1)), Voice("b", embedding(2) * 50)
    half = mix([(first, 1), (second, 1)]).embedding
    assert half is not None

    def cosine(one: np.ndarray, other: Any) -> float:
        return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))

    assert cosine(half, first.embedding) == pytest.approx(cosine(half, second.embedding), abs=1e-5)
    near = mix([(first, 0.9), (second, 0.1)]).embedding
    assert cosine(near, first.embedding) > cosine(half, first.embedding)
    alone = mix([(first, 0.3), (second, 0)]).embedding
    np.testing.assert_allclose(alone, first.embedding, rtol=1e-5)


def test_a_mix_carries_what_its_parts_share() -> None:
    first = Voice("a", embedding(1), language=("zh", "en"), licence="CC0")
    second = Voice("b", embedding(2), language=("zh",), licence="CC BY 4.0")
    mixed = mix([(first, 3), (second, 1)], "ab")
    assert mixed.name == "ab"
    assert mixed.language == ("zh",)
    assert mixed.licence == "CC BY 4.0; CC0"
    assert mixed.provenance == "mix: 0.75 a + 0.25 b"


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2), (float("nan"), 1), (float("inf"), 1)])
def test_weights_that_cannot_be(weights: tuple) -> None:
    with pytest.raises(InputError, match="weights"):
        mix([(Voice("a", embedding(1)), weights[0]), (Voice("b", embedding(2)), weights[1])])


def test_mixes_that_cannot_be() -> None:
    voice = Voice("a", embedding(1))
    with pytest.raises(InputError, match="nothing to mix"):
        mix([])
    with pytest.raises(InputError, match="another model"):
        mix([(voice, 1), (Voice("b", embedding(2, 8)), 1)])
    with pytest.raises(VoiceFormatError, match="recording"):
        mix([(voice, 1), (Voice("c", prompt_codes=full().prompt_codes), 1)])
    with pytest.raises(InputError, match="cancel"):
        mix([(voice, 1), (Voice("d", -embedding(1)), 1)])


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0.01, 10)), min_size=1, max_size=6))
def test_any_mix_is_a_voice(parts: list) -> None:
    mixed = mix([(Voice("a", embedding(seed)), weight) for seed, weight in parts])
    assert mixed.embedding is not None
    assert np.isfinite(mixed.embedding).all()
    assert mixed.width == 16


def test_cloning() -> None:
    codes = np.random.default_rng(0).integers(0, 626, (100, 4))
    voice = clone("me", codes, "  你好，\n  世界。 ", language=("zh",))
    assert voice.is_cloned
    assert voice.prompt_text == "你好， 世界。"
    assert voice.embedding is None
    for name, text, message in (
        ("Me", "x", "name"),
        ("me", "  ", "exact words"),
        ("me", "x" * 2001, "2001 characters"),
    ):
        with pytest.raises(InputError, match=message):
            clone(name, codes, text)
    with pytest.raises(VoiceFormatError, match="30 s"):
        clone("me", np.ones((1600, 4), int), "too long")
