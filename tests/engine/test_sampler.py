from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.engine.sampler import (
    MIN_KEPT,
    WINDOW,
    SamplingRows,
    draw,
    filter_scores,
    penalize,
    penalty_powers,
    sample,
)

V = 626


def pad(scores):
    return np.concatenate([scores, np.zeros((len(scores), 1), np.float32)], axis=1)


def make_rows(count, *, vocab=V, temperature=1.0, top_p=1.0, top_k=V, penalty=1.0, recent=None, greedy=False):
    window = np.full((count, WINDOW), vocab, np.int64)
    if recent is not None:
        window[:, : len(recent)] = recent
    return SamplingRows(
        temperature=np.full(count, temperature, np.float32),
        top_p=np.full(count, top_p if top_p < 1 else np.inf),
        top_k=np.full(count, min(max(top_k, MIN_KEPT), vocab)),
        penalty=np.repeat(penalty_powers(penalty)[None], count, axis=0),
        recent=window,
        greedy=np.full(count, greedy),
    )


def oracle_filter(scores, top_p, top_k):
    """Row by row, as the rule reads: sort, add up from below, cut; then the k-th largest."""
    result = scores.copy()
    for row in result:
        order = np.argsort(row, kind="stable")
        weights = np.exp(row[order].astype(np.float64) - row.max())
        below = np.cumsum(weights / weights.sum())
        remove = below <= 1 - top_p
        remove[-MIN_KEPT:] = False
        row[order[remove]] = -np.inf
        k = min(max(top_k, MIN_KEPT), len(row))
        row[row < np.sort(row)[-k]] = -np.inf
    return result


def test_processors_match_the_reference_exactly(golden) -> None:
    arrays = golden.arrays
    scores = pad(arrays["proc_raw"] / np.float32(0.3))
    penalize(scores, arrays["proc_history"][:, -WINDOW:], np.repeat(penalty_powers(1.05)[None], len(scores), axis=0))
    scores = scores[:, :-1]
    np.testing.assert_array_equal(scores, arrays["proc_after_penalty"])
    kept = filter_scores(scores, np.full(len(scores), 0.7), np.full(len(scores), 20))
    np.testing.assert_array_equal(kept, arrays["proc_after_top_p_top_k"])
    weights = np.exp(kept - kept.max(axis=1, keepdims=True))
    np.testing.assert_allclose(weights / weights.sum(axis=1, keepdims=True), arrays["proc_probs"], atol=2e-7)


def test_penalty_counts_occurrences_and_respects_the_sign() -> None:
    scores = pad(np.array([[2.0, -2.0, 4.0, 1.0]], np.float32))
    recent = np.full((1, WINDOW), 4)
    recent[0, :3] = [0, 1, 1]
    penalize(scores, recent, penalty_powers(2.0)[None])
    np.testing.assert_array_equal(scores[:, :-1], [[1.0, -8.0, 4.0, 1.0]])


def test_penalty_leaves_a_row_with_an_empty_window_alone() -> None:
    scores = pad(np.array([[2.0, -2.0], [3.0, 1.0]], np.float32))
    recent = np.full((2, WINDOW), 2)
    recent[1] = 0
    penalize(scores, recent, np.repeat(penalty_powers(1.1)[None], 2, axis=0))
    np.testing.assert_array_equal(scores[0, :-1], [2.0, -2.0])
    assert scores[1, 0] == np.float32(3) / penalty_powers(1.1)[WINDOW]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.floats(0.01, 0.999), st.integers(1, 40), st.floats(0.1, 8.0))
def test_one_threshold_equals_top_p_then_top_k(seed, top_p, top_k, spread) -> None:
    scores = (np.random.default_rng(seed).standard_normal((5, 50)) * spread).astype(np.float32)
    result = filter_scores(scores, np.full(5, top_p), np.full(5, max(top_k, MIN_KEPT)))
    np.testing.assert_array_equal(result, oracle_filter(scores, top_p, top_k))


def test_ties_at_the_cut_are_kept() -> None:
    scores = np.array([[5.0, 4.0, 4.0, 4.0, 4.0, 1.0]], np.float32)
    result = filter_scores(scores, np.full(1, np.inf), np.array([3]))
    assert np.isfinite(result).tolist() == [[True, True, True, True, True, False]]


def test_all_kept_when_both_are_off() -> None:
    scores = np.random.default_rng(0).standard_normal((2, V)).astype(np.float32) * 30
    assert np.isfinite(filter_scores(scores, np.full(2, np.inf), np.full(2, V))).all()


def test_draws_follow_the_distribution() -> None:
    probabilities = np.array([0.5, 0.25, 0.15, 0.1])
    count = 20_000
    logits = np.repeat(np.log(probabilities)[None].astype(np.float32), count, axis=0)
    uniform = np.random.default_rng(1).random(count)
    ids, finite = sample(logits, make_rows(count, vocab=4, top_k=4), uniform)
    assert finite.all()
    np.testing.assert_allclose(np.bincount(ids, minlength=4) / count, probabilities, atol=0.015)


@pytest.mark.parametrize("uniform", [0.0, 1 - 2.0**-52])
@pytest.mark.parametrize("scale", [1.0, 1 / 3, 1e-30])
def test_the_ends_of_the_noise_draw_kept_candidates(uniform, scale) -> None:
    weights = np.zeros((1, V), np.float32)
    weights[0, [3, 7, 600]] = scale
    assert draw(weights, np.array([uniform])).tolist() == [3 if uniform == 0 else 600]


def test_greedy_takes_the_best_and_the_first_of_equals() -> None:
    logits = np.zeros((2, V), np.float32)
    logits[0, 41] = 3
    logits[1, [8, 9]] = 1
    ids, _ = sample(logits, make_rows(2, temperature=0.3, top_p=0.7, top_k=20, greedy=True), np.array([0.99, 0.99]))
    assert ids.tolist() == [41, 8]


def test_a_banned_end_is_never_drawn_even_when_it_is_certain() -> None:
    logits = np.zeros((4, V), np.float32)
    logits[:, 625] = 1000.0
    rows = make_rows(4, temperature=0.3, top_p=0.7, top_k=20)
    noise = np.linspace(0, 0.999, 4)
    free, _ = sample(logits, rows, noise)
    assert free.tolist() == [625] * 4
    banned = np.arange(3), np.full(3, 625)
    ids, _ = sample(logits, rows, noise, banned_ids=banned)
    assert (ids[:3] != 625).all()
    assert ids[3] == 625
    greedy, _ = sample(logits, make_rows(4, greedy=True), noise, banned_ids=banned)
    assert greedy.tolist() == [0, 0, 0, 625]


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_row_that_is_not_finite_is_named_and_disturbs_nobody(poison) -> None:
    generator = np.random.default_rng(2)
    logits = generator.standard_normal((8, V)).astype(np.float32)
    rows = make_rows(8, temperature=0.3, top_p=0.7, top_k=20)
    uniform = generator.random(8)
    clean, _ = sample(logits, rows, uniform)
    logits[3, 100] = poison
    ids, finite = sample(logits, rows, uniform)
    assert 0 <= ids[3] < V
    assert finite.tolist() == [row != 3 for row in range(8)]
    np.testing.assert_array_equal(np.delete(ids, 3), np.delete(clean, 3))


def subset(rows: SamplingRows, chosen) -> SamplingRows:
    return SamplingRows(**{name: value[chosen] for name, value in vars(rows).items()})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_a_row_draws_the_same_alone_and_in_any_company(seed) -> None:
    generator = np.random.default_rng(seed)
    count = 12
    logits = (generator.standard_normal((count, V)) * 5).astype(np.float32)
    rows = SamplingRows(
        temperature=generator.uniform(0.1, 2, count).astype(np.float32),
        top_p=generator.choice([0.3, 0.7, 0.95, np.inf], count),
        top_k=generator.choice([3, 20, 100, V], count),
        penalty=np.stack([penalty_powers(value) for value in generator.choice([1.0, 1.05, 1.3], count)]),
        recent=generator.choice([*range(40), V], (count, WINDOW)),
        greedy=generator.random(count) < 0.2,
    )
    uniform = generator.random(count)
    together, _ = sample(logits, rows, uniform)
    for row in range(count):
        alone, _ = sample(logits[row : row + 1], subset(rows, [row]), uniform[row : row + 1])
        assert alone[0] == together[row]


def test_logits_are_not_changed() -> None:
    logits = np.random.default_rng(3).standard_normal((4, V)).astype(np.float32)
    before = logits.copy()
    rows = make_rows(4, temperature=0.5, penalty=1.2, recent=[1, 2, 3])
    sample(logits, rows, np.full(4, 0.5), banned_ids=(np.arange(4), np.full(4, 625)))
    np.testing.assert_array_equal(logits, before)
