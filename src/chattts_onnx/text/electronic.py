"""Addresses of machines: URLs, e-mail, handles, host and file names, in both languages.

They are read before every other rule, since an address may hold anything that looks like a number, a date or a
fraction. The scheme is silent, dots and signs are words, digits are read one by one.
"""

from __future__ import annotations

import re
from typing import Callable, Dict, Tuple

from chattts_onnx.text.rule import Rule

_URL = re.compile(
    r"(?:https?://|ftp://)([A-Za-z0-9\-._~:/?#@!$&'*+,;=%]{0,400}[A-Za-z0-9/])|(?<![A-Za-z0-9])(www\.[A-Za-z0-9\-._~:/?#@!$&'*+,;=%]{0,400}[A-Za-z0-9/])",
    re.IGNORECASE,
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+\-])([A-Za-z0-9._%+\-]{1,64})@([A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63}){1,4})(?![A-Za-z0-9@])"
)
_TOP_LEVEL = "com|cn|org|net|edu|gov|io|ai|me|co|uk|jp|de|fr|info|dev|app|tv|cc|us|eu"
_HOST = re.compile(
    rf"(?<![A-Za-z0-9.\-@])((?:[A-Za-z0-9\-]{{1,40}}\.){{1,4}}(?:{_TOP_LEVEL}))((?:/[A-Za-z0-9\-._~%]{{1,60}}){{0,6}})(?![A-Za-z0-9])"
)
_HANDLE = re.compile(r"(?<![A-Za-z0-9])@([A-Za-z0-9_]{1,40})")

_SIGNS: Dict[str, Dict[str, str]] = {
    "zh": {
        ".": "点",
        "@": " at ",
        "-": "杠",
        "_": "下划线",
        "/": "斜杠",
        ":": "冒号",
        "?": "问号",
        "=": "等于",
        "&": "和",
        "#": "井号",
        "+": "加",
        "%": "百分号",
        "~": "波浪线",
    },
    "en": {
        ".": " dot ",
        "@": " at ",
        "-": " dash ",
        "_": " underscore ",
        "/": " slash ",
        ":": " colon ",
        "?": " question mark ",
        "=": " equals ",
        "&": " and ",
        "#": " hash ",
        "+": " plus ",
        "%": " percent ",
        "~": " tilde ",
    },
}


def address(text: str, language: str, digits: Callable[[str], str]) -> str:
    """An address in words."""
    signs = _SIGNS[language]
    pieces = re.findall(r"[A-Za-z]+|[0-9]+|.", text)
    words = ""
    for piece in pieces:
        if piece.isdigit():
            words += f" {digits(piece)} " if language == "en" else digits(piece)
        elif piece.isalpha():
            words += " w w w " if piece.lower() == "www" else piece
        else:
            words += signs.get(piece, " ")
    return re.sub(r" {2,}", " ", words).strip()


def rules(language: str, digits: Callable[[str], str]) -> Tuple[Rule, ...]:
    """The rules for addresses of one language; ``digits`` reads digits one by one."""

    def url(text: str) -> str:
        if "://" not in text and "www." not in text.lower():
            return text
        return _URL.sub(lambda m: f" {address((m.group(1) or m.group(2)).rstrip('/'), language, digits)} ", text)

    def email(text: str) -> str:
        if "@" not in text:
            return text
        return _EMAIL.sub(lambda m: f" {address(m.group(), language, digits)} ", text)

    def host(text: str) -> str:
        return _HOST.sub(lambda m: f" {address(m.group(), language, digits)} ", text)

    def handle(text: str) -> str:
        return _HANDLE.sub(lambda m: f" at {m.group(1)}", text)

    return (Rule("url", url), Rule("email", email), Rule("host", host), Rule("handle", handle))
