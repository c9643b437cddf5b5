"""Every rule reads what its table says, and does it itself."""

from __future__ import annotations

from typing import List, Tuple

import pytest

from chattts_onnx.text.characters import clean
from chattts_onnx.text.normalizer import RULES, normalize

from .cases_en import CASES as EN
from .cases_zh import CASES as ZH

TABLE: List[Tuple[str, str, str, str]] = [
    (language, rule, written, spoken)
    for language, cases in (("zh", ZH), ("en", EN))
    for rule, pairs in cases.items()
    for written, spoken in pairs
]


def fired(language: str, written: str) -> List[str]:
    text, names = clean(written), []
    for rule in RULES[language]:
        changed = rule(text)
        if changed != text:
            names.append(rule.name)
        text = changed
    return names


@pytest.mark.parametrize(("language", "rule", "written", "spoken"), TABLE)
def test_rule_reads(language: str, rule: str, written: str, spoken: str) -> None:
    assert normalize(written, language=language) == spoken
    assert rule in fired(language, written)


@pytest.mark.parametrize(("language", "rule", "written", "spoken"), TABLE)
def test_what_was_read_is_read_the_same_again(language: str, rule: str, written: str, spoken: str) -> None:
    assert normalize(spoken, language=language) == spoken


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_rule_has_cases_and_a_name_of_its_own(language: str) -> None:
    names = [rule.name for rule in RULES[language]]
    assert len(names) == len(set(names))
    assert set(names) == set({"zh": ZH, "en": EN}[language])


def test_the_table_is_as_large_as_promised() -> None:
    assert len({(language, written) for language, _, written, _ in TABLE}) >= 200
