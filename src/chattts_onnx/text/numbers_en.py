"""How English reads digits: as a quantity, an ordinal, a year, a decimal, one by one.

Everything takes the digits as written, a string. Quantities are read up to 10^18 - 1; what is longer is read digit
by digit. Hyphens are not written (`twenty three`): they are not heard.
"""

from __future__ import annotations

from typing import Dict, List

_UP_TO_NINETEEN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_ONES = _UP_TO_NINETEEN.split()
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_THOUSANDS = ("", "thousand", "million", "billion", "trillion", "quadrillion")
_ORDINALS: Dict[str, str] = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
MAX_DIGITS = 18


def digits(text: str, *, zero: str = "zero") -> str:
    """Digits one by one; ``zero`` is how nought is said (``oh`` in years and telephone numbers)."""
    return " ".join(zero if char == "0" else _ONES[int(char)] for char in text if char in "0123456789")


def cardinal(text: str) -> str:
    """A whole number: ``"315"`` is three hundred and fifteen. A leading zero makes it digit by digit."""
    text = text.replace(",", "")
    if (len(text) > 1 and text.startswith("0")) or len(text) > MAX_DIGITS:
        return digits(text)
    value = int(text)
    if value < 20:
        return _ONES[value]
    parts: List[str] = []
    groups: List[int] = []
    while value:
        groups.append(value % 1000)
        value //= 1000
    for index in range(len(groups) - 1, -1, -1):
        if groups[index]:
            read = _below_thousand(groups[index], joined=index == 0 and len(groups) > 1)
            parts.append(f"{read} {_THOUSANDS[index]}" if index else read)
    return " ".join(parts)


def ordinal(text: str) -> str:
    """``"21"`` is twenty first."""
    return to_ordinal(cardinal(text.lstrip("0") or "0"))


def to_ordinal(read: str) -> str:
    """The ordinal of a number already in words."""
    head, space, last = read.rpartition(" ")
    if last in _ORDINALS:
        last = _ORDINALS[last]
    elif last.endswith("y"):
        last = last[:-1] + "ieth"
    else:
        last += "th"
    return head + space + last


def decimal(text: str) -> str:
    """A number with or without a fraction: ``"3.05"`` is three point oh five, ``".5"`` is point five."""
    whole, point, fraction = text.partition(".")
    if not point or not fraction:
        return cardinal(whole or "0")
    head = cardinal(whole) + " " if whole else ""
    return f"{head}point {digits(fraction, zero='oh')}"


def year(text: str) -> str:
    """``"1988"`` is nineteen eighty eight, ``"2005"`` two thousand and five, ``"1905"`` nineteen oh five."""
    if len(text) != 4:
        return cardinal(text)
    head, tail = text[:2], text[2:]
    if head[1] == "0" and tail[0] == "0":
        return cardinal(text)
    if tail == "00":
        return f"{cardinal(head)} hundred"
    return f"{cardinal(head)} {'oh ' + _ONES[int(tail[1])] if tail[0] == '0' else cardinal(tail)}"


def plural(read: str) -> str:
    """Plural of the last word: decades (``seventies``) and units."""
    if read.endswith("y") and read[-2:-1] not in ("a", "e", "o", "u"):
        return read[:-1] + "ies"
    if read.endswith(("s", "x", "ch", "sh")):
        return read + "es"
    return read + "s"


def _below_thousand(value: int, *, joined: bool) -> str:
    """A number below 1000; ``joined``: it follows thousands, so a small rest takes an ``and``."""
    words: List[str] = []
    if value >= 100:
        words += [_ONES[value // 100], "hundred"]
        value %= 100
        if value:
            words.append("and")
    elif joined:
        words.append("and")
    if value >= 20:
        words.append(_TENS[value // 10])
        value %= 10
        if value:
            words.append(_ONES[value])
    elif value:
        words.append(_ONES[value])
    return " ".join(words)
