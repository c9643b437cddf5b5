"""English rules, in the order they apply: addresses, telephone numbers, dates and times, quantities, the rest."""

from __future__ import annotations

import re
from typing import Match, Optional, Tuple

from chattts_onnx.text import numbers_en as en
from chattts_onnx.text.dates_en import RULES as DATE_RULES
from chattts_onnx.text.dates_en import _model_number
from chattts_onnx.text.letters import acronyms, greek
from chattts_onnx.text.rule import DASH, END, NUMBER, START, Rule, pattern
from chattts_onnx.text.units_en import CURRENCIES, UNITS, table

_AMOUNT = rf"(?:{NUMBER}|\.[0-9]{{1,20}})"
_BEGIN = r"(?<![0-9])(?<![0-9][.,:/])(?<![A-Za-z.])"
_SIGN = r"(?<![0-9A-Za-z)\]])[-+±]"
_SCALE = r"(?i:hundred|thousand|million|billion|trillion)(?![A-Za-z])|(?:[KMBk]|bn|mn)(?!\.?[A-Za-z])"
_MONEY_SCALE = rf"{_SCALE}|m(?!\.?[A-Za-z])"
_SCALES = {
    "K": "thousand",
    "k": "thousand",
    "M": "million",
    "m": "million",
    "mn": "million",
    "B": "billion",
    "bn": "billion",
}
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_CURRENCY = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_CODE = "|".join(code for code in CURRENCIES if code.isalpha() and code.isascii())
_ROMAN = r"(?:XX|XI{0,3}X?|XI?V|XVI{0,3}|I{1,3}|IV|VI{0,3}|IX|X)"
_BEFORE_YEAR = (
    "[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Yy]ear|[Cc]irca|[Ff]rom|[Bb]efore|[Aa]fter|[Dd]uring|[Ss]ummer|[Ww]inter|[Ss]pring|"
    "[Aa]utumn|[Ff]all|of"
)
_AFTER_COUNT = "people|men|women|dollars|euros|pounds|miles|years|days|times|hours|points|meters|words|pages"
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}
_NUMBERED = (
    "World War|War|Chapter|Part|Act|Scene|Book|Volume|Section|Article|Phase|Type|Class|Level|Stage|Grade|Title|"
    "Appendix|Figure|"
    "Table|Super Bowl|Apollo|Rocky|Episode|Unit|Category|Division|Factor|Mark"
)
_ROOMS = (
    "Room|Flight|Apartment|Apt|Suite|Route|Highway|Bus|Gate|Channel|Code|PIN|Extension|Ext|Interstate|Line|Train|Area"
)
_REGNAL = (
    "King|Queen|Pope|Emperor|Tsar|Prince|Elizabeth|Henry|Louis|George|Charles|Edward|James|William|Richard|"
    "Philip|Napoleon|Pius|"
    "Benedict|Francis|Paul|Frederick|Catherine|Nicholas|Alexander|Peter|Mary|Leo|Gregory|Innocent|Clement"
)


def _negative(sign: Optional[str]) -> str:
    return {"-": "negative ", "+": "plus ", "±": "plus or minus "}.get(sign or "", "")


def _minus(sign: str, number: str) -> str:
    return "minus " if sign == "-" and "." in number else _negative(sign)


def _scale(scale: Optional[str]) -> str:
    return f" {_SCALES.get(scale, scale)}" if scale else ""


def _money(match: Match[str]) -> str:
    sign, currency, number, scale = match.groups()
    return _negative(sign) + _amount(number, scale, CURRENCIES[currency])


def _amount(number: str, scale: Optional[str], currency: Tuple[str, ...]) -> str:
    one, many, cent, cents = currency
    whole, point, fraction = number.partition(".")
    if point:
        fraction = fraction.rstrip("0")
    if scale or len(fraction) > 2:
        plain = f"{whole}.{fraction}" if fraction else whole
        return f"{en.decimal(plain)}{_scale(scale)} {many}"
    units = whole.replace(",", "") or "0"
    parts = []
    if int(units) or not fraction:
        parts.append(f"{en.cardinal(whole or '0')} {one if int(units) == 1 else many}")
    if fraction:
        hundredths = str(int(fraction.ljust(2, "0")))
        parts.append(f"{en.cardinal(hundredths)} {cent if hundredths == '1' else cents}")
    return " ".join(parts)


def _money_range(match: Match[str]) -> str:
    currency, first, first_scale, second, scale = match.groups()
    return f"{en.decimal(first)}{_scale(first_scale)} to {_amount(second, scale, CURRENCIES[currency])}"


def _unit(match: Match[str]) -> str:
    sign, first, second, scale, unit = match.groups()
    one, many = UNITS[unit]
    read = en.decimal(first)
    if second:
        read += f" to {en.decimal(second)}"
    return f"{_negative(sign)}{read}{_scale(scale)} {one if first == '1' and not second and not scale else many}"


def _fraction(match: Match[str]) -> str:
    sign, whole, over, under = match.groups()
    if under == "1":
        return match.group()
    if over == under and not whole:
        return f"{en.cardinal(over)} {en.cardinal(under)}"
    if under == "2":
        share = "half" if over == "1" else "halves"
    else:
        share = "quarter" if under == "4" else en.ordinal(under)
        share = share if over == "1" else share + "s"
    read = f"{en.cardinal(over)} {share}"
    if whole:
        read = f"{en.cardinal(whole)} and {'a' if over == '1' else en.cardinal(over)} {share}"
    return _negative(sign) + read


def _range(match: Match[str]) -> str:
    first, second = match.groups()
    return f"{_number(first)} to {_number(second)}"


def _number(text: str) -> str:
    """A lone number: 1900 to 2099 without a separator is heard as a year."""
    return en.year(text) if re.fullmatch("19[0-9]{2}|20[1-9][0-9]", text) else en.decimal(text)


def _roman_value(text: str) -> int:
    total = 0
    for char, following in zip(text, text[1:] + " "):
        value = _ROMAN_VALUES[char]
        total += -value if _ROMAN_VALUES.get(following, 0) > value else value
    return total


def _version(match: Match[str]) -> str:
    prefix, number = match.groups()
    parts = [
        en.digits(part) if len(part) > 2 or (len(part) > 1 and part[0] == "0") else en.cardinal(part)
        for part in number.split(".")
    ]
    return (f"{prefix} " if prefix else "") + " point ".join(parts)


def _letters_and_number(match: Match[str]) -> str:
    letters, number, fraction, behind = match.groups()
    read = _model_number(number) if len(number) > 2 else en.cardinal(number)
    return (
        f"{letters} {read}" + (f" point {en.digits(fraction)}" if fraction else "") + (f" {behind}" if behind else "")
    )


def _number_and_letters(match: Match[str]) -> str:
    number, letters = match.groups()
    return f"{en.decimal(number)} {letters}"


def _math(text: str) -> str:
    text = re.sub(r"(?<=[0-9A-Za-z)])[ ]?(?:<=|≤|≦)[ ]?(?=[-0-9A-Za-z(])", " is less than or equal to ", text)
    text = re.sub(r"(?<=[0-9A-Za-z)])[ ]?(?:>=|≥|≧)[ ]?(?=[-0-9A-Za-z(])", " is greater than or equal to ", text)
    text = re.sub(r"(?<=[0-9A-Za-z)])[ ]?=[ ]?(?=[-0-9A-Za-z(])", " equals ", text)
    text = re.sub(r"(?<=[0-9)])[ ]?\+[ ]?(?=[0-9(])", " plus ", text)
    text = re.sub(r"(?<=[0-9)])[ ]?[×✕*][ ]?(?=[0-9(])", " times ", text)
    text = re.sub(r"(?<=[0-9])x(?=[0-9])", " by ", text)
    text = re.sub(r"(?<=[0-9)])[ ]?÷[ ]?(?=[0-9(])", " divided by ", text)
    text = re.sub(r"(?<=[0-9A-Za-z])[ ]?>[ ]?(?=[-0-9])", " is greater than ", text)
    text = re.sub(r"(?<=[0-9A-Za-z])[ ]?<[ ]?(?=[-0-9])", " is less than ", text)
    return re.sub(r"(?<=[0-9)])[ ]?-[ ]?(?=[0-9(][0-9.]{0,15}[ ]?equals)", " minus ", text)


_SYMBOLS = tuple(
    (symbol, f" {word} ")
    for symbol, (word,) in table("""
≥ = greater than or equal to; ≤ = less than or equal to; ≈ = approximately; ≠ = is not equal to; ∞ = infinity;
√ = square root of; × = times; ÷ = divided by; ± = plus or minus; % = percent; ° = degrees; £ = pound; € = euro;
² = squared; ³ = cubed; & = and
""").items()
)


def _symbols(text: str) -> str:
    for symbol, word in _SYMBOLS:
        text = text.replace(symbol, word)
    return text.replace("=", " equals ")


RULES: Tuple[Rule, ...] = (
    *DATE_RULES,
    pattern(
        "ordinal",
        r"(?<![0-9A-Za-z./])([0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?:st|nd|rd|th)(?![A-Za-z0-9])",
        lambda m: en.ordinal(m.group(1).replace(",", "")),
    ),
    pattern(
        "numbered",
        rf"(?<![A-Za-z])((?:{_NUMBERED})s?[ ])({_ROMAN})(?![A-Za-z'’])",
        lambda m: m.group(1) + en.cardinal(str(_roman_value(m.group(2)))),
    ),
    pattern(
        "regnal",
        rf"(?<![A-Za-z])((?:{_REGNAL})[ ])({_ROMAN})(?![A-Za-z'’.])",
        lambda m: f"{m.group(1)}the {en.ordinal(str(_roman_value(m.group(2))))}",
    ),
    pattern(
        "roman",
        r"(?<![A-Za-z.'’])(II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI{1,3}|XIX|XX)(?![A-Za-z'’])",
        lambda m: en.cardinal(str(_roman_value(m.group(1)))),
    ),
    pattern("version", rf"{START}()([0-9]{{1,5}}(?:\.[0-9]{{1,5}}){{2,5}})(?![0-9])", _version),
    pattern("version, named", r"(?<![A-Za-z])([vV])\.?([0-9]{1,4}(?:\.[0-9]{1,5}){0,5})(?![0-9A-Za-z])", _version),
    pattern(
        "amounts",
        rf"({_CURRENCY})[ ]?({NUMBER})(?:[ ]?({_MONEY_SCALE}))?{DASH}(?:\1)?({NUMBER})(?:[ ]?({_MONEY_SCALE}))?{END}",
        _money_range,
    ),
    pattern(
        "money",
        rf"(?:(?<![0-9A-Za-z])([-+±]))?(?<![A-Za-z])({_CURRENCY})[ ]?({_AMOUNT})(?:[ ]?({_MONEY_SCALE}))?{END}",
        _money,
    ),
    pattern(
        "money, code behind",
        rf"{_BEGIN}({NUMBER})(?:[ ]?({_SCALE}))?[ ]?({_CODE}|€|£)(?![A-Za-z])",
        lambda m: _amount(m.group(1), m.group(2), CURRENCIES[m.group(3)]),
    ),
    pattern("multiplied", r"(?<=[0-9])[ ]?[×*][ ]?(?=[0-9])|(?<=[0-9])[ ]x[ ](?=[0-9])", " times "),
    pattern("times over", r"(?<=[0-9])x(?![A-Za-z0-9])", " times"),
    pattern("ninth of eleventh", r"(?<![0-9/])9/11(?![0-9/])", "nine eleven"),
    pattern(
        "per",
        r"(?<=[0-9A-Za-z%])/(?=(?:month|year|day|hour|week|person|night|piece|minute|second|kg|lb|mile|page)"
        r"(?![A-Za-z]))",
        " per ",
    ),
    pattern("inches", r"(?<=[0-9][ ]ft[ ])([0-9]{1,2})[ ]?in(?![A-Za-z])", r"\1 inches"),
    pattern("around the clock", r"(?<![0-9/])24/7(?![0-9/])", "twenty four seven"),
    pattern(
        "feet and inches",
        r"(?<![0-9A-Za-z])([0-9]{1,2})['′][ ]?(1[01]|[0-9])(?:\"|″|”|'')",
        lambda m: f"{en.cardinal(m.group(1))} foot {en.cardinal(m.group(2))}",
    ),
    pattern(
        "unit",
        rf"(?:({_SIGN}))?{_BEGIN}({_AMOUNT})[ ]?%?(?:{DASH}({NUMBER}))?(?:[ ]?({_SCALE}))?[ -]?({_UNIT})"
        rf"(?![A-Za-z0-9/²³])",
        _unit,
    ),
    pattern(
        "fraction",
        rf"({_SIGN})?{_BEGIN}(?:([0-9]{{1,5}})[ ])?([0-9]{{1,4}})/([1-9][0-9]{{0,4}})(?:th|rd|nd|st)?s?"
        rf"(?![0-9A-Za-z])(?![./][0-9])",
        _fraction,
    ),
    Rule("math", _math),
    pattern("about", r"(?<![0-9A-Za-z~])[~≈～][ ]?(?=[0-9])", "about "),
    pattern(
        "more or less than",
        r"(?<![0-9A-Za-z<>=-])([<>])[ ]?(?=[0-9])",
        lambda m: "less than " if m.group(1) == "<" else "more than ",
    ),
    pattern(
        "power",
        r"(?<=[0-9A-Za-z)])\^(-?)([0-9]{1,4})(?![0-9.])",
        lambda m: f" to the power of {'minus ' if m.group(1) else ''}{en.cardinal(m.group(2))}",
    ),
    pattern(
        "lines of a screen",
        r"(?<![0-9])(360|480|720|1080|1440|2160)(?=[pP](?![A-Za-z]))",
        lambda m: _model_number(m.group(1)) + " ",
    ),
    pattern(
        "scaled",
        rf"(?:({_SIGN}))?{_BEGIN}((?:[0-9]{{1,3}}|[0-9]{{1,3}}\.[0-9]{{1,3}})(?=[ ]?[KMkbm])|[0-9]{{1,2}}"
        rf"(?:\.[0-9]{{1,3}})?)[ ]?(K|M|B|bn|mn|k)(?!\.?[A-Za-z0-9])",
        lambda m: f"{_negative(m.group(1))}{en.decimal(m.group(2))}{_scale(m.group(3))}",
    ),
    pattern(
        "range",
        rf"(?<![0-9])(?<![0-9][.,-])(?<![A-Za-z.-])({NUMBER})[ ]?[-–~][ ]?({NUMBER})(?!-?[0-9])(?![A-Za-z])",
        _range,
    ),
    pattern(
        "year after a word",
        rf"(?<![A-Za-z])((?:{_BEFORE_YEAR})[ ])(1[0-9]{{3}}|20[1-9][0-9])(?![0-9])(?![,.][0-9])(?![0-9%])"
        rf"(?![ ](?:{_AFTER_COUNT}))",
        lambda m: m.group(1) + en.year(m.group(2)),
    ),
    pattern(
        "room",
        rf"(?<![A-Za-z])((?:{_ROOMS})(?:[ ](?:number[ ])?))([0-9]{{3,4}})(?![0-9])(?![.,][0-9])",
        lambda m: m.group(1) + _model_number(m.group(2)),
    ),
    pattern(
        "signed decimal",
        rf"({_SIGN}){_BEGIN}({NUMBER})",
        lambda m: _minus(m.group(1), m.group(2)) + en.decimal(m.group(2)),
    ),
    pattern(
        "letters and number",
        r"(?<![A-Za-z0-9])([A-Za-z]{1,20})-?([0-9]{1,9})(?:\.([0-9]{1,5}))?([A-Za-z]{1,3})?(?![A-Za-z0-9])(?!\.[0-9])",
        _letters_and_number,
    ),
    pattern("number and letters", rf"{_BEGIN}({NUMBER})-?([A-Za-z]{{1,20}})(?![0-9])", _number_and_letters),
    pattern("sharp", r"(?<![A-Za-z])([CF])#", r"\1 sharp"),
    pattern("plus plus", r"(?<=[A-Za-z])\+\+", " plus plus"),
    pattern("plus", r"(?<=[0-9A-Za-z])[ ]?\+[ ]?", " plus "),
    pattern("point first", r"(?<![0-9A-Za-z.])\.([0-9]{1,20})(?![0-9])", lambda m: en.decimal("." + m.group(1))),
    pattern("year", r"(?<![0-9.,])(19[0-9]{2}|20[1-9][0-9])(?![0-9])(?![.,][0-9])", lambda m: en.year(m.group(1))),
    pattern(
        "model number",
        r"(?<![A-Za-z])([A-Z]{2,5})[ ]([1-9][0-9]{3})(?![0-9])(?![.,][0-9])",
        lambda m: f"{m.group(1)} {_model_number(m.group(2))}",
    ),
    pattern("long number", r"[0-9]{19,}", lambda m: en.digits(m.group())),
    pattern("number", NUMBER, lambda m: en.decimal(m.group())),
    Rule("symbols", _symbols),
    greek("en"),
    pattern(
        "initialism",
        r"(?<![A-Za-z])((?:[A-Z]\.[ ]?){1,6}[A-Z])\.(?=[ ][a-z])",
        lambda m: " ".join(re.findall("[A-Z]", m.group(1))),
    ),
    pattern("initials", r"(?<![A-Za-z])([A-Z])\.(?=[ ]?[A-Z](?:\.|[a-z]))", r"\1 "),
    acronyms(),
)
