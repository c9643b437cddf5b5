"""The public benchmark: what is read must be what WeTextProcessing's own test lines say, but for named departures."""

from __future__ import annotations

from typing import List

import pytest

from chattts_onnx.text.normalizer import normalize

from .wetext_lines import Line, departures, heard, lines


def failures(language: str) -> List[Line]:
    return [line for line in lines(language) if heard(normalize(line.written, language=language)) != heard(line.spoken)]


@pytest.mark.parametrize(("language", "at_least"), [("zh", 105), ("en", 115)])
def test_the_lines_are_there(language: str, at_least: int) -> None:
    assert len(lines(language)) >= at_least


@pytest.mark.parametrize("language", ["zh", "en"])
def test_pass_rate_on_the_forms_covered(language: str) -> None:
    covered = [line for line in lines(language) if line.written not in departures()]
    failed = [line for line in failures(language) if line.written not in departures()]
    assert len(failed) <= 0.05 * len(covered), failed


@pytest.mark.parametrize("language", ["zh", "en"])
def test_at_least_nine_of_ten_with_the_departures_counted_as_failures(language: str) -> None:
    assert len(failures(language)) <= 0.1 * len(lines(language))


def test_every_departure_is_needed() -> None:
    failed = {line.written for language in ("zh", "en") for line in failures(language)}
    assert departures() <= failed


def test_the_comparison_hears_what_differs() -> None:
    assert heard("C E O说，你好！") == heard("CEO 说你好")
    assert heard("two") != heard("three")
    assert heard("一点") != heard("两点")
    assert heard("don't") != heard("dont")
