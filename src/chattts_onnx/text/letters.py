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
    "NASA NATO OPEC AIDS SARS IKEA LEGO RAM ROM PIN GIF JPEG NATO ASEAN UNESCO UNICEF FIFA UEFA NAFTA RADAR LASER SONAR "
    "OK WIFI HTTP2 BASIC JAVA LINUX MERS PET COVID ZARA VISA SWOT CAD APEC OLED SIM BIM SAAS PAAS BUG NO YES AND THE FOR "
    "BUT NOT YOU ALL CAN HER WAS ONE OUR OUT DAY GET HAS HIM HIS HOW MAN NEW NOW OLD SEE TWO WAY WHO BOY DID ITS LET PUT "
    "SAY SHE TOO USE DAD MOM IN ON AT TO OF IS IT BE AS SO WE HE BY OR DO IF ME MY UP AN GO OH HI HEY BIG TOP HOT WOW LOL "
    "STOP HELP LOVE GOOD GAME OVER BEST WHAT THIS THAT WITH FROM HAVE WILL YOUR JUST LIKE TIME COME HERE THEM ONLY VERY "
    "NEXT OPEN EXIT PLAY HAHA POP RAP MAX MINI PRO PLUS AIR ULTRA LITE"
)
_SAID_WORDS = frozenset(_SAID.split())
_CAPITALS = re.compile(r"(?<![A-Za-z0-9'’])[A-Z]{2,4}(?=s?(?![A-Za-z']))")
_CONSONANTS = re.compile(r"(?<![A-Za-z0-9'’])[BCDFGHJKLMNPQRSTVWXZ]{5,8}(?![A-Za-z])")
_WORD = re.compile(r"[A-Za-z]{2,60}")

_GREEK_EN = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta", "ι": "iota",
    "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "ο": "omicron", "π": "pi", "ρ": "rho", "σ": "sigma", "ς": "sigma",
    "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega",
}  # fmt: skip
_GREEK_ZH = {
    "α": "阿尔法", "β": "贝塔", "γ": "伽马", "δ": "德尔塔", "ε": "艾普西隆", "ζ": "泽塔", "η": "伊塔", "θ": "西塔", "ι": "约塔", "κ": "卡帕",
    "λ": "兰姆达", "μ": "缪", "ν": "纽", "ξ": "克西", "ο": "奥密克戎", "π": "派", "ρ": "柔", "σ": "西格玛", "ς": "西格玛", "τ": "陶",
    "υ": "宇普西隆", "φ": "斐", "χ": "希", "ψ": "普西", "ω": "欧米伽",
}  # fmt: skip
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
