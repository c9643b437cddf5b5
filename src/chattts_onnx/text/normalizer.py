"""Written text to spoken text: numbers, dates, units and symbols become words, in Mandarin or English.

The published model was trained on words and reads a digit, a `%` or a `￥` badly or not at all. Normalisation is an
ordered list of named rules, string to string, in pure Python, so that what was read can be explained and tested rule
by rule; there is no finite-state grammar whose time grows with the square of the text. Tags are cut out first and
never seen by a rule. The language is chosen sentence by sentence by its script, since `5` is read in the language
around it.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Sequence

from chattts_onnx.errors import InputError
from chattts_onnx.text.characters import HAN, clean, finish
from chattts_onnx.text.lexicon import Lexicon
from chattts_onnx.text.rule import Rule
from chattts_onnx.text.rules_en import RULES as RULES_EN
from chattts_onnx.text.rules_zh import RULES as RULES_ZH
from chattts_onnx.text.tags import WORD_TAGS, canonicalize

RULES: Dict[str, Sequence[Rule]] = {"zh": RULES_ZH, "en": RULES_EN}
"""The rules of each language, in the order they apply."""

_HAN_CHAR = re.compile(f"[{HAN}]")
# Units, model numbers and single letters (5G, 3km, T恤) are at home in both languages and count for neither.
_LATIN_WORD = re.compile(r"(?<![A-Za-z0-9À-ɏ])[A-Za-zÀ-ɏ]{2,200}(?:['’-][A-Za-z]{1,60}){0,9}(?![0-9A-Za-zÀ-ɏ])")
_WIDE_MARK = re.compile("[，。？！、；：（）“”《》￥¥％]")
# A sentence ends at its mark and the closing marks behind it; the cut keeps every character.
_SENTENCE = re.compile(r"[^。！？!?\n.]*(?:\.(?!\s|$|[”’\"'])[^。！？!?\n.]*)*(?:[。！？!?\n.]+[”’」』）)\"']*|$)")
_BRACKETED = re.compile(r"\[[A-Za-z_][A-Za-z0-9_ .:=-]{0,39}\]")
_TAG = re.compile("(" + "|".join(re.escape(tag) for tag in sorted(WORD_TAGS)) + ")")


def detect_language(text: str, default: str = "en") -> str:
    """``zh`` if there are at least as many hanzi as Latin words, ``en`` if not, ``default`` if there are neither."""
    text = _BRACKETED.sub("", text)
    han = len(_HAN_CHAR.findall(text))
    words = len(_LATIN_WORD.findall(text))
    if han == words == 0:
        return "zh" if _WIDE_MARK.search(text) else default
    return "zh" if han >= words else "en"


def normalize(
    text: str,
    *,
    language: Optional[str] = None,
    lexicon: Optional[Lexicon] = None,
    default: str = "en",
    rules: bool = True,
) -> str:
    """What is to be spoken of ``text``: Han, Latin letters, basic marks and tags; may be empty. Linear time.

    Args:
        text: text with tags, best a segment.
        language: ``zh`` or ``en``; None: chosen sentence by sentence.
        lexicon: the user's own readings, applied before everything else.
        default: language of a text without letters, e.g. that of the text around it.
        rules: False applies no rule and keeps digits; characters and tags are cleaned all the same.

    Raises:
        InputError: another language.
    """
    if language not in (None, "zh", "en"):
        raise InputError(f"language {language!r} cannot be read: use 'zh' or 'en', or leave it out")
    if lexicon is not None:
        text = lexicon.apply(text)
    text = canonicalize(clean(text))
    overall = language or detect_language(text, default)
    spoken = [
        run if run in WORD_TAGS else _speak(run, language, overall, rules=rules) for run in _TAG.split(text) if run
    ]
    return _join(spoken).lstrip("，、,。.？?！! ")


def _speak(text: str, language: Optional[str], overall: str, *, rules: bool) -> str:
    parts: List[str] = []
    pending, pending_language = "", ""
    for sentence in _sentences(text):
        chosen = language or detect_language(sentence, overall)
        if pending and chosen != pending_language:
            parts.append(_apply(pending, pending_language, rules=rules))
            pending = ""
        pending, pending_language = pending + sentence, chosen
    if pending:
        parts.append(_apply(pending, pending_language, rules=rules))
    return _join(parts)


def _sentences(text: str) -> List[str]:
    return [found for found in _SENTENCE.findall(text) if found]


def _apply(text: str, language: str, *, rules: bool) -> str:
    if rules:
        for rule in RULES[language]:
            text = rule(text)
    return finish(text, language, keep_digits=not rules)


def _join(parts: Sequence[str]) -> str:
    """Latin words keep a space between them; nothing else needs one."""
    joined = ""
    for part in parts:
        if joined and part and _needs_space(joined[-1], part[0]):
            joined += " "
        joined += part
    return joined


def _needs_space(before: str, after: str) -> bool:
    return (before in ",.?!" or (before.isascii() and before.isalpha())) and after.isascii() and after.isalpha()
