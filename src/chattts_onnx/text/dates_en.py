"""English: what names rather than counts (addresses, abbreviations, telephones), then dates and times.

They come before quantities, because each of them looks like one: `2024-05-06` like a subtraction, `555-1234` like a
range, `12:30` like a ratio.
"""

from __future__ import annotations

import re
from typing import Match, Optional, Tuple

from chattts_onnx.text import electronic
from chattts_onnx.text import numbers_en as en
from chattts_onnx.text.letters import X_TO_X
from chattts_onnx.text.rule import DASH, Rule, pattern
from chattts_onnx.text.units_en import ABBREVIATIONS, DAYS, MONTH_NAMES, MONTHS, STATE_WORDS, STATES

_MONTH_WORD = "|".join(
    [*(name.title() for name in MONTH_NAMES[1:]), *(f"{short.title()}\\.?" for short in MONTHS if short != "may")]
)
_MONTH = f"(?i:{_MONTH_WORD})"
_DAY = r"(?:3[01]|[12][0-9]|0?[1-9])"
_YEAR = r"(?:1[0-9]{3}|20[0-9]{2})"
_STATE = "|".join(STATES)
_CLEAR_STATE = "|".join(name for name in STATES if name not in STATE_WORDS)
_STREETS = (
    "St|Street|Ave|Avenue|Rd|Road|Blvd|Boulevard|Dr|Drive|Ln|Lane|Way|Expy|Expressway|Court|Ct|Place|Pl|Highway|Hwy|"
    "Square|Terrace"
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
    words = (
        " ".join(word.title() for word in re.findall("[A-Z]+", rest))
        if re.search("[A-Z]", rest)
        else _words_of_dash(rest)
    )
    hundreds = en.cardinal(second) if second.endswith("00") else en.digits(second, zero="oh")
    return f"{en.digits(first)}, {hundreds}, {words}"


def _decade(match: Match[str]) -> str:
    century, years = match.groups()
    if years == "00":
        return "two thousands" if century == "20" else f"{en.cardinal(century)} hundreds"
    return f"{en.cardinal(century)} {en.plural(en.cardinal(years))}"


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
    hour, colon_minute, dot_minute, half = match.groups()
    minute = colon_minute or dot_minute
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


def _model_number(number: str) -> str:
    """`4090` is forty ninety, `747` seven forty seven, `7800` seventy eight hundred."""
    if len(number) == 4 and number[2:] != "00" and number[0] != "0" and number[2] != "0":
        return f"{en.cardinal(number[:2])} {en.cardinal(number[2:])}"
    if len(number) == 3 and number[1:] != "00" and number[0] != "0" and number[1] != "0":
        return f"{en.cardinal(number[0])} {en.cardinal(number[1:])}"
    return en.digits(number, zero="oh")


_ABBREVIATION = re.compile(
    r"(?<![A-Za-z])(?:"
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
        at_end = (short in _MAY_END or word in ("Street", "Drive")) and _CLOSING.match(
            text[match.end() : match.end() + 8]
        )
        return word + ("." if at_end else "")

    return _ABBREVIATION.sub(write, text)


_MAY_END = frozenset(
    (
        "etc.",
        "Inc.",
        "Ltd.",
        "Co.",
        "Corp.",
        "Jr.",
        "Sr.",
        "Bros.",
        "et al.",
        "Ave.",
        "Blvd.",
        "Rd.",
        "B.C.",
        "A.D.",
        "Ph.D.",
    )
)

# The full stop behind a.m. stays where it ends the sentence.
_ZONE = "(?:[ECMP][SD]?T|GMT|UTC|CET|BST)(?![A-Za-z])"
_HALF = rf"([AaPp])(?:\.[ ]?[Mm](?:\.(?!\s+(?!{_ZONE})[A-Z]|\s*$))?|[Mm](?![A-Za-z]))"
_DAY_NAME = "|".join(sorted(DAYS, key=len, reverse=True))


RULES: Tuple[Rule, ...] = (
    *electronic.rules("en", en.digits),
    pattern("x2x", X_TO_X, r"\1 to \2"),
    pattern(
        "joined initials",
        r"(?<![A-Za-z])([A-Z]{1,3})[ ]?&[ ]?([A-Z]{1,3})(?![A-Za-z])",
        lambda m: f"{' '.join(m.group(1))} and {' '.join(m.group(2))}",
    ),
    pattern("page", r"(?<![A-Za-z])(pp?)\.[ ]?(?=[0-9])", lambda m: "pages " if m.group(1) == "pp" else "page "),
    pattern(
        "state",
        rf"(?<=[a-z],[ ])({_STATE})(?=[ ][0-9]{{5}}(?![0-9]))|(?<=[a-z],[ ])({_CLEAR_STATE})(?=$|[,.;:!?)\n])",
        lambda m: STATES[m.group(1) or m.group(2)],
    ),
    pattern(
        "house number",
        rf"(?<![0-9A-Za-z.,-])([1-9][0-9]{{2,3}})(?=(?:[ ][A-Z][a-z]{{1,20}}){{1,3}}[ ](?:{_STREETS}))",
        lambda m: _model_number(m.group(1)),
    ),
    pattern(
        "post code",
        r"(?<=[A-Za-z])[ ]([0-9]{5})(?![0-9-])(?=$|[,.;\n])",
        lambda m: " " + en.digits(m.group(1), zero="oh"),
    ),
    pattern(
        "era",
        r"(?<![0-9.,A-Za-z])([0-9]{1,4})[ ]?(B|A)\.?[ ]?(C|D)(?:\.(?!\s+[A-Z]|\s*$))?(?![A-Za-z])",
        lambda m: f"{en.year(m.group(1))} {m.group(2)} {m.group(3)}",
    ),
    Rule("abbreviations", _abbreviations),
    pattern(
        "number sign",
        r"(?:#|№[ ]?|(?<![A-Za-z])[Nn]o\.?[ ](?=[0-9])|(?<![A-Za-z])N[oO]\.(?=[0-9]))(?=[0-9])",
        "number ",
    ),
    pattern(
        "toll-free",
        r"(?<![0-9A-Za-z-])(1)-(8[0-9]{2})-([0-9]{3}-[0-9]{4}|[A-Z]{1,8}(?:-[A-Z]{1,8}){0,3})(?![0-9A-Za-z])",
        _toll_free,
    ),
    pattern(
        "telephone",
        r"(?<![0-9A-Za-z+.-])(?:\+[0-9]{1,3}[ -])?(?:\([0-9]{3}\)[ ]?|[0-9]{3}[-. ])[0-9]{3}[-.][0-9]{4}"
        r"(?:-[0-9]{1,5})?(?![0-9])",
        _telephone,
    ),
    pattern("international telephone", r"(?<![0-9A-Za-z])\+[0-9]{1,3}(?:[- ][0-9]{2,5}){2,4}(?![0-9])", _telephone),
    pattern(
        "long telephone", r"(?<![0-9A-Za-z])\+[0-9]{8,15}(?![0-9])", lambda m: "plus " + en.digits(m.group(), zero="oh")
    ),
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
        rf"(?<![A-Za-z])({_MONTH})[ ]({_DAY})(?:st|nd|rd|th)?(?![0-9:])(?![.,][0-9])(?:([ ]?,)?[ ]({_YEAR})"
        rf"(?![0-9])(?![.,:][0-9]))?",
        _month_day,
    ),
    pattern(
        "day, month, year",
        rf"(?<![0-9A-Za-z.,:/])(the[ ])?({_DAY})(?:st|nd|rd|th)?[ ](?:of[ ])?({_MONTH})(?![A-Za-z])"
        rf"(?:,?[ ]({_YEAR})(?![0-9])(?![.,:][0-9]))?",
        _day_month,
    ),
    pattern(
        "month, year",
        rf"(?<![A-Za-z])({_MONTH})[ ,]{{1,2}}({_YEAR})(?![0-9])(?![.,:][0-9])",
        lambda m: f"{_month_name(m.group(1))} {en.year(m.group(2))}",
    ),
    pattern(
        "month",
        r"(?<![A-Za-z])(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.(?=[ ]?[0-9A-Za-z])",
        lambda m: _month_name(m.group(1)),
    ),
    pattern(
        "days",
        rf"(?<![A-Za-z])({_DAY_NAME})\.?[ ]?[-–][ ]?({_DAY_NAME})(?:\.|(?![A-Za-z]))",
        lambda m: f"{DAYS[m.group(1)]} to {DAYS[m.group(2)]}",
    ),
    pattern(
        "day",
        r"(?<![A-Za-z])(Mon|Tues?|Wed|Thu(?:rs?)?|Fri|Sat|Sun)(?:\.(?=[ ]?[0-9a-z])|,(?=[ ][A-Z0-9]))",
        lambda m: DAYS[m.group(1)] + ("," if m.group().endswith(",") else ""),
    ),
    pattern("short decade", r"(?<![A-Za-z0-9])['’]([1-9]0)s(?![A-Za-z])", lambda m: en.plural(en.cardinal(m.group(1)))),
    pattern(
        "decade",
        r"(?<![A-Za-z0-9.,])(1[0-9]|20)([0-9]0)['’]?s(?![A-Za-z])",
        _decade,
    ),
    pattern(
        "short years", r"(?<![A-Za-z0-9.,])([2-9]0)['’]?s(?![A-Za-z])", lambda m: en.plural(en.cardinal(m.group(1)))
    ),
    pattern(
        "half year",
        r"(?<![A-Za-z0-9])([12])H([0-9]{2})(?![A-Za-z0-9])",
        lambda m: f"the {en.ordinal(m.group(1))} half of {en.cardinal(m.group(2))}",
    ),
    pattern(
        "quarter",
        r"(?<![A-Za-z0-9])([1-4])Q([0-9]{2})(?![A-Za-z0-9])",
        lambda m: f"the {en.ordinal(m.group(1))} quarter of {en.cardinal(m.group(2))}",
    ),
    pattern("quarter first", r"(?<![A-Za-z0-9])Q([1-4])(?=[ ,.]|$)", lambda m: f"Q {en.cardinal(m.group(1))}"),
    pattern("hours", r"([0-9][ ]?[AaPp](?:\.[Mm]\.|[Mm]))[ ]?[-–~][ ]?(?=[0-9])", r"\1 to "),
    pattern(
        "time with seconds",
        rf"(?<![0-9.,:])([01]?[0-9]|2[0-4]):([0-5][0-9]):([0-5][0-9])(?![0-9:])(?:[ ]?{_HALF})?",
        _time_with_seconds,
    ),
    pattern(
        "times",
        r"(?<![0-9.,:])([01]?[0-9]|2[0-4]):([0-5][0-9])(?:[ ]?([AaPp])(?:\.[Mm]\.|[Mm]))?"
        + DASH
        + r"(?=(?:[01]?[0-9]|2[0-4]):[0-5][0-9](?![0-9:]))",
        lambda m: f"{_clock(m.group(1), m.group(2))}{_half_day(m.group(3)) or _o_clock(m.group(1), m.group(2))} to ",
    ),
    pattern(
        "time",
        rf"(?<![0-9.,:])([01]?[0-9]|2[0-4])(?::([0-5][0-9])(?![0-9:])|\.([0-5][0-9])(?=[ ]?[AaPp]\.?[Mm]))"
        rf"(?:[ ]?{_HALF})?",
        _time,
    ),
    pattern(
        "hour",
        rf"(?<![0-9.,:])(1[0-2]|0?[1-9])[ ]?{_HALF}",
        lambda m: en.cardinal(str(int(m.group(1)))) + _half_day(m.group(2)),
    ),
    pattern(
        "ratio",
        r"(?<![0-9.,:])([0-9]{1,4}):([0-9]{1,4})(?![0-9:])(?![.,][0-9])",
        lambda m: f"{en.cardinal(m.group(1))} to {en.cardinal(m.group(2))}",
    ),
)
"""The rules, in the order they apply."""
