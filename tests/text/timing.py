"""Processor time of a call: other processes on the machine must not fail a test of linearity."""

from __future__ import annotations

import time
from typing import Any, Callable

FLOODS = [
    "a", "a.", "a@", "9", "9,", "9.", "9-", "9/", "9:", "9 ", "1/2 ", "9%", "$9", "￥9", "-", "—", "，", "。", "…", "！", "?", ".", "(",
    "（", "[", "]", "[a", "[laugh]", "[[", "<p>", "<p", "&amp;", "*", "_", "`", "# ", "~", "|-", "http://", "www.", "a@b.c", "１", "Ａ",
    "你", "你1", "一", "年", "1年", "2个", "第1", "α", "é", "\u0301", "😀", "\u200b", "\n", "\r\n", " ", "\t", "'", '"', "“", "A", "A.",
    "AB ", "IV ", "1st ", "+1", "±", "1=1", "1x", "12:", "0", "1-800-", "St. ", "Jan 1 ", "a-1", "1°", "1km", "拨打", "尾号1", "1-1领先",
    "US$", "¼", "Ⅳ", "한", "の", "e.g.", "1.1.", "](", "<speak>", "&",
]  # fmt: skip
"""Symbols that have made somebody's normaliser quadratic, and some more."""


def flood(symbol: str, length: int = 100_000) -> str:
    return (symbol * (length // len(symbol) + 1))[:length]


def seconds(call: Callable[[], Any]) -> float:
    begin = time.process_time()
    call()
    return time.process_time() - begin
