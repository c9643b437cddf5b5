"""Mandarin: what names rather than counts (addresses, telephones, identifiers), then dates and times.

They come before quantities, because each of them looks like one: `2002.01.28` like a decimal, `010-64035547` like a
range, `12:00` like a ratio.
"""

from __future__ import annotations

import re
from typing import Match, Tuple

from chattts_onnx.text import electronic
from chattts_onnx.text import numbers_zh as zh
from chattts_onnx.text.letters import X_TO_X
from chattts_onnx.text.rule import DASH, START, Rule, pattern
from chattts_onnx.text.units_zh import FOLLOWS_IDENTIFIER, FOLLOWS_TELEPHONE

_MONTH = r"(?:0?[1-9]|1[0-2])"
_DAY = r"(?:0?[1-9]|[12][0-9]|3[01])"
_YEAR = r"(?:1[0-9]{3}|2[01][0-9]{2})"


def _phone(text: str) -> str:
    return "，".join(zh.digits(part, telephone=True) for part in re.findall("[0-9]+", text))


def _phone_plain(match: Match[str]) -> str:
    return zh.digits(match.group(), telephone=True)


def _mobile(match: Match[str]) -> str:
    return ("加" if match.group().startswith("+") else "") + zh.digits(match.group(), telephone=True)


def _one_by_one(text: str) -> str:
    return " ".join(zh.digits(part) if part.isdigit() else " ".join(part) for part in re.findall("[0-9]+|[A-Z]+", text))


def _full_date(year: str, month: str, day: str) -> str:
    read = f"{zh.year(year)}年{zh.cardinal(month.lstrip('0'))}月"
    return f"{read}{zh.cardinal(day.lstrip('0'))}日" if day else read


def _hour(text: str) -> str:
    return zh.cardinal(text.lstrip("0") or "0", classifier=True)


def _two_digits(text: str) -> str:
    return zh.digits(text) if text.startswith("0") else zh.cardinal(text)


def _clock(hour: str, minute: str, second: str) -> str:
    read = f"{_hour(hour)}点"
    if minute != "00" or second:
        read += f"{_two_digits(minute) if minute != '00' else '零'}分"
    if second:
        read += f"{_two_digits(second) if second != '00' else '零'}秒"
    return read


def _time(match: Match[str]) -> str:
    hour, minute, second, half = match.groups()
    read = _clock(hour, minute, second or "")
    if not half:
        return read
    return ("上午" if half[0] in "aA" else "下午") + read


_LONE_NUMBER = re.compile(
    r"\s*(110|112|114|119|120|122|12306|12315|12345|10086|10010|10000|95[0-9]{3})\s*[。.！!？?]?\s*"
)


def _lone_service_number(text: str) -> str:
    match = _LONE_NUMBER.fullmatch(text)
    return text.replace(match.group(1), zh.digits(match.group(1), telephone=True)) if match else text


RULES: Tuple[Rule, ...] = (
    *electronic.rules("zh", zh.digits),
    pattern("x2x", X_TO_X, r"\1 to \2"),
    pattern("around the clock", r"(?<![0-9/])24/7(?![0-9/])", "二十四小时不间断"),
    Rule("lone service number", _lone_service_number),
    pattern(
        "licence plate",
        r"([京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼])([A-Z])[·]?([A-Z0-9]{5,6})(?![A-Za-z0-9])",
        lambda m: f"{m.group(1)}{m.group(2)} {_one_by_one(m.group(3))}",
    ),
    pattern("day in a name", r"(?<![0-9])([0-9]{1,2})·([0-9]{1,2})(?![0-9])", lambda m: zh.digits(m.group())),
    pattern(
        "number in a name", r"(?<![0-9.])(996|618|315)(?=工作制|晚会|大促|购物节|活动)", lambda m: zh.digits(m.group())
    ),
    pattern("room", r"(?<![0-9.])([0-9]{3,4})(?=[ ]?室)", lambda m: zh.digits(m.group(1), telephone=True)),
    pattern("extension", r"(?<=转)[ ]?([0-9]{3,5})(?![0-9.圈度])", lambda m: zh.digits(m.group(1), telephone=True)),
    pattern(
        "lines of a screen",
        r"(?<![0-9])(360|480|720|1080|1440|2160)(?=[pP](?![A-Za-z]))",
        lambda m: zh.digits(m.group(1)),
    ),
    pattern("toll-free", r"(?<![0-9])[48]00-?[0-9]{3,4}-?[0-9]{3,4}(?![0-9])", _phone_plain),
    pattern("mobile", r"(?<![0-9])(?:\+?86[- ]?)?1[3-9][0-9](?:[0-9]{8}|[- ][0-9]{4}[- ][0-9]{4})(?![0-9])", _mobile),
    pattern("landline", r"(?<![0-9])[(（]?0[0-9]{2,3}(?:[)）]|-)?[0-9]{7,8}(?:-[0-9]{1,6})?(?![0-9])", _phone_plain),
    pattern(
        "local telephone", r"(?<![0-9-])[2-9][0-9]{2}-[0-9]{4}(?![0-9-])(?=$|[^0-9\u4e00-\u9fffA-Za-z%])", _phone_plain
    ),
    pattern(
        "international telephone",
        r"(?<![0-9])\+[0-9]{1,3}(?:[- ][0-9]{2,8}){2,4}(?![0-9])",
        lambda m: "加" + _phone(m.group()),
    ),
    pattern(
        "service number",
        rf"({FOLLOWS_TELEPHONE})([^0-9。！？!?\n]{{0,4}}?)([0-9]{{3,8}}|95[0-9]{{3,6}})(?![0-9:.,个元块次分年月天%-])",
        lambda m: m.group(1) + m.group(2) + zh.digits(m.group(3), telephone=True),
    ),
    pattern(
        "service number before",
        r"(?<![0-9.,])([0-9]{3,5})(?=[ ]?(?:打(?:了)?个?电话|报警|热线|专线|服务热线))",
        lambda m: zh.digits(m.group(1), telephone=True),
    ),
    pattern(
        "identifier",
        rf"({FOLLOWS_IDENTIFIER})((?:[是为：: ]|号){{0,2}})([A-Za-z]{{0,3}})([0-9]{{2,20}})(?![0-9])",
        lambda m: m.group(1) + m.group(2) + m.group(3) + zh.digits(m.group(4), telephone=True),
    ),
    pattern(
        "date",
        rf"(?<![0-9./-])({_YEAR})([-/.])({_MONTH})\2({_DAY})(?![0-9])(?![-/.][0-9])[日号]?",
        lambda m: _full_date(m.group(1), m.group(3), m.group(4)),
    ),
    pattern(
        "date, year last",
        rf"(?<![0-9./-])({_MONTH})([-/.])({_DAY})\2({_YEAR})(?![0-9])(?![-/.][0-9])",
        lambda m: _full_date(m.group(4), m.group(1), m.group(3)),
    ),
    pattern(
        "compact date",
        r"(?<![0-9])((?:19|20)[0-9]{2})(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])(?![0-9])(?![.,][0-9])",
        lambda m: _full_date(m.group(1), m.group(2), m.group(3)),
    ),
    pattern(
        "year and month",
        r"(?<![0-9./-])((?:1[89]|20)[0-9]{2})[-/.](0[1-9]|1[0-2])(?![0-9])(?![-/.][0-9])(?![元块%万亿倍米])",
        lambda m: _full_date(m.group(1), m.group(2), ""),
    ),
    pattern(
        "month and year",
        r"(?<![0-9./-])(0[1-9]|1[0-2])[-/.]((?:1[89]|20)[0-9]{2})(?![0-9])(?![-/.][0-9])",
        lambda m: _full_date(m.group(2), m.group(1), ""),
    ),
    pattern(
        "month and day",
        r"(?<![0-9./:-])(0[1-9]|1[0-2])[-/.](0[1-9]|[12][0-9]|3[01])(?![0-9])(?![-/.:][0-9])(?![元块%万亿倍米])",
        lambda m: f"{zh.cardinal(m.group(1).lstrip('0'))}月{zh.cardinal(m.group(2).lstrip('0'))}日",
    ),
    pattern(
        "years",
        rf"{START}({_YEAR})年?{DASH}({_YEAR})[ ]?年",
        lambda m: f"{zh.year(m.group(1))}到{zh.year(m.group(2))}年",
    ),
    pattern(
        "years alone",
        rf"{START}((?:1[89]|20)[0-9]{{2}}){DASH}((?:1[89]|20)[0-9]{{2}})(?![0-9])(?=$|[^0-9.%\u4e00-\u9fffA-Za-z])",
        lambda m: f"{zh.year(m.group(1))}到{zh.year(m.group(2))}",
    ),
    pattern("decade", r"(?<![0-9])([0-9]0)[ ]?年代", lambda m: zh.cardinal(m.group(1)) + "年代"),
    pattern("generation", r"(?<![0-9.])([0-9][05])后(?=$|[^0-9])", lambda m: zh.digits(m.group(1)) + "后"),
    pattern(
        "year",
        rf"{START}({_YEAR})[ ]?年(?![前后内来间]|以[前后来]|的?历史|多)",
        lambda m: zh.year(m.group(1)) + "年",
    ),
    pattern(
        "short year",
        r"(?<![0-9.])(0[0-9]|[0-9]{2}(?=年(?:[0-9]{1,2}月|初|底|末|生|出生|毕业|[春夏秋冬])))年",
        lambda m: zh.digits(m.group(1)) + "年",
    ),
    pattern("month", r"(?<![0-9.])(0?[1-9]|1[0-2])[ ]?月(?!饼)", lambda m: zh.cardinal(m.group(1).lstrip("0")) + "月"),
    pattern(
        "day",
        r"(?<=月)[ ]?(0?[1-9]|[12][0-9]|3[01])[ ]?([日号號])",
        lambda m: zh.cardinal(m.group(1).lstrip("0")) + m.group(2),
    ),
    pattern(
        "ratio, named",
        rf"((?:比分|比例|比率|大?比|宽高比)[^0-9，。！？\n]{{0,6}})"
        rf"{START}([0-9]{{1,4}})[ ]?[:：-][ ]?([0-9]{{1,4}})(?![0-9])(?![:：][0-9])",
        lambda m: f"{m.group(1)}{zh.cardinal(m.group(2))}比{zh.cardinal(m.group(3))}",
    ),
    pattern(
        "times",
        rf"{START}([01]?[0-9]|2[0-4])[:：]([0-5][0-9]){DASH}([01]?[0-9]|2[0-4])[:：]([0-5][0-9])(?![0-9:：])",
        lambda m: f"{_clock(m.group(1), m.group(2), '')}到{_clock(m.group(3), m.group(4), '')}",
    ),
    pattern(
        "time",
        r"(?<![0-9])(?<![0-9][.,:/：])([01]?[0-9]|2[0-4])[:：]([0-5][0-9])(?:[:：]([0-5][0-9]))?(?![0-9])(?![:：][0-9])"
        r"(?:[ ]?([AaPp]\.?[Mm](?![A-Za-z])\.?))?",
        _time,
    ),
    pattern(
        "hour",
        r"(?<![0-9.:])(1[0-2]|0?[1-9])[ ]?([AaPp])\.?[Mm](?![A-Za-z])\.?",
        lambda m: ("上午" if m.group(2) in "aA" else "下午") + _hour(m.group(1)) + "点",
    ),
    pattern(
        "ratio",
        r"(?<![0-9])(?<![0-9][.,:/：])([0-9]{1,4})[:：]([0-9]{1,4})(?![0-9])(?![:：.][0-9])",
        lambda m: f"{zh.cardinal(m.group(1))}比{zh.cardinal(m.group(2))}",
    ),
)
"""The rules, in the order they apply."""
