"""Two ways of writing the same words, made equal before they are counted.

A recogniser writes numbers as digits, picks traditional characters now and then, and joins or splits compounds; none
of that was heard wrongly. Every rule here is applied to the reference and to the transcript alike, so a rule can
hide an error but never invent one.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from typing import Dict, List, Sequence

from chattts_onnx.errors import MissingExtraError

_PURPOSE = "scoring a transcript"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN = re.compile(f"[{_HAN}]|[a-z]+|[0-9]+")
_DIGITS = re.compile(r"[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?")
_TAG = re.compile(r"\[[A-Za-z]+(?:_[A-Za-z0-9]+)?\]")
# Written forms of one reading; 两 is read liang, and recognisers write both 两个 and 2个 for it.
_FOLDED = str.maketrans({"〇": "零", "两": "二", "廿": "二"})

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (10**3, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_SUFFIXES = (("n't", " not"), ("'re", " are"), ("'ve", " have"), ("'ll", " will"), ("'m", " am"))
_IRREGULAR = {"can't": "can not", "won't": "will not", "cannot": "can not", "let's": "let us"}
_SPELLINGS: Dict[str, str] = {
    "mr": "mister",
    "mrs": "missus",
    "dr": "doctor",
    "okay": "ok",
    "grey": "gray",
    "colour": "color",
    "harbour": "harbor",
    "neighbour": "neighbor",
    "centre": "center",
    "theatre": "theater",
    "favourite": "favorite",
    "smokey": "smoky",
    "programme": "program",
    "litre": "liter",
    "litres": "liters",
    "metre": "meter",
    "metres": "meters",
    "kilometre": "kilometer",
    "kilometres": "kilometers",
}
_UNITS = {"%": " percent", "&": " and ", "°": " degrees ", "$": " dollars "}


def strip_tags(text: str) -> str:
    """``text`` without control tags such as ``[uv_break]``, which nobody hears."""
    return _TAG.sub(" ", text)


def mandarin_tokens(text: str) -> List[str]:
    """Characters of a Mandarin text, digits spelled out, simplified; a Latin word is one token.

    Raises:
        MissingExtraError: the extra ``eval`` is not installed.
    """
    plain = unicodedata.normalize("NFKC", strip_tags(text)).lower()
    plain = _simplified(plain)
    plain = _digits_to_hanzi(plain)
    return _TOKEN.findall(plain.translate(_FOLDED))


def pinyin_tokens(tokens: Sequence[str]) -> List[str]:
    """Toneless syllables of `mandarin_tokens`; Latin words stay as they are."""
    from pypinyin import Style, lazy_pinyin

    syllables: List[str] = []
    for run in re.findall(f"[{_HAN}]+|[^{_HAN} ]+", _spaced(tokens)):
        if re.match(f"[{_HAN}]", run):
            syllables.extend(lazy_pinyin(run, style=Style.NORMAL))
        else:
            syllables.append(run)
    return syllables


def english_words(text: str) -> List[str]:
    """Lower-case words of an English text: numbers spelled out, contractions opened, American spelling.

    A four-digit number that can be a year is read as one (1998: nineteen ninety eight), others as amounts, and ``and``
    inside a number is dropped.
    """
    plain = unicodedata.normalize("NFKC", strip_tags(text)).lower().replace("\u2019", "'")
    plain = re.sub(r"\$([0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?)", r"\1$", plain)
    plain = re.sub(r"([0-9]{1,2}):00\b", r"\1 o'clock ", plain)
    plain = re.sub(r"([0-9]+)(st|nd|rd|th)\b", lambda found: f" {ordinal(int(found.group(1)))} ", plain)
    plain = _DIGITS.sub(lambda found: f" {number_words(found.group())} ", plain)
    for symbol, spoken in _UNITS.items():
        plain = plain.replace(symbol, spoken)
    words: List[str] = []
    for word in re.findall(r"[a-z']+", plain):
        words.extend(_IRREGULAR.get(word, _opened(word)).replace("'", "").split())
    words = [_SPELLINGS.get(word, word) for word in words]
    return _plain_numbers(words)


def number_words(digits: str) -> str:
    """English words of a number written in digits (``1,250``, ``3.5``, ``1998``)."""
    if "," not in digits and "." not in digits and len(digits) == 4 and _is_year(int(digits)):
        high, low = divmod(int(digits), 100)
        return f"{_cardinal(high)} {_cardinal(low) if low >= 10 else 'oh ' + _ONES[low]}"
    whole, _, fraction = digits.replace(",", "").partition(".")
    if len(whole) > 15 or (len(whole) > 1 and whole.startswith("0")):
        return " ".join(_ONES[int(digit)] for digit in whole + fraction)
    words = _cardinal(int(whole or "0"))
    if fraction:
        words += " point " + " ".join(_ONES[int(digit)] for digit in fraction)
    return words


def ordinal(value: int) -> str:
    """English words of an ordinal (21: twenty first)."""
    if value >= 10**15:
        return number_words(str(value))
    *head, last = _cardinal(value).split()
    regular = last[:-1] + "ieth" if last.endswith("y") else last + "th"
    last = _ORDINALS.get(last, regular)
    return " ".join([*head, last])


def _is_year(value: int) -> bool:
    return (1100 <= value <= 1999 or 2010 <= value <= 2099) and value % 100 != 0


def _cardinal(value: int) -> str:
    if value < 20:
        return _ONES[value]
    if value < 100:
        tens, ones = divmod(value, 10)
        return _TENS[tens - 2] + (" " + _ONES[ones] if ones else "")
    for scale, name in _SCALES:
        if value >= scale:
            count, rest = divmod(value, scale)
            return f"{_cardinal(count)} {name}" + (f" {_cardinal(rest)}" if rest else "")
    raise AssertionError(value)


def _opened(word: str) -> str:
    for suffix, words in _SUFFIXES:
        if word.endswith(suffix) and len(word) > len(suffix):
            return word[: -len(suffix)] + words
    return word


def _plain_numbers(words: Sequence[str]) -> List[str]:
    scales = {name for _, name in _SCALES}
    numerals = {*_ONES, *_TENS}
    plain: List[str] = []
    for position, word in enumerate(words):
        following = words[position + 1] if position + 1 < len(words) else ""
        if word == "a" and following in scales:
            plain.append("one")
        elif word == "and" and plain and plain[-1] in scales and following in numerals:
            continue
        else:
            plain.append(word)
    return plain


def _simplified(text: str) -> str:
    try:
        from opencc import OpenCC
    except ImportError:
        raise MissingExtraError("opencc-python-reimplemented", "eval", _PURPOSE) from None
    converter = _CONVERTERS.get("t2s")
    if converter is None:
        converter = _CONVERTERS["t2s"] = OpenCC("t2s")
    simplified: str = converter.convert(text)  # type: ignore[attr-defined]
    return simplified


def _digits_to_hanzi(text: str) -> str:
    if not re.search("[0-9]", text):
        return text
    try:
        import cn2an
    except ImportError:
        raise MissingExtraError("cn2an", "eval", _PURPOSE) from None
    plain = re.sub(r"(?<=[0-9]),(?=[0-9]{3})", "", text)
    # What it cannot read (an endless row of digits) it drops with a warning; that is read digit by digit instead.
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        try:
            spelled: str = cn2an.transform(plain, "an2cn")
        except (UserWarning, ValueError):
            spelled = plain
    return re.sub("[0-9]", lambda found: "零一二三四五六七八九"[int(found.group())], spelled)


def _spaced(tokens: Sequence[str]) -> str:
    return "".join(token if re.match(f"[{_HAN}]", token) else f" {token} " for token in tokens)


_CONVERTERS: Dict[str, object] = {}
