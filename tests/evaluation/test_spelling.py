from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.evaluation.spelling import english_words, mandarin_tokens, number_words, ordinal, pinyin_tokens

opencc = pytest.importorskip("opencc", reason="the eval extra is not installed")
pytest.importorskip("cn2an", reason="the eval extra is not installed")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026年", "二零二六年"),
        ("有12个人", "有十二个人"),
        ("3.5元", "三点五元"),
        ("50%", "百分之五十"),
        ("1,250米", "一千二百五十米"),
        ("違章經營", "违章经营"),
        ("两个人", "二个人"),
        ("你好[uv_break]，世界！", "你好世界"),
        ("ＡＢＣ公司", ["abc", "公", "司"]),
        ("我用Python写", ["我", "用", "python", "写"]),
    ],
)
def test_mandarin_is_written_one_way(text, expected):
    assert mandarin_tokens(text) == list(expected)


def test_digits_that_are_no_number_are_read_one_by_one():
    assert mandarin_tokens("9" * 60) == ["九"] * 60


@given(st.text(max_size=40))
def test_any_text_has_tokens_without_digits_or_space(text):
    for token in mandarin_tokens(text):
        assert token
        assert not any(character.isspace() or character in "0123456789" for character in token)


def test_pinyin_has_one_syllable_a_character_and_keeps_latin_words():
    tokens = mandarin_tokens("银行的行长用Python")
    assert pinyin_tokens(tokens) == ["yin", "hang", "de", "hang", "zhang", "yong", "python"]


@pytest.mark.parametrize(
    ("digits", "words"),
    [
        ("0", "zero"),
        ("13", "thirteen"),
        ("42", "forty two"),
        ("105", "one hundred five"),
        ("1998", "nineteen ninety eight"),
        ("1905", "nineteen oh five"),
        ("2000", "two thousand"),
        ("1,998", "one thousand nine hundred ninety eight"),
        ("3.14", "three point one four"),
        ("007", "zero zero seven"),
        ("1000000", "one million"),
    ],
)
def test_numbers_are_read(digits, words):
    assert number_words(digits) == words


@pytest.mark.parametrize(("value", "words"), [(1, "first"), (12, "twelfth"), (21, "twenty first"), (30, "thirtieth")])
def test_ordinals_are_read(value, words):
    assert ordinal(value) == words


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("We don't know.", "we do not know"),
        ("Mr. Smith paid $20.", "mister smith paid twenty dollars"),
        ("a hundred and five", "105"),
        ("the 3rd of May", "the third of may"),
        ("50% of it", "fifty percent of it"),
        ("It\u2019s grey", "it's gray"),
        ("[laugh]yes", "Yes!"),
    ],
)
def test_two_spellings_are_the_same_words(one, other):
    assert english_words(one) == english_words(other)


def test_different_words_stay_different():
    assert english_words("fifteen") != english_words("fifty")
    assert english_words("it is here") != english_words("it was here")


@given(st.text(max_size=60))
def test_any_english_text_has_plain_words(text):
    assert all(word.isascii() and word.islower() and word.isalpha() for word in english_words(text))
