"""The phoneme front end: readings a listener would accept, and no text it cannot take."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from chattts_onnx.text.phonemes import PhonemeTokenizer, vocabulary

pytest.importorskip("pypinyin")


@pytest.fixture(scope="module")
def tokenizer() -> PhonemeTokenizer:
    return PhonemeTokenizer(vocabulary())


def spoken(tokenizer: PhonemeTokenizer, text: str) -> str:
    return " ".join(s for s in tokenizer.phonemize(text) if s != " ")


@pytest.mark.parametrize(
    ("text", "symbols"),
    [
        ("你好", "n- i2 h- ao3"),
        ("小老虎", "x- iao2 l- ao2 h- u3"),
        ("一个", "i2 g- e5"),
        ("一起", "i4 q- i3"),
        ("第一", "d- i4 i1"),
        ("不是", "b- u2 sh- ir4"),
        ("不好", "b- u4 h- ao3"),
        ("看一看", "k- an4 i5 k- an4"),
        ("他跑得快", "t- a1 p- ao3 d- e5 k- uai4"),
        ("得到", "d- e2 d- ao4"),
        ("银行行长", "in2 h- ang2 h- ang2 zh- ang3"),
        ("重庆很重", "ch- ong2 q- ing4 h- en3 zh- ong4"),
        ("绿色", "l- v4 s- e4"),
        ("四是十", "s- iz4 sh- ir4 sh- ir2"),
    ],
)
def test_mandarin_is_read_as_spoken(tokenizer: PhonemeTokenizer, text: str, symbols: str) -> None:
    assert spoken(tokenizer, text) == symbols


@pytest.mark.parametrize(
    ("text", "phonemes"),
    [
        ("the apple", "ði ˈæpᵊl"),
        ("the banana", "ðə bənˈænə"),
        ("copies", "kˈɑpiz"),
        ("waited", "wˈATᵻd"),
        ("U.S.A.", "jˌuˌɛsˈA"),
        ("ONNX", "ˌOˌɛnˌɛnˈɛks"),
        ("Dr. Smith", "dˈɑktəɹ smˈɪθ"),
        ("café", "kæfˈA"),
        ("well, yes.", "wˈɛl, jˈɛs."),
    ],
)
def test_english_is_read_by_lexicon_rules_and_letters(tokenizer: PhonemeTokenizer, text: str, phonemes: str) -> None:
    assert "".join(tokenizer.phonemize(text)) == phonemes


def test_mixed_text_and_tags_keep_their_order(tokenizer: PhonemeTokenizer) -> None:
    symbols = tokenizer.phonemize("[Stts][spk_emb][speed_5]你好 hello[uv_break]。[Ptts]")
    assert symbols[:3] == ["[Stts]", "[spk_emb]", "[speed_5]"]
    assert symbols[-1] == "[Ptts]"
    assert symbols.index("ao3") < symbols.index("h") < symbols.index("[uv_break]")


def test_unknown_tags_are_no_tags(tokenizer: PhonemeTokenizer) -> None:
    assert not any(s.startswith("[") for s in tokenizer.phonemize("[nonsense] [ ]"))


def test_digits_are_read_in_the_language_around(tokenizer: PhonemeTokenizer) -> None:
    assert spoken(tokenizer, "3个") == "s- an1 g- e4"
    assert "".join(tokenizer.phonemize("3 apples")).startswith("θɹˈi")


def test_no_text_fails_and_every_symbol_is_in_the_vocabulary(tokenizer: PhonemeTokenizer) -> None:
    rng = random.Random(0)
    ranges = ((32, 127), (0x4E00, 0x9FFF), (0, 0x3000), (0x1F300, 0x1FAFF), (0x20000, 0x2FFFF))
    for _ in range(300):
        text = "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(40)))
        assert all(s in tokenizer.vocab for s in tokenizer.phonemize(text)), text
        assert all(0 <= i < len(tokenizer.vocab) for i in tokenizer.encode(text))


def test_a_vocabulary_without_the_unknown_symbol_is_refused() -> None:
    with pytest.raises(ValueError, match="UNK"):
        PhonemeTokenizer({"a1": 0})


def test_the_file_format(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"kind": "phonemes", "vocab": vocabulary()}), "utf-8")
    assert PhonemeTokenizer.from_file(path).encode("你好") == PhonemeTokenizer(vocabulary()).encode("你好")
    path.write_text("{}", "utf-8")
    with pytest.raises(ValueError, match="phoneme"):
        PhonemeTokenizer.from_file(path)
