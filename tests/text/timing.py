"""Processor time of a call: other processes on the machine must not fail a test of linearity."""

from __future__ import annotations

import time
from typing import Any, Callable

import pytest

WORDS = """a a. a@ 9 9, 9. 9- 9/ 9: 9% $9 ￥9 - — ， 。 … ！ ? . ( （ [ ] [a [laugh] [[ <p> <p &amp; * _ ` ~ |- http://
www. a@b.c １ Ａ 你 你1 一 年 1年 2个 第1 α é \u0301 😀 \u200b ' " “ A A. 1st +1 ± 1=1 1x 12: 0 1-800- a-1 1° 1km 拨打
尾号1 1-1领先 US$ ¼ Ⅳ 한 の e.g. 1.1. ]( <speak> &"""
FLOODS = [*WORDS.split(), "9 ", "1/2 ", "# ", "\n", "\r\n", " ", "\t", "AB ", "IV ", "St. ", "Jan 1 "]
"""Symbols that have made somebody's normaliser quadratic, and some more."""

FAST = {"a", "9", "9-", "￥9", "(", "[", "a@b.c", "你1", "1年", "A.", "\n", "1/2 ", "e.g."} & set(FLOODS)
FLOOD_CASES = [symbol if symbol in FAST else pytest.param(symbol, marks=pytest.mark.slow) for symbol in FLOODS]
"""All of them as test parameters; the fast suite runs a few, the slow one the rest."""


def flood(symbol: str, length: int = 100_000) -> str:
    return (symbol * (length // len(symbol) + 1))[:length]


def seconds(call: Callable[[], Any]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin
