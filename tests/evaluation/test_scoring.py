from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation.scoring import Errors, difference, distance, join_compounds, rate, score

words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=8)


def test_distance_counts_each_kind_of_edit():
    assert distance("kitten", "sitting") == 3
    assert distance("abc", "") == 3
    assert distance("", "abc") == 3
    assert distance("abc", "axc") == 1


@given(words, words, words)
def test_distance_is_a_metric(a, b, c):
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert distance(a, c) <= distance(a, b) + distance(b, c)


@given(words, words)
def test_distance_agrees_with_jiwer(reference, hypothesis):
    jiwer = pytest.importorskip("jiwer", reason="an independent implementation to compare with")
    if not reference:
        return
    expected = jiwer.process_words(" ".join(reference), " ".join(hypothesis))
    total = expected.substitutions + expected.insertions + expected.deletions
    assert distance(reference, hypothesis) == total


def test_homophones_cost_characters_but_not_pinyin():
    pytest.importorskip("opencc", reason="the eval extra is not installed")
    errors = score("他负了责任。", "她付了责任", "zh")
    assert (errors["cer"].edits, errors["cer"].length) == (2, 5)
    assert errors["pinyin"].edits == 0


def test_a_wrong_syllable_costs_both():
    pytest.importorskip("opencc", reason="the eval extra is not installed")
    errors = score("公司在革新技术", "公司在核心技术", "zh")
    assert errors["cer"].edits == 2
    assert errors["pinyin"].edits == 1


def test_english_numbers_compounds_and_contractions_are_the_same_words():
    assert score("The river bank is fifty miles away.", "the riverbank is 50 miles away", "en")["wer"].edits == 0
    assert score("It cannot rain.", "it can't rain", "en")["wer"].edits == 0
    assert score("The cat sat.", "the cat sad", "en")["wer"].edits == 1


def test_a_repetition_loop_is_one_lost_sentence_and_flagged():
    errors = score("hello there", "no " * 40, "en")["wer"]
    assert (errors.edits, errors.length, errors.clipped) == (2, 2, True)


def test_a_reference_without_words_is_refused():
    with pytest.raises(InputError, match="at least one word"):
        score("... !", "hello", "en")
    with pytest.raises(InputError, match="use zh or en"):
        score("bonjour", "bonjour", "fr")


def test_compounds_join_only_where_the_other_side_writes_one_word():
    assert join_compounds(["river", "bank"], ["riverbank"]) == ["riverbank"]
    assert join_compounds(["river", "bank"], ["river", "bank"]) == ["river", "bank"]
    assert join_compounds(["a", "way", "out"], ["a", "way", "out", "away"]) == ["a", "way", "out"]


def test_rate_weights_by_length_and_its_interval_is_seeded():
    errors = [Errors(1, 10, False), Errors(0, 30, False), Errors(4, 13, True)] * 9
    result = rate(errors, seed=3)
    assert result.value == pytest.approx(5 / 53)
    assert result.clipped == 9
    assert result.low <= result.value <= result.high
    assert result == rate(errors, seed=3)
    assert rate(errors, seed=4) != result


def test_the_interval_covers_the_true_rate_about_as_often_as_it_says():
    import numpy as np

    generator = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        errors = [Errors(int(edits), 20, False) for edits in generator.binomial(20, 0.1, size=60)]
        result = rate(errors, seed=trial, resamples=300)
        covered += result.low <= 0.1 <= result.high
    assert 170 <= covered <= 199


def test_a_paired_difference_is_sharper_than_two_rates():
    base = [Errors(edits % 5, 10, False) for edits in range(40)]
    other = [Errors(error.edits + (position % 20 == 0), 10, False) for position, error in enumerate(base)]
    change = difference(base, other)
    assert change.value == pytest.approx(2 / 400)
    separate = rate(base).high - rate(base).low
    assert change.high - change.low < separate / 2


def test_identical_runs_differ_by_exactly_zero():
    errors = [Errors(1, 7, False), Errors(0, 5, False)]
    change = difference(errors, errors)
    assert (change.value, change.low, change.high) == (0.0, 0.0, 0.0)


def test_a_difference_between_other_sentences_is_refused():
    with pytest.raises(InputError, match="same sentences"):
        difference([Errors(0, 5, False)], [Errors(0, 6, False)])
    with pytest.raises(InputError, match="at least one sentence"):
        rate([])
