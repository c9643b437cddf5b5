"""Letters that are read as letters: acronyms and Greek.

A word of two to four capitals is spelled (`GPU` is G P U) unless it is one that people say as a word; a text that
shouts is not a text of acronyms. Spelled letters are set apart by spaces, which both front ends read letter by letter.
"""

from __future__ import annotations

import re
from typing import Match

from chattts_onnx.text.rule import Rule

X_TO_X = r"(?<![A-Za-z0-9])([BCDGOPMFVA])2([BCDGOPMFVX])(?![A-Za-z0-9])"
"""`B2B`, `O2O`: the 2 is a to; `H2O` is none of them."""
_SAID = (
    "SAID NASA NATO OPEC AIDS SARS IKEA LEGO RAM ROM PIN GIF JPEG FIFA UEFA OK WIFI HTTP JAVA MERS PET ZARA VISA "
    "SWOT CAD APEC OLED SIM BIM SAAS PAAS BUG NO YES AND THE FOR BUT NOT YOU ALL CAN HER WAS ONE OUR OUT DAY GET "
    "HAS HIM HIS HOW MAN NEW NOW OLD SEE TWO WAY WHO BOY DID ITS LET PUT SAY SHE TOO USE DAD MOM IN ON AT TO OF "
    "IS IT BE AS SO WE HE BY OR DO IF ME MY UP AN GO OH HI HEY BIG TOP HOT WOW LOL STOP HELP LOVE GOOD GAME OVER "
    "BEST WHAT THIS THAT WITH FROM HAVE WILL YOUR JUST LIKE TIME COME HERE THEM ONLY VERY NEXT OPEN EXIT PLAY "
    "HAHA POP RAP MAX MINI PRO PLUS AIR LITE "
)
_SAID_WORDS = frozenset(_SAID.split())
_CAPITALS = re.compile(r"(?<![A-Za-z0-9])(?<![A-Za-z]['’])[A-Z]{2,4}(?=(?:['’]?s)?(?![A-Za-z])(?!['’][A-Za-rt-z]))")
_CONSONANTS = re.compile(r"(?<![A-Za-z0-9])(?<![A-Za-z]['’])[BCDFGHJKLMNPQRSTVWXZ]{5,8}(?![A-Za-z])")
_WORD = re.compile(r"[A-Za-z]{2,60}")

_GREEK_NAMES = """
α alpha 阿尔法; β beta 贝塔; γ gamma 伽马; δ delta 德尔塔; ε epsilon 艾普西隆;
ζ zeta 泽塔; η eta 伊塔; θ theta 西塔; ι iota 约塔; κ kappa 卡帕;
λ lambda 兰姆达; μ mu 缪; ν nu 纽; ξ xi 克西; ο omicron 奥密克戎;
π pi 派; ρ rho 柔; σ sigma 西格玛; ς sigma 西格玛; τ tau 陶;
υ upsilon 宇普西隆; φ phi 斐; χ chi 希; ψ psi 普西; ω omega 欧米伽;
"""
_GREEK_ROWS = [row.split() for row in _GREEK_NAMES.split(";") if row.strip()]
_GREEK_EN = {letter: english for letter, english, _ in _GREEK_ROWS}
_GREEK_ZH = {letter: mandarin for letter, _, mandarin in _GREEK_ROWS}
_GREEK = re.compile("[α-ωΑ-Ως]")


def acronyms() -> Rule:
    """Spell words of capitals."""

    def apply(text: str) -> str:
        words = _WORD.findall(text)
        if sum(word.isupper() for word in words) > max(3, len(words) // 2):
            return text
        return _CONSONANTS.sub(_spell, _CAPITALS.sub(_spell, text))

    return Rule("acronyms", apply)


def greek(language: str) -> Rule:
    """Greek letters by name."""
    names = _GREEK_ZH if language == "zh" else _GREEK_EN

    def read(match: Match[str]) -> str:
        name = names.get(match.group().lower(), "")
        return f" {name} " if language == "en" else name

    return Rule("greek", lambda text: _GREEK.sub(read, text))


def _spell(match: Match[str]) -> str:
    word = match.group()
    return word if word in _SAID_WORDS else " ".join(word)
