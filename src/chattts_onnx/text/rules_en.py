"""English rules, in the order they apply: addresses, telephone numbers, dates and times, quantities, the rest."""

from __future__ import annotations

import re
from typing import Match, Optional, Tuple

from chattts_onnx.text import electronic
from chattts_onnx.text import numbers_en as en
from chattts_onnx.text.letters import X_TO_X, acronyms, greek
from chattts_onnx.text.rule import DASH, END, NUMBER, START, Rule, pattern
from chattts_onnx.text.units_en import ABBREVIATIONS, CURRENCIES, DAYS, MONTH_NAMES, MONTHS, STATE_WORDS, STATES, UNITS

_AMOUNT = rf"(?:{NUMBER}|\.[0-9]{{1,20}})"
_BEGIN = r"(?<![0-9])(?<![0-9][.,:/])(?<![A-Za-z.])"
_SIGN = r"(?<![0-9A-Za-z)\]])[-+±]"
_MONTH_WORD = "|".join([*(name.title() for name in MONTH_NAMES[1:]), *(f"{short.title()}\\.?" for short in MONTHS if short != "may")])
_MONTH = f"(?i:{_MONTH_WORD})"
_DAY = r"(?:3[01]|[12][0-9]|0?[1-9])"
_YEAR = r"(?:1[0-9]{3}|20[0-9]{2})"
_SCALE = r"(?i:hundred|thousand|million|billion|trillion)(?![A-Za-z])|(?:[KMBk]|bn|mn)(?!\.?[A-Za-z])"
_SCALES = {"K": "thousand", "k": "thousand", "M": "million", "mn": "million", "B": "billion", "bn": "billion"}
_UNIT = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_SIGNS = [sign for sign in CURRENCIES if not sign.isalpha()]
_CURRENCY = "|".join(sorted(map(re.escape, CURRENCIES), key=len, reverse=True))
_CODE = "|".join(code for code in CURRENCIES if code.isalpha() and code.isascii())
_ROMAN = r"(?:XX|XI{0,3}X?|XI?V|XVI{0,3}|I{1,3}|IV|VI{0,3}|IX|X)"
_ROMAN_VALUES = {"I": 1, "V": 5, "X": 10}
_NUMBERED = (
    "World War|War|Chapter|Part|Act|Scene|Book|Volume|Section|Article|Phase|Type|Class|Level|Stage|Grade|Title|Appendix|Figure|"
    "Table|Super Bowl|Apollo|Rocky|Episode|Unit|Category|Division|Factor|Mark"
)
_STREETS = "St|Street|Ave|Avenue|Rd|Road|Blvd|Boulevard|Dr|Drive|Ln|Lane|Way|Expy|Expressway|Court|Ct|Place|Pl|Highway|Hwy|Square|Terrace"
_ROOMS = "Room|Flight|Apartment|Apt|Suite|Route|Highway|Bus|Gate|Channel|Code|PIN|Extension|Ext|Interstate|Line|Train|Area"
_REGNAL = (
    "King|Queen|Pope|Emperor|Tsar|Prince|Elizabeth|Henry|Louis|George|Charles|Edward|James|William|Richard|Philip|Napoleon|Pius|"
    "Benedict|Francis|Paul|Frederick|Catherine|Nicholas|Alexander|Peter|Mary|Leo|Gregory|Innocent|Clement"
)


def _words_of_dash(text: str) -> str:
    return ", ".join(
        en.digits(part, zero="oh") if part.isdigit() else part for part in re.findall("[0-9]+|[A-Za-z]+", text)
    )


def _telephone(match: Match[str]) -> str:
    text = match.group()
    return ("plus " if text.startswith("+") else "") + _words_of_dash(text)


def _toll_free(match: Match[str]) -> str:
    first, second, rest = match.groups()
    words = " ".join(word.title() for word in re.findall("[A-Z]+", rest)) if re.search("[A-Z]", rest) else _words_of_dash(rest)
    hundreds = en.cardinal(second) if second.endswith("00") else en.digits(second, zero="oh")
    return f"{en.digits(first)}, {hundreds}, {words}"


def _day_of_month(year: str, month: str, day: str) -> str:
    read = f"the {en.ordinal(day)} of {MONTH_NAMES[int(month)].title()}"
    return f"{read} {en.year(year)}" if year else read


def _month_name(text: str) -> str:
    return MONTHS.get(text.rstrip(".").lower(), text.rstrip(".").lower()).title()


def _month_day(match: Match[str]) -> str:
    month, day, comma, year = match.groups()
    read = f"{_month_name(month)} {en.ordinal(day)}"
    return f"{read}{comma or ''} {en.year(year)}" if year else read


def _day_month(match: Match[str]) -> str:
    the, day, month, year = match.groups()
    read = f"{the or 'the '}{en.ordinal(day)} of {_month_name(month)}"
    return f"{read} {en.year(year)}" if year else read


def _clock(hour: str, minute: str) -> str:
    if minute == "00":
        return en.cardinal(str(int(hour)))
    minutes = f"oh {en.cardinal(minute[1])}" if minute.startswith("0") else en.cardinal(minute)
    return f"{en.cardinal(str(int(hour)))} {minutes}"


def _half_day(text: Optional[str]) -> str:
    return f" {text[0].upper()} M" if text else ""


def _time(match: Match[str]) -> str:
    hour, minute, half = match.groups()
    if half:
        return _clock(hour, minute) + _half_day(half)
    return _clock(hour, minute) + _o_clock(hour, minute)


def _o_clock(hour: str, minute: str) -> str:
    if minute != "00":
        return ""
    return " o'clock" if 0 < int(hour) <= 12 else " hundred"


def _time_with_seconds(match: Match[str]) -> str:
    hour, minute, second, half = match.groups()
    parts = [
        f"{en.cardinal(str(int(value)))} {name}{'' if int(value) == 1 else 's'}"
        for value, name in ((hour, "hour"), (minute, "minute"), (second, "second"))
    ]
    return f"{parts[0]} {parts[1]} and {parts[2]}{_half_day(half)}"


def _negative(sign: Optional[str]) -> str:
    return {"-": "negative ", "+": "plus ", "±": "plus or minus "}.get(sign or "", "")


def _minus(sign: str, number: str) -> str:
    return "minus " if sign == "-" and "." in number else _negative(sign)


def _scale(scale: Optional[str]) -> str:
    return f" {_SCALES.get(scale, scale)}" if scale else ""


def _money(match: Match[str]) -> str:
    sign, currency, number, scale = match.groups()
    return _negative(sign) + _amount(number, scale, CURRENCIES[currency])


def _amount(number: str, scale: Optional[str], currency: Tuple[str, str, str, str]) -> str:
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
    currency, first, second, scale = match.groups()
    return f"{en.decimal(first)} to {_amount(second, scale, CURRENCIES[currency])}"


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
    parts = [en.digits(part) if len(part) > 2 or (len(part) > 1 and part[0] == "0") else en.cardinal(part) for part in number.split(".")]
    return (f"{prefix} " if prefix else "") + " point ".join(parts)


def _letters_and_number(match: Match[str]) -> str:
    letters, number, fraction, behind = match.groups()
    if len(number) > 2 or (len(number) == 2 and number[0] == "0"):
        read = _model_number(number)
    else:
        read = en.cardinal(number)
    return f"{letters} {read}" + (f" point {en.digits(fraction)}" if fraction else "") + (f" {behind}" if behind else "")


def _model_number(number: str) -> str:
    """`4090` is forty ninety, `747` seven forty seven, `7800` seventy eight hundred."""
    if len(number) == 4 and number[2:] != "00" and number[0] != "0" and number[2] != "0":
        return f"{en.cardinal(number[:2])} {en.cardinal(number[2:])}"
    if len(number) == 3 and number[1:] != "00" and number[0] != "0" and number[1] != "0":
        return f"{en.cardinal(number[0])} {en.cardinal(number[1:])}"
    return en.digits(number, zero="oh")


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


_SYMBOLS = (
    ("≥", " greater than or equal to "), ("≤", " less than or equal to "), ("≈", " approximately "), ("≠", " is not equal to "),
    ("∞", " infinity "), ("√", " square root of "), ("×", " times "), ("÷", " divided by "), ("±", " plus or minus "), ("=", " equals "),
    ("%", " percent "), ("°", " degrees "), ("£", " pound "), ("€", " euro "), ("²", " squared "), ("³", " cubed "), ("©", ""), ("®", ""), ("™", ""),
    ("&", " and "),
)  # fmt: skip


def _symbols(text: str) -> str:
    for symbol, word in _SYMBOLS:
        if symbol in text:
            text = text.replace(symbol, word)
    return text


_ABBREVIATION = re.compile(
    r"(?<![A-Za-z.])(?:"
    + "|".join(
        re.escape(short) + ("" if short.endswith((".", "/")) else "(?![A-Za-z.])")
        for short in sorted(ABBREVIATIONS, key=len, reverse=True)
        if short not in ("No.", "no.", "Nos.")
    )
    + ")"
)
_CLOSING = re.compile(r"\s{0,2}(?:$|[\"'”’)]?\s+[A-Z])")


def _abbreviations(text: str) -> str:
    """Write abbreviations out; the full stop of one that ends a sentence stays."""

    def write(match: Match[str]) -> str:
        short = match.group()
        word = ABBREVIATIONS[short]
        before, after = text[max(0, match.start() - 30) : match.start()], text[match.end() : match.end() + 4]
        street = re.match(r"\s*(?:$|[,.;!?)]|[a-z])", after) or re.search(r"[0-9a-z]\s[A-Z][a-z]{1,20}\s$", before)
        if short in ("St.", "Dr.") and street:
            word = "Street" if short == "St." else "Drive"
        at_end = (short in _MAY_END or word in ("Street", "Drive")) and _CLOSING.match(text[match.end() : match.end() + 8])
        return word + ("." if at_end else "")

    return _ABBREVIATION.sub(write, text)


_MAY_END = frozenset(("etc.", "Inc.", "Ltd.", "Co.", "Corp.", "Jr.", "Sr.", "Bros.", "et al.", "Ave.", "Blvd.", "Rd.", "B.C.", "A.D.", "Ph.D."))

_DAY_NAME = "|".join(sorted(DAYS, key=len, reverse=True))

RULES: Tuple[Rule, ...] = (
    *electronic.rules("en", en.digits),
    pattern("x2x", X_TO_X, r"\1 to \2"),
    pattern("joined initials", r"(?<![A-Za-z])([A-Z]{1,3})[ ]?&[ ]?([A-Z]{1,3})(?![A-Za-z])", lambda m: f"{' '.join(m.group(1))} and {' '.join(m.group(2))}"),
    pattern("page", r"(?<![A-Za-z])(pp?)\.[ ]?(?=[0-9])", lambda m: "pages " if m.group(1) == "pp" else "page "),
    pattern("state", rf"(?<=[a-z],[ ])({'|'.join(STATES)})(?=[ ][0-9]{{5}}(?![0-9]))|(?<=[a-z],[ ])({'|'.join(name for name in STATES if name not in STATE_WORDS)})(?=$|[,.;:!?)\n])", lambda m: STATES[m.group(1) or m.group(2)]),
    pattern("house number", rf"(?<![0-9A-Za-z.,-])([1-9][0-9]{{2,3}})(?=(?:[ ][A-Z][a-z]{{1,20}}){{1,3}}[ ](?:{_STREETS}))", lambda m: _model_number(m.group(1))),
    pattern("post code", r"(?<=[A-Za-z])[ ]([0-9]{5})(?![0-9-])(?=$|[,.;\n])", lambda m: " " + en.digits(m.group(1), zero="oh")),
    pattern("era", r"(?<![0-9.,A-Za-z])([0-9]{1,4})[ ]?(B|A)\.?[ ]?(C|D)(?:\.(?!\s+[A-Z]|\s*$))?(?![A-Za-z])", lambda m: f"{en.year(m.group(1))} {m.group(2)} {m.group(3)}"),
    Rule("abbreviations", _abbreviations),
    pattern("number sign", r"(?:#|№[ ]?|(?<![A-Za-z])[Nn]o\.?[ ](?=[0-9])|(?<![A-Za-z])N[oO]\.(?=[0-9]))(?=[0-9])", "number "),
    pattern("toll-free", r"(?<![0-9A-Za-z-])(1)-(8[0-9]{2})-([0-9]{3}-[0-9]{4}|[A-Z]{1,8}(?:-[A-Z]{1,8}){0,3})(?![0-9A-Za-z])", _toll_free),
    pattern(
        "telephone",
        r"(?<![0-9A-Za-z+.-])(?:\+[0-9]{1,3}[ -])?(?:\([0-9]{3}\)[ ]?|[0-9]{3}[-. ])[0-9]{3}[-.][0-9]{4}(?:-[0-9]{1,5})?(?![0-9])",
        _telephone,
    ),
    pattern("international telephone", r"(?<![0-9A-Za-z])\+[0-9]{1,3}(?:[- ][0-9]{2,5}){2,4}(?![0-9])", _telephone),
    pattern("long telephone", r"(?<![0-9A-Za-z])\+[0-9]{8,15}(?![0-9])", lambda m: "plus " + en.digits(m.group(), zero="oh")),
    pattern("local telephone", r"(?<![0-9-])[2-9][0-9]{2}-[0-9]{4}(?![0-9-])", _telephone),
    pattern(
        "date",
        rf"(?<![0-9./-])({_YEAR})([-/.])(1[0-2]|0?[1-9])\2({_DAY})(?![0-9])(?![-/.][0-9])",
        lambda m: _day_of_month(m.group(1), m.group(3), m.group(4)),
    ),
    pattern(
        "date, month first",
        rf"(?<![0-9./-])(1[0-2]|0?[1-9])([-/])({_DAY})\2({_YEAR})(?![0-9])(?![-/.][0-9])",
        lambda m: f"{MONTH_NAMES[int(m.group(1))].title()} {en.ordinal(m.group(3))}, {en.year(m.group(4))}",
    ),
    pattern(
        "date, day first",
        rf"(?<![0-9./-])({_DAY})([-/.])(1[0-2]|0?[1-9])\2({_YEAR})(?![0-9])(?![-/.][0-9])",
        lambda m: _day_of_month(m.group(4), m.group(3), m.group(1)),
    ),
    pattern(
        "month, day, year",
        rf"(?<![A-Za-z])({_MONTH})[ ]({_DAY})(?:st|nd|rd|th)?(?![0-9:])(?![.,][0-9])(?:([ ]?,)?[ ]({_YEAR})(?![0-9])(?![.,:][0-9]))?",
        _month_day,
    ),
    pattern(
        "day, month, year",
        rf"(?<![0-9A-Za-z.,:/])(the[ ])?({_DAY})(?:st|nd|rd|th)?[ ](?:of[ ])?({_MONTH})(?![A-Za-z])(?:,?[ ]({_YEAR})(?![0-9])(?![.,:][0-9]))?",
        _day_month,
    ),
    pattern("month, year", rf"(?<![A-Za-z])({_MONTH})[ ,]{{1,2}}({_YEAR})(?![0-9])(?![.,:][0-9])", lambda m: f"{_month_name(m.group(1))} {en.year(m.group(2))}"),
    pattern("month", r"(?<![A-Za-z])(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.(?=[ ]?[0-9A-Za-z])", lambda m: _month_name(m.group(1))),
    pattern("days", rf"(?<![A-Za-z])({_DAY_NAME})\.?[ ]?[-–][ ]?({_DAY_NAME})(?:\.|(?![A-Za-z]))", lambda m: f"{DAYS[m.group(1)]} to {DAYS[m.group(2)]}"),
    pattern("day", r"(?<![A-Za-z])(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)(?:\.(?=[ ]?[0-9a-z])|,(?=[ ][A-Z0-9]))", lambda m: DAYS[m.group(1)] + ("," if m.group().endswith(",") else "")),
    pattern("short decade", r"(?<![A-Za-z0-9])['’]([1-9]0)s(?![A-Za-z])", lambda m: en.plural(en.cardinal(m.group(1)))),
    pattern("decade", r"(?<![A-Za-z0-9.,])(1[0-9]|20)([0-9]0)['’]?s(?![A-Za-z])", lambda m: f"{en.cardinal(m.group(1))} {en.plural(en.cardinal(m.group(2))) if m.group(2) != '00' else 'hundreds'}"),
    pattern("short years", r"(?<![A-Za-z0-9.,])([2-9]0)['’]?s(?![A-Za-z])", lambda m: en.plural(en.cardinal(m.group(1)))),
    pattern("half year", r"(?<![A-Za-z0-9])([12])H([0-9]{2})(?![A-Za-z0-9])", lambda m: f"the {en.ordinal(m.group(1))} half of {en.cardinal(m.group(2))}"),
    pattern("quarter", r"(?<![A-Za-z0-9])([1-4])Q([0-9]{2})(?![A-Za-z0-9])", lambda m: f"the {en.ordinal(m.group(1))} quarter of {en.cardinal(m.group(2))}"),
    pattern("quarter first", r"(?<![A-Za-z0-9])Q([1-4])(?=[ ,.]|$)", lambda m: f"Q {en.cardinal(m.group(1))}"),
    pattern(
        "time with seconds",
        r"(?<![0-9.,:])([01]?[0-9]|2[0-4]):([0-5][0-9]):([0-5][0-9])(?![0-9:])(?:[ ]?([AaPp])(?:\.[ ]?[Mm](?:\.(?!\s+[A-Z]|\s*$))?|[Mm](?![A-Za-z])))?",
        _time_with_seconds,
    ),
    pattern(
        "times",
        r"(?<![0-9.,:])([01]?[0-9]|2[0-4]):([0-5][0-9])(?:[ ]?([AaPp])(?:\.[Mm]\.|[Mm]))?" + DASH + r"(?=(?:[01]?[0-9]|2[0-4]):[0-5][0-9](?![0-9:]))",
        lambda m: f"{_clock(m.group(1), m.group(2))}{_half_day(m.group(3)) or _o_clock(m.group(1), m.group(2))} to ",
    ),
    pattern(
        "time",
        r"(?<![0-9.,:])([01]?[0-9]|2[0-4])(?::([0-5][0-9])(?![0-9:])|\.([0-5][0-9])(?=[ ]?[AaPp]\.?[Mm]))(?:[ ]?([AaPp])(?:\.[ ]?[Mm](?:\.(?!\s+[A-Z]|\s*$))?|[Mm](?![A-Za-z])))?",
        lambda m: _time(re.fullmatch("(.*)\n(.*)\n(.*)", f"{m.group(1)}\n{m.group(2) or m.group(3)}\n{m.group(4) or ''}")),  # type: ignore[arg-type]
    ),
    pattern("hour", r"(?<![0-9.,:])(1[0-2]|0?[1-9])[ ]?([AaPp])(?:\.[ ]?[Mm](?:\.(?!\s+[A-Z]|\s*$))?|[Mm](?![A-Za-z]))", lambda m: en.cardinal(str(int(m.group(1)))) + _half_day(m.group(2))),
    pattern("ratio", r"(?<![0-9.,:])([0-9]{1,4}):([0-9]{1,4})(?![0-9:])(?![.,][0-9])", lambda m: f"{en.cardinal(m.group(1))} to {en.cardinal(m.group(2))}"),
    pattern("ordinal", r"(?<![0-9A-Za-z./])([0-9]{1,3}(?:,[0-9]{3}){1,4}|[0-9]{1,15})(?:st|nd|rd|th)(?![A-Za-z0-9])", lambda m: en.ordinal(m.group(1).replace(",", ""))),
    pattern("numbered", rf"(?<![A-Za-z])((?:{_NUMBERED})s?[ ])({_ROMAN})(?![A-Za-z'’])", lambda m: m.group(1) + en.cardinal(str(_roman_value(m.group(2))))),
    pattern("regnal", rf"(?<![A-Za-z])((?:{_REGNAL})[ ])({_ROMAN})(?![A-Za-z'’.])", lambda m: f"{m.group(1)}the {en.ordinal(str(_roman_value(m.group(2))))}"),
    pattern("roman", r"(?<![A-Za-z.'’])(II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI{1,3}|XIX|XX)(?![A-Za-z'’])", lambda m: en.cardinal(str(_roman_value(m.group(1))))),
    pattern("version", rf"{START}()([0-9]{{1,5}}(?:\.[0-9]{{1,5}}){{2,5}})(?![0-9])", _version),
    pattern("version, named", r"(?<![A-Za-z])([vV])\.?([0-9]{1,4}(?:\.[0-9]{1,5}){0,5})(?![0-9A-Za-z])", _version),
    pattern("amounts", rf"({_CURRENCY})[ ]?({NUMBER}){DASH}(?:\1)?({NUMBER})(?:[ ]?({_SCALE}))?{END}", _money_range),
    pattern("money", rf"([-+±])?(?<![A-Za-z])({_CURRENCY})[ ]?({_AMOUNT})(?:[ ]?({_SCALE}))?{END}", _money),
    pattern(
        "money, code behind",
        rf"{_BEGIN}({NUMBER})(?:[ ]?({_SCALE}))?[ ]?({_CODE}|€|£)(?![A-Za-z])",
        lambda m: _amount(m.group(1), m.group(2), CURRENCIES[m.group(3)]),
    ),
    pattern("times", r"(?<=[0-9])[ ]?[×*][ ]?(?=[0-9])|(?<=[0-9])[ ]x[ ](?=[0-9])", " times "),
    pattern("times over", r"(?<=[0-9])x(?![A-Za-z0-9])", " times"),
    pattern("around the clock", r"(?<![0-9/])24/7(?![0-9/])", "twenty four seven"),
    pattern("feet and inches", r"(?<![0-9A-Za-z])([0-9]{1,2})['′][ ]?(1[01]|[0-9])(?:\"|″|”|'')", lambda m: f"{en.cardinal(m.group(1))} foot {en.cardinal(m.group(2))}"),
    pattern("unit", rf"(?:({_SIGN}))?{_BEGIN}({_AMOUNT})[ ]?%?(?:{DASH}({NUMBER}))?(?:[ ]?({_SCALE}))?[ -]?({_UNIT})(?![A-Za-z0-9/²³])", _unit),
    pattern("fraction", rf"({_SIGN})?{_BEGIN}(?:([0-9]{{1,5}})[ ])?([0-9]{{1,4}})/([1-9][0-9]{{0,4}})(?:th|rd|nd|st)?s?(?![0-9A-Za-z])(?![./][0-9])", _fraction),
    Rule("math", _math),
    pattern("scaled", rf"(?:({_SIGN}))?{_BEGIN}({_AMOUNT})[ ]?(K|M|B|bn|mn|k)(?!\.?[A-Za-z0-9])", lambda m: f"{_negative(m.group(1))}{en.decimal(m.group(2))}{_scale(m.group(3))}"),
    pattern("range", rf"(?<![0-9])(?<![0-9][.,-])(?<![A-Za-z.-])({NUMBER})[ ]?[-–~][ ]?({NUMBER})(?!-?[0-9])(?![A-Za-z])", _range),
    pattern(
        "year after a word",
        rf"(?<![A-Za-z])((?:[Ii]n|[Ss]ince|[Bb]y|[Uu]ntil|[Yy]ear|[Cc]irca|[Ff]rom|[Bb]efore|[Aa]fter|[Dd]uring|[Ss]ummer|[Ww]inter|[Ss]pring|[Aa]utumn|[Ff]all|of)[ ])(1[0-9]{{3}}|20[1-9][0-9])(?![0-9])(?![,.][0-9])(?![0-9%])(?![ ](?:people|men|women|dollars|euros|pounds|miles|years|days|times|hours|points))",
        lambda m: m.group(1) + en.year(m.group(2)),
    ),
    pattern("room", rf"(?<![A-Za-z])((?:{_ROOMS})(?:[ ](?:number[ ])?))([0-9]{{3,4}})(?![0-9])(?![.,][0-9])", lambda m: m.group(1) + _model_number(m.group(2))),
    pattern("signed decimal", rf"({_SIGN}){_BEGIN}({NUMBER})", lambda m: _minus(m.group(1), m.group(2)) + en.decimal(m.group(2))),
    pattern("letters and number", r"(?<![A-Za-z0-9])([A-Za-z]{1,20})-?([0-9]{1,9})(?:\.([0-9]{1,5}))?([A-Za-z]{1,3})?(?![A-Za-z0-9])(?!\.[0-9])", _letters_and_number),
    pattern("number and letters", rf"{_BEGIN}({NUMBER})-?([A-Za-z]{{1,20}})(?![0-9])", _number_and_letters),
    pattern("plus plus", r"(?<=[A-Za-z])\+\+", " plus plus"),
    pattern("plus", r"(?<=[0-9A-Za-z])[ ]?\+[ ]?", " plus "),
    pattern("point first", r"(?<![0-9A-Za-z.])\.([0-9]{1,20})(?![0-9])", lambda m: en.decimal("." + m.group(1))),
    pattern("year", r"(?<![0-9.,])(19[0-9]{2}|20[1-9][0-9])(?![0-9])(?![.,][0-9])", lambda m: en.year(m.group(1))),
    pattern("model number", r"(?<![A-Za-z])([A-Z]{2,5})[ ]([1-9][0-9]{3})(?![0-9])(?![.,][0-9])", lambda m: f"{m.group(1)} {_model_number(m.group(2))}"),
    pattern("long number", r"[0-9]{19,}", lambda m: en.digits(m.group())),
    pattern("number", NUMBER, lambda m: en.decimal(m.group())),
    Rule("symbols", _symbols),
    greek("en"),
    pattern("initials", r"(?<![A-Za-z])([A-Z])\.(?=[ ]?[A-Z](?:\.|[a-z]))", r"\1 "),
    pattern("initialism", r"(?<=[A-Z][ .])([A-Z])\.(?=[ ][a-z])", r"\1"),
    acronyms(),
)
