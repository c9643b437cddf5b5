from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from chattts_onnx.config import GPTConfig
from chattts_onnx.engine.sequence import Prompt, SamplingParams, Sequence
from chattts_onnx.errors import InputError

GPT = GPTConfig(
    hidden_size=8,
    intermediate_size=16,
    num_layers=1,
    num_heads=2,
    num_kv_heads=2,
    head_size=4,
    max_positions=64,
    text_vocab_size=50,
    code_vocab_size=20,
    num_codebooks=4,
)


def make_prompt(**values) -> Prompt:
    defaults = {"ids": np.full((5, 4), 3), "text_mask": np.ones(5, np.bool_)}
    return Prompt(**{**defaults, **values})


def sequence(prompt=None, **params) -> Sequence:
    return Sequence.create(0, prompt or make_prompt(), SamplingParams(**params), gpt=GPT)


def test_defaults_are_the_reference_s() -> None:
    params = SamplingParams()
    assert (params.temperature, params.top_P, params.top_K, params.repetition_penalty) == (0.3, 0.7, 20, 1.05)
    assert (params.max_new_token, params.min_new_token) == (2048, 0)
    text = SamplingParams.for_text(top_K=5)
    assert (text.temperature, text.top_P, text.top_K, text.repetition_penalty) == (0.7, 0.7, 5, 1.0)
    assert text.max_new_token == 384


@pytest.mark.parametrize(
    "values",
    [
        {"temperature": -0.1},
        {"temperature": float("nan")},
        {"temperature": "hot"},
        {"temperature": True},
        {"top_P": 0.0},
        {"top_P": 1.01},
        {"top_K": 0},
        {"top_K": 2.5},
        {"repetition_penalty": 0.0},
        {"repetition_penalty": float("inf")},
        {"max_new_token": 0},
        {"min_new_token": -1},
        {"min_new_token": 9, "max_new_token": 8},
        {"seed": -1},
        {"seed": 1 << 64},
        {"stream": -1},
    ],
)
def test_values_out_of_range_are_refused_by_name(values) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        SamplingParams(**values)


def test_temperature_zero_means_greedy() -> None:
    assert SamplingParams(temperature=0).is_greedy
    assert SamplingParams(temperature=1e-6).is_greedy
    assert not SamplingParams(temperature=1e-5).is_greedy


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"ids": np.zeros((5, 3), np.int64)}, "int64"),
        ({"ids": np.zeros((5, 4), np.int32)}, "int64"),
        ({"text_mask": np.ones(4, np.bool_)}, "text mask"),
        ({"text_mask": np.ones(5, np.int64)}, "text mask"),
        ({"ids": np.zeros((0, 4), np.int64), "text_mask": np.ones(0, np.bool_)}, "1 to 63"),
        ({"ids": np.zeros((64, 4), np.int64), "text_mask": np.ones(64, np.bool_)}, "split the text"),
        ({"ids": np.full((5, 4), 50)}, "vocabulary"),
        ({"ids": np.full((5, 4), -1)}, "vocabulary"),
        ({"ids": np.full((5, 4), 20), "text_mask": np.zeros(5, np.bool_)}, "vocabulary"),
        ({"speaker_embedding": np.zeros(7, np.float32)}, "voice made for this model"),
        ({"head": "text"}, "end ids"),
        ({"head": "code", "end_ids": (20,)}, "end ids"),
        ({"head": "code", "end_ids": (1, 2, 3)}, "at most 2"),
        ({"head": "both"}, "head"),
        ({"min_new_token": -1}, "min_new_token"),
        ({"max_new_token": 0}, "max_new_token"),
    ],
)
def test_a_prompt_that_does_not_fit_the_model_is_refused(values, says) -> None:
    with pytest.raises(InputError, match=says):
        make_prompt(**values).check(GPT)


def test_a_prompt_that_fits_passes() -> None:
    make_prompt(ids=np.full((5, 4), 49), speaker_embedding=np.zeros(8, np.float32)).check(GPT)
    make_prompt(head="text", end_ids=(49,)).check(GPT)


def test_the_smallest_limit_holds() -> None:
    assert sequence().max_new == 59  # the model's positions
    assert sequence(max_new_token=7).max_new == 7
    assert sequence(make_prompt(max_new_token=3), max_new_token=7).max_new == 3


def test_the_end_is_banned_by_whoever_asks_for_more_but_never_to_the_limit_and_beyond() -> None:
    assert sequence(make_prompt(min_new_token=4), min_new_token=2).min_new == 4
    assert sequence(make_prompt(min_new_token=1), min_new_token=2).min_new == 2
    assert sequence(make_prompt(min_new_token=9, max_new_token=5)).min_new == 5


def test_the_end_of_codes_is_the_model_s_last_code() -> None:
    assert sequence().end_ids == (19,)
    assert sequence(make_prompt(head="text", end_ids=(7,))).end_ids == (7,)


def test_noise_depends_on_seed_stream_and_step_only() -> None:
    def noise(**params):
        drawn = sequence(**params)
        return np.concatenate([drawn.uniforms(1, 4)[0] for _ in range(50)])

    first = noise(seed=5)
    np.testing.assert_array_equal(first, noise(seed=5, temperature=1.0))
    assert not np.array_equal(first, noise(seed=6))
    assert not np.array_equal(first, noise(seed=5, stream=1))
    assert not np.array_equal(noise(), noise())
    assert len(np.unique(first)) == 200
    np.testing.assert_array_equal(sequence(seed=5).uniforms(50, 4).reshape(-1), first)
    assert first.min() >= 0
    assert first.max() < 1
    np.testing.assert_allclose(noise(seed=7).mean(), 0.5, atol=0.08)


def test_noise_is_the_same_on_every_platform_and_version() -> None:
    np.testing.assert_array_equal(np.floor(sequence(seed=42).uniforms(1, 4)[0] * 1e6), [820198, 189245, 867660, 394581])


def test_parameters_are_a_value() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        SamplingParams().temperature = 1.0  # type: ignore[misc]
    assert SamplingParams(seed=1) == SamplingParams(seed=1)
