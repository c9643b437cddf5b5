"""How Mandarin reads digits: as a quantity, one by one, as a year, as a decimal.

Everything takes the digits as written, a string, because `007`, `1.50` and `2008` lose what matters as numbers.
Quantities are read up to 10^16 - 1; what is longer is read digit by digit, since no listener could follow it anyway.
"""

from __future__ import annotations

from typing import List

DIGITS = "零一二三四五六七八九"
_UNITS = ("", "十", "百", "千")
_GROUPS = ("", "万", "亿", "万亿")
MAX_DIGITS = 16


def digits(text: str, *, telephone: bool = False) -> str:
    """Digits one by one; in a telephone number one is 幺. Other characters are left out."""
    read = "".join(DIGITS[int(char)] for char in text if char in "0123456789")
    return read.replace("一", "幺") if telephone else read


def cardinal(text: str, *, classifier: bool = False) -> str:
    """A whole number: ``"315"`` is 三百一十五.

    Args:
        text: digits, thousands separators allowed; a leading zero makes it digit by digit.
        classifier: two alone is 两 (两个), as before a measure word.
    """
    text = text.replace(",", "")
    if len(text) > 1 and text.startswith("0"):
        return digits(text)
    if len(text) > MAX_DIGITS:
        return digits(text)
    value = int(text)
    if value == 0:
        return "零"
    if value == 2 and classifier:
        return "两"
    groups: List[int] = []
    while value:
        groups.append(value % 10000)
        value //= 10000
    read = ""
    for index in range(len(groups) - 1, -1, -1):
        group = groups[index]
        if group == 0:
            continue
        # A gap is said once: 一万零五, 十万零五十.
        if read and (group < 1000 or groups[index + 1] == 0):
            read += "零"
        read += _group(group, first=not read) + _unit(index, groups)
    # Two before a hundred, a thousand or a myriad at the head of a number: 两百, 两千, 两万, but 二十.
    if len(read) > 1 and read[0] == "二" and read[1] in "百千万亿":
        return "两" + read[1:]
    return read


def decimal(text: str, *, classifier: bool = False) -> str:
    """A number with or without a fraction: ``"3.14"`` is 三点一四, ``".5"`` is 零点五."""
    whole, point, fraction = text.partition(".")
    if not point or not fraction:
        return cardinal(whole or "0", classifier=classifier)
    head = cardinal(whole) if whole.replace(",", "") else "零"
    if whole.startswith("0") and len(whole) > 1:
        head = digits(whole)
    return head + "点" + digits(fraction)


def year(text: str) -> str:
    """A year, digit by digit."""
    return digits(text)


def _unit(index: int, groups: List[int]) -> str:
    if index == 3 and groups[2]:  # 一万二千亿: the unit of the trillions is said with the hundred millions
        return "万"
    return _GROUPS[index]


def _group(value: int, *, first: bool) -> str:
    """A number below 10000; ten to nineteen at the start are 十 …, not 一十 …."""
    read = ""
    gap = False
    for power in (3, 2, 1, 0):
        digit = value // 10**power % 10
        if digit == 0:
            gap = bool(read)
            continue
        if gap:
            read += "零"
            gap = False
        if power == 1 and digit == 1 and not read and first:
            read += "十"
        else:
            read += DIGITS[digit] + _UNITS[power]
    return read
