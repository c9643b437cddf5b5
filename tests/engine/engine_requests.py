"""Requests, and running them, for the tests of the engine."""

from __future__ import annotations

from typing import Any, Dict, List, Tuple

import numpy as np

from chattts_onnx.config import EngineConfig, Manifest
from chattts_onnx.engine import Engine, Prompt, SamplingParams, StepOutput


def open_engine(directory, **config) -> Engine:
    defaults = {"threads": 1, "prefill_chunk": 16}
    return Engine.open(directory, Manifest.load(directory), EngineConfig(**{**defaults, **config}))


def merge(outputs: List[StepOutput]) -> Tuple[Any, Any, Any]:
    """Codes, hidden states and the reason, of all outputs of one request."""
    assert all(output.finish is None for output in outputs[:-1])
    return (
        np.concatenate([output.codes for output in outputs]),
        np.concatenate([output.hidden for output in outputs]),
        outputs[-1].finish,
    )


def run_all(engine: Engine, requests) -> List[Tuple[Any, Any, Any]]:
    """Add all at once, run to the end, checking after every step that nothing is lost."""
    collected: Dict[int, List[StepOutput]] = {engine.add(prompt, params): [] for prompt, params in requests}
    while engine.has_work:
        for output in engine.step():
            collected[output.request_id].append(output)
        engine.check_conservation()
    return [merge(outputs) for outputs in collected.values()]


def random_prompt(generator, gpt, *, tokens: int, codes: int = 0) -> Prompt:
    text = np.repeat(generator.integers(0, gpt.text_vocab_size, (tokens, 1)), gpt.num_codebooks, axis=1)
    voice = generator.integers(0, gpt.code_vocab_size - 1, (codes, gpt.num_codebooks))
    return Prompt(
        ids=np.concatenate([text, voice]),
        text_mask=np.arange(tokens + codes) < tokens,
        speaker_embedding=generator.standard_normal(gpt.hidden_size).astype(np.float32),
    )


def golden_prompts(golden, kind: str) -> List[Prompt]:
    """The rows of the reference vectors without their padding."""
    prompts = []
    for row in range(3):
        real = golden.arrays[f"{kind}_attention_mask"][row].astype(bool)
        prompts.append(
            Prompt(
                ids=golden.arrays[f"{kind}_input_ids"][row][real],
                text_mask=golden.arrays[f"{kind}_text_mask"][row][real],
                speaker_embedding=golden.arrays["speaker_embedding"].astype(np.float32),
            )
        )
    return prompts


GREEDY_48 = SamplingParams(greedy=True, repetition_penalty=1.0, min_new_token=48, max_new_token=48)
"""As the reference vectors were made: argmax, the end never taken."""
