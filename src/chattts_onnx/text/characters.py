"""Characters before and after the rules: what is no text goes first, what the model cannot read goes last.

Before: halves of surrogate pairs, controls, zero-width and direction marks, emoji, Markdown and HTML marks, full-width
letters and digits, circled and composed characters. After: only Han, Latin letters, the basic marks of the language
and tags are left; accents fold to plain letters as the published vocabulary does it, brackets and dashes become the
pause they are in speech, question marks stay. Each step reads the text once.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from typing import Dict

from chattts_onnx.errors import EmptyTextError, TextTooLongError
from chattts_onnx.text.tags import is_tag

_log = logging.getLogger(__name__)

HAN = "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
MAX_CHARACTERS = 1_000_000

_SURROGATE = re.compile("[\ud800-\udfff\x00]")
_INVISIBLE = re.compile(
    "[\x01-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff0-\uffff\U000e0000-\U000e0fff\U000f0000-\U0010ffff\ue000-\uf8ff]"
)
_EMOJI = re.compile(
    "[\u2300-\u23ff\u2460-\u24ff]?\u20e3|[\u231a\u231b\u23e9-\u23f3\u25a0-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d"
    "\U0001f000-\U0001f0ff\U0001f10d-\U0001f10f\U0001f16c-\U0001f171\U0001f17e-\U0001f17f\U0001f18e\U0001f191-\U0001f19a"
    "\U0001f1e6-\U0001f1ff\U0001f201-\U0001faff\U0001fb00-\U0001fbff]"
)
_COMPOSED = re.compile(
    "[\u2070-\u2079\u2080-\u2089\u2100-\u2121\u2123-\u214f\u2150-\u218b\u2460-\u24ff\u3200-\u33ff\ufb00-\ufb06\uff66-\uff9f"
    "\U0001d400-\U0001d7ff\U0001f100-\U0001f169\xbc-\xbe\xaa\xba]"
)
_WIDE: Dict[int, str] = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
for _mark in "！（），：；？":
    del _WIDE[ord(_mark)]
_WIDE.update({ord("\u3000"): " ", ord("\xa0"): " ", ord("\u202f"): " ", ord("￥"): "¥", ord("￡"): "£", ord("−"): "-"})
for _space in range(0x2000, 0x200B):
    _WIDE[_space] = " "
_WIDE.update({ord("‐"): "-", ord("‑"): "-", ord("‒"): "-", ord("﹣"): "-", ord("⁄"): "/", ord("∕"): "/", ord("‟"): "“"})
_WIDE.update(
    {ord("｡"): "。", ord("､"): "、", ord("｢"): "「", ord("｣"): "」", ord("〜"): "～", ord("℃"): "°C", ord("℉"): "°F"}
)
_WIDE.update({ord("\u2028"): "\n", ord("\u2029"): "\n\n", ord("\x85"): "\n", ord("’"): "’", ord("ʼ"): "’"})

_HTML = re.compile(
    r"</?(?:br|hr|p|b|i|u|em|strong|span|div|a|img|font|sup|sub|li|ul|ol|table|tr|td|th|h[1-6]|small|center|s|del|code|pre)"
    r"(?:\s[^<>]{0,300})?/?>",
    re.IGNORECASE,
)
_ENTITIES = {"&nbsp;": " ", "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'", "&apos;": "'"}
_ENTITY = re.compile("|".join(_ENTITIES))
_IMAGE_OR_LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{0,500}(?:\s\"[^\"\n]{0,200}\")?\)")
_FENCE = re.compile(r"^[ \t]{0,3}(?:```|~~~)[^\n`]{0,40}$", re.MULTILINE)
_RULER = re.compile(r"^[ \t]{0,3}(?:[-*_=][ \t]{0,2}){3,200}$", re.MULTILINE)
_LINE_MARK = re.compile(
    r"^[ \t]{0,20}(?:#{1,6}[ \t]{1,8}|>[ \t]{1,4}|[-*+•·][ \t]{1,4})(?:\[[ xX]\][ \t])?", re.MULTILINE
)
_TABLE_RULE = re.compile(
    r"^[ \t]{0,3}\|?(?:[ \t]?:?-{3,60}:?[ \t]?\|){1,30}(?:[ \t]?:?-{3,60}:?)?[ \t]*$", re.MULTILINE
)
_TABLE_EDGE = re.compile(r"^[ \t]{0,3}\|[ \t]{0,8}|[ \t]{0,8}\|[ \t]{0,8}$", re.MULTILINE)
_EMPHASIS = re.compile(
    r"\*{2,3}|_{2,3}|~~|`{1,3}|(?<![0-9\s*])\*(?![0-9\s*])|(?<![\w*])\*(?=[^\W0-9])|(?<![\w])_(?=\w)|(?<=\w)_(?!\w)"
)


def check_text(text: str, max_characters: int = MAX_CHARACTERS) -> str:
    """The text with halves of surrogate pairs and NULs made U+FFFD, of the same length, so that spans hold.

    Raises:
        EmptyTextError: there is no letter, digit or hanzi in it.
        TextTooLongError: it is longer than ``max_characters``.
    """
    if len(text) > max_characters:
        raise TextTooLongError(len(text), max_characters)
    text = _SURROGATE.sub("\ufffd", text)
    if not any(char.isalnum() for char in _EMOJI.sub("", text)):
        raise EmptyTextError
    return text


def clean(text: str) -> str:
    """Drop what is no text and bring the rest to one width."""
    text = _SURROGATE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    text = _INVISIBLE.sub("", text)
    if "&" in text:
        text = _ENTITY.sub(lambda match: _ENTITIES[match.group()], text)
    if "<" in text:
        text = _HTML.sub(" ", text)
    text = _markdown(text)
    text = _COMPOSED.sub(_compose, text)
    text = _EMOJI.sub(" ", text)
    text = text.translate(_WIDE)
    return text if text.isascii() else _fold_accents(text.translate(_LETTERS))


def _markdown(text: str) -> str:
    text = _FENCE.sub("", text)
    if "](" in text:
        text = _IMAGE_OR_LINK.sub(lambda match: match.group() if is_tag(match.group(1)) else match.group(1), text)
    if "|" in text:
        text = _TABLE_EDGE.sub("", _TABLE_RULE.sub("", text))
    text = _RULER.sub("", text)
    text = _LINE_MARK.sub("", text)
    return _EMPHASIS.sub("", text)


def _compose(match: re.Match[str]) -> str:
    char = match.group()
    if char in "²³":  # kept for units
        return char
    if char == "№":
        return "No. "
    if "\u2160" <= char <= "\u217b":  # a Roman numeral of its own code point is a number in any language
        return str(int(unicodedata.numeric(char)))
    plain = unicodedata.normalize("NFKC", char)
    # A vulgar fraction touches the whole number before it: 1½ is 1 1/2.
    return " " + plain.replace("\u2044", "/") if "\u2044" in plain else plain


_SHARED_MARKS = {
    "；": "，",
    ";": "，",
    "：": "，",
    ":": "，",
    "（": "，",
    "）": "，",
    "(": "，",
    ")": "，",
    "【": "，",
    "】": "，",
    "〔": "，",
    "〕": "，",
    "{": "，",
    "}": "，",
    "|": "，",
    "…": "，",
    "⋯": "，",
    "—": "，",
    "–": "，",
    "―": "，",
    "→": "，",
    "⇒": "，",
    "·": " ",
    "•": " ",
    "・": " ",
    "\\": " ",
    "/": " ",
    "_": " ",
    "-": " ",
    "\t": " ",
}
_TO_ZH = {**_SHARED_MARKS, ",": "，", ".": "。", "!": "！", "?": "？", "\n": "。", "．": "。", "’": "'"}
_TO_EN = {**_SHARED_MARKS, "。": ".", "！": "!", "？": "?", "、": "，", "\n": ".", "’": "'"}
_TO_EN = {key: "," if value == "，" else value for key, value in _TO_EN.items()}
_ZH_TABLE = {ord(key): value for key, value in _TO_ZH.items()}
_EN_TABLE = {ord(key): value for key, value in _TO_EN.items()}
_UNREADABLE = re.compile(rf"[^{HAN}A-Za-z，。？！、,.?!' ]")
_UNREADABLE_BUT_DIGITS = re.compile(rf"[^{HAN}A-Za-z0-9，。？！、,.?!' ]")
_CLOSING_AT_END = re.compile(r"[)）】〕}”\"]{1,9}[ ]{0,9}$")
_RUN_OF_MARKS = re.compile(r"[ ]?[，。？！、,.?!](?:[ ]?[，。？！、,.?!]){1,2000}")
_LETTERS: Dict[int, str] = {
    ord("ß"): "ss", ord("æ"): "ae", ord("Æ"): "AE", ord("œ"): "oe", ord("Œ"): "OE", ord("ø"): "o", ord("Ø"): "O",
    ord("đ"): "d", ord("Đ"): "D", ord("ł"): "l", ord("Ł"): "L", ord("ı"): "i", ord("þ"): "th", ord("ð"): "d",
}  # fmt: skip


def finish(text: str, language: str, *, keep_digits: bool = False) -> str:
    """Only what the model reads: Han, Latin letters, the basic marks of ``language``, single spaces."""
    text = _CLOSING_AT_END.sub("", text).translate(_ZH_TABLE if language == "zh" else _EN_TABLE)
    unreadable = _UNREADABLE_BUT_DIGITS if keep_digits else _UNREADABLE
    dropped = set(unreadable.findall(text))
    if dropped:
        letters = sorted(char for char in dropped if char.isalnum())
        if letters:
            _log.warning("the model reads Chinese and English only; left out: %s", "".join(letters[:20]))
        text = unreadable.sub(" ", text)
    text = re.sub(r"(?<![A-Za-z])'|'(?![A-Za-z])", "", text)
    text = re.sub(r" {2,}", " ", text)
    text = _RUN_OF_MARKS.sub(_strongest, text)
    text = re.sub(r" (?=[，。？！、,.?!])", "", text)
    text = re.sub(rf"(?<=[{HAN}，。？！、]) (?=[{HAN}，。？！、])|(?<=[，。？！、]) ", "", text)
    if language != "zh":
        text = re.sub(r"(?<=[,?!.])(?=[A-Za-z])", " ", text)
    return text.strip(" ")


def _fold_accents(text: str) -> str:
    plain = "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")
    return unicodedata.normalize("NFC", plain)


def _strongest(match: re.Match[str]) -> str:
    run = match.group()
    for mark in "？?！!。.，,、":
        if mark in run:
            return mark
    return run
