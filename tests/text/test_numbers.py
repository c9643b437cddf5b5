from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.text import numbers_en, numbers_zh

VALUES = {"零": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9}


def value_zh(text: str) -> int:
    """What a Mandarin number means, read independently of how it was made."""
    for unit, size in (("亿", 10**8), ("万", 10**4)):
        if unit in text:
            head, _, tail = text.rpartition(unit) if unit == "亿" else text.partition(unit)
            return value_zh(head) * size + value_zh(tail)
    total, digit = 0, 0
    for char in text:
        if char in VALUES:
            digit = VALUES[char]
        else:
            total += (digit or 1) * {"十": 10, "百": 100, "千": 1000}[char]
            digit = 0
    return total + digit


SMALL = {word: index for index, word in enumerate("zero one two three four five six seven eight nine ten eleven twelve "
    "thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split())}  # fmt: skip
TENS = {
    word: 10 * index for index, word in enumerate("x x twenty thirty forty fifty sixty seventy eighty ninety".split())
}
LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "quadrillion": 10**15}


def value_en(text: str) -> int:
    total, group = 0, 0
    for word in text.replace(" and ", " ").split():
        if word in LARGE:
            total, group = total + group * LARGE[word], 0
        elif word == "hundred":
            group *= 100
        else:
            group += SMALL.get(word, TENS.get(word, 0))
    return total + group


@given(st.integers(0, 10**16 - 1) | st.integers(0, 200_000))
def test_mandarin_numbers_mean_what_was_written(number: int) -> None:
    assert value_zh(numbers_zh.cardinal(str(number))) == number


@given(st.integers(0, 10**18 - 1) | st.integers(0, 200_000))
def test_english_numbers_mean_what_was_written(number: int) -> None:
    assert value_en(numbers_en.cardinal(str(number))) == number


@pytest.mark.parametrize(
    ("digits", "read"),
    [
        ("10", "十"),
        ("110", "一百一十"),
        ("10010", "一万零一十"),
        ("100500", "十万零五百"),
        ("20000", "两万"),
        ("22", "二十二"),
        ("222", "两百二十二"),
        ("1000000000001", "一万亿零一"),
        ("007", "零零七"),
        ("12345678901234567", "一二三四五六七八九零一二三四五六七"),
    ],
)
def test_mandarin(digits: str, read: str) -> None:
    assert numbers_zh.cardinal(digits) == read


def test_english_forms() -> None:
    assert numbers_en.ordinal("21") == "twenty first"
    assert numbers_en.ordinal("40") == "fortieth"
    assert numbers_en.year("1900") == "nineteen hundred"
    assert numbers_en.year("2008") == "two thousand and eight"
    assert numbers_en.plural("penny") == "pennies"
    assert numbers_en.decimal("3.05") == "three point oh five"
    assert not re.search(r"\d", numbers_en.cardinal("9" * 30))
