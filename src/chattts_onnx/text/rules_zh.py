"""Mandarin rules, in the order they apply: addresses, numbers that name, dates and times, quantities, the rest."""

from __future__ import annotations

import re
from typing import Match, Tuple

from chattts_onnx.text import numbers_zh as zh
from chattts_onnx.text.dates_zh import RULES as DATE_RULES
from chattts_onnx.text.letters import acronyms, greek
from chattts_onnx.text.rule import DASH, END, NUMBER, START, Rule, pattern
from chattts_onnx.text.units_zh import CURRENCIES, TWO_COUNTED, UNITS, table

_CURRENCY = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_CODE = "|".join(code for code in CURRENCIES if code.isalpha() and code.isascii())
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_SCALE = "百万|千万|万亿|万|亿|千|w(?![A-Za-z0-9])"
_SCALES = {"w": "万"}
_SIGN = r"(?<![0-9A-Za-z)\]])[-+]"


def _version(match: Match[str]) -> str:
    prefix, number = match.groups()
    parts = [zh.digits(part) if len(part) > 2 else zh.cardinal(part) for part in number.split(".")]
    return (prefix or "") + "点".join(parts)


def _money(match: Match[str]) -> str:
    sign, currency, number, scale = match.groups()
    return _negative(sign) + _plain_amount(number, scale) + _SCALES.get(scale, scale or "") + CURRENCIES[currency]


def _amounts(match: Match[str]) -> str:
    currency, first, second, scale = match.groups()
    ends = f"{_plain_amount(first, '')}到{_plain_amount(second, '')}"
    return ends + _SCALES.get(scale, scale or "") + CURRENCIES[currency]


def _plain_amount(number: str, scale: str) -> str:
    if "." in number:
        number = number.rstrip("0").rstrip(".")
    return zh.decimal(number, classifier=True) if scale or number == "2" else zh.decimal(number)


def _negative(sign: str) -> str:
    return {"-": "负", "+": "正", "±": "正负"}.get(sign or "", "")


def _percent(match: Match[str]) -> str:
    sign, number, mark = match.groups()
    return _negative(sign) + _share(number, mark)


def _share(number: str, mark: str) -> str:
    read = "百" if number == "100" else zh.decimal(number)
    return {"%": "百分之", "‰": "千分之", "‱": "万分之"}[mark] + read


def _percent_range(match: Match[str]) -> str:
    first, second, mark = match.groups()
    return _share(first, mark) + "到" + _share(second, mark)


def _unit(match: Match[str]) -> str:
    sign, first, second, scale, unit = match.groups()
    before, bar, after = UNITS[unit].partition("|")
    if not bar:
        before, after = "", before
    number = zh.decimal(first, classifier=True) if not second else zh.decimal(first)
    if second:
        number += "到" + zh.decimal(second)
    return _negative(sign) + before + number + _SCALES.get(scale, scale or "") + after


def _fraction(match: Match[str]) -> str:
    sign, whole, over, under = match.groups()
    read = f"{zh.cardinal(under)}分之{zh.cardinal(over)}"
    return _negative(sign) + (f"{zh.cardinal(whole)}又{read}" if whole else read)


def _latin_number(match: Match[str]) -> str:
    letters, number, fraction = match.groups()
    read = zh.digits(number) if len(number) > 2 else zh.cardinal(number)
    return letters + read + ("点" + zh.digits(fraction) if fraction else "")


def _math(text: str) -> str:
    text = re.sub(r"(?<=[0-9A-Za-z)])[ ]?(?:<=|≤|≦)[ ]?(?=[-0-9A-Za-z(])", "小于等于", text)
    text = re.sub(r"(?<=[0-9A-Za-z)])[ ]?(?:>=|≥|≧)[ ]?(?=[-0-9A-Za-z(])", "大于等于", text)
    text = re.sub(r"(?<=[0-9A-Za-z)])[ ]?=[ ]?(?=[-0-9A-Za-z(])", "等于", text)
    text = re.sub(r"(?<=[0-9A-Za-z)])[ ]?\+[ ]?(?=[0-9(])", "加", text)
    text = re.sub(r"(?<=[0-9)])[ ]?[×✕*][ ]?(?=[0-9(])", "乘", text)
    text = re.sub(r"(?<=[0-9])x(?=[0-9])", "乘", text)
    return re.sub(r"(?<=[0-9)])[ ]?÷[ ]?(?=[0-9(])", "除以", text)


def _minus(text: str) -> str:
    """A dash between numbers is a subtraction where the text says what it comes to."""
    return re.sub(r"(?<=[0-9)])[ ]?-[ ]?(?=[0-9(][0-9.]{0,15}[ ]?=)", "减", text)


def _symbols(text: str) -> str:
    for symbol, word in _SYMBOLS:
        text = text.replace(symbol, word)
    return text.replace("=", "等于")


_SYMBOLS = tuple(
    table("""
≥ ≧ = 大于等于; ≤ ≦ = 小于等于; ≈ = 约等于; ≠ = 不等于; ∞ = 无穷大; √ = 根号; ∑ = 求和; × = 乘; ÷ = 除以;
± = 正负; ° = 度; % = 百分号; ‰ = 千分号; ² = 平方; ³ = 立方
""").items()
)

RULES: Tuple[Rule, ...] = (
    *DATE_RULES,
    pattern("version", rf"{START}()([0-9]{{1,5}}(?:\.[0-9]{{1,5}}){{2,5}})(?![0-9])", _version),
    pattern("version, named", r"(?<![A-Za-z])([vV])([0-9]{1,4}(?:\.[0-9]{1,5}){0,5})(?![0-9A-Za-z])", _version),
    pattern(
        "amounts",
        rf"({_CURRENCY})[ ]?({NUMBER}){DASH}(?:\1)?({NUMBER})[ ]?({_SCALE})?{END}(?:[ ]?(?:元|美元|块))?",
        _amounts,
    ),
    pattern(
        "money",
        rf"([-+±])?(?<![A-Za-z])({_CURRENCY})[ ]?({NUMBER})[ ]?({_SCALE})?{END}(?:[ ]?(?:元|美元|块|圆))?",
        _money,
    ),
    pattern(
        "money, code behind",
        rf"{START}({NUMBER})[ ]?({_SCALE})?[ ]?({_CODE})(?![A-Za-z])",
        lambda m: (
            _plain_amount(m.group(1), m.group(2)) + _SCALES.get(m.group(2), m.group(2) or "") + CURRENCIES[m.group(3)]
        ),
    ),
    pattern("percentages", rf"{START}({NUMBER})[%‰]?{DASH}({NUMBER})[ ]?([%‰])", _percent_range),
    pattern("percentage", rf"([-+±])?{START}({NUMBER})[ ]?([%‰‱])", _percent),
    pattern(
        "unit",
        rf"(?:({_SIGN}|±))?{START}({NUMBER})(?:{DASH}({NUMBER}))?[ ]?({_SCALE})?[ ]?({_UNIT})(?![A-Za-z0-9/²³])",
        _unit,
    ),
    pattern("per", r"(?<=[元块角米克斤次人吨升瓦个万])/(?=[\u4e00-\u9fff]{1,3}|kg|km|h|m)", "每"),
    pattern("per unit", r"每(kg|km|h|m)(?![A-Za-z])", lambda m: "每" + UNITS[m.group(1)]),
    pattern("sign before a letter", r"(?<![0-9A-Za-z])[-](?=[A-Za-z][+\-*/=])", "负"),
    pattern("about", r"(?<![0-9A-Za-z\u4e00-\u9fff])[~≈～][ ]?(?=[0-9])", "约"),
    pattern(
        "power",
        r"(?<=[0-9A-Za-z)])\^(-?[0-9]{1,4})(?![0-9.])",
        lambda m: f"的{'负' * m.group(1).count('-')}{zh.cardinal(m.group(1).lstrip('-'))}次方",
    ),
    pattern("power, raised", r"(?<=[0-9])([²³])", lambda m: f"的{'二' if m.group(1) == '²' else '三'}次方"),
    Rule("minus", _minus),
    pattern(
        "fraction",
        rf"({_SIGN})?{START}(?:([0-9]{{1,4}})[ ])?([0-9]{{1,6}})[ ]?/[ ]?([1-9][0-9]{{0,5}})(?![0-9])(?![./][0-9])",
        _fraction,
    ),
    Rule("math", _math),
    pattern(
        "score",
        r"(?<=[\u4e00-\u9fff])(?<![第约在为是题章节页版年月日号至到])([ ]?)"
        r"([0-9]|[1-9][0-9])[-–—]([0-9]|[1-9][0-9])(?=$|[，。！？；,.!? ])(?![.,][0-9])",
        lambda m: f"{zh.cardinal(m.group(2))}比{zh.cardinal(m.group(3))}",
    ),
    pattern(
        "score, named",
        r"((?:战胜|击败|不敌|负于|战平|大胜|险胜|取胜|领先|落后)[^0-9，。！？\n]{0,8}|"
        r"(?=[0-9]{1,3}[-–][0-9]{1,3}(?:战胜|击败|不敌|负于|战平|大胜|险胜|取胜|领先|落后)))"
        r"(?<![0-9])([0-9]{1,3})[-–]([0-9]{1,3})(?![0-9])",
        lambda m: f"{m.group(1)}{zh.cardinal(m.group(2))}比{zh.cardinal(m.group(3))}",
    ),
    pattern(
        "range",
        rf"(?<![0-9])(?<![0-9][.,-])(?<![A-Za-z-])({NUMBER}){DASH}({NUMBER})(?!{DASH}?[0-9])(?![A-Za-z])",
        lambda m: f"{zh.decimal(m.group(1))}到{zh.decimal(m.group(2))}",
    ),
    pattern("signed", rf"([±]|{_SIGN})({NUMBER})", lambda m: _negative(m.group(1)) + zh.decimal(m.group(2))),
    pattern("sharp", r"(?<![A-Za-z])([CF])#", r"\1 sharp"),
    pattern("plus plus", r"(?<=[A-Za-z])\+\+", "加加"),
    pattern("plus behind", r"(?<=[0-9A-Za-z])\+(?![0-9A-Za-z])", "加"),
    pattern("number sign", r"(?:#|No\.?[ ]?|№[ ]?)(?=[0-9])", "第"),
    pattern(
        "letters and number",
        r"(?<![A-Za-z0-9])([A-Za-z]{1,20})-?([0-9]{1,9})(?:\.([0-9]{1,5}))?(?![0-9.])",
        _latin_number,
    ),
    pattern(
        "myriads", rf"{START}({NUMBER})[wW](?![A-Za-z0-9])", lambda m: zh.decimal(m.group(1), classifier=True) + "万"
    ),
    pattern(
        "quarter",
        r"(?<![0-9])((?:19|20)[0-9]{2})[ ]?Q([1-4])(?![0-9A-Za-z])",
        lambda m: f"{zh.year(m.group(1))}年第{zh.cardinal(m.group(2))}季度",
    ),
    pattern("season", r"(?<![0-9])((?:19|20)[0-9]{2})(?=[ ]?(?:年度|届|赛季|财年))", lambda m: zh.year(m.group(1))),
    pattern("two", rf"(?<![0-9.第十初])2(?=(?:{TWO_COUNTED}))", "两"),
    pattern("ampersand", r"(?<=[A-Za-z])[ ]?&[ ]?(?=[A-Za-z])", " and "),
    pattern("and", r"&", "和"),
    pattern("slash between words", r"(?<=[\u4e00-\u9fff])/(?=[\u4e00-\u9fff])", "、"),
    pattern("long number", r"[0-9]{17,}", lambda m: zh.digits(m.group())),
    pattern("number", NUMBER, lambda m: zh.decimal(m.group())),
    Rule("symbols", _symbols),
    greek("zh"),
    pattern("greater", r"[ ]?>[ ]?(?=[零一二三四五六七八九十百千万两负A-Za-z])", "大于"),
    pattern("less", r"[ ]?<[ ]?(?=[零一二三四五六七八九十百千万两负A-Za-z])", "小于"),
    pattern("dot in a name", r"(?<=[A-Za-z])\.(?=[A-Za-z]{2})", "点"),
    pattern("initials", r"(?<=[A-Z])\.(?=[A-Z](?![A-Za-z]))", " "),
    acronyms(),
)
