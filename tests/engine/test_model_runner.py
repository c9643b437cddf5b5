from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from engine_requests import GREEDY_48, golden_prompts, open_engine, random_prompt, run_all

from chattts_onnx.engine import SamplingParams
from chattts_onnx.engine.model_runner import ModelRunner


def test_opening_asks_the_runtime_and_leaves_no_trace(tiny_model) -> None:
    engine = open_engine(tiny_model)
    runner = engine._runner
    version = tuple(int(part) for part in onnxruntime.__version__.split(".")[:2])
    if version <= (1, 19) or version >= (1, 22):
        assert runner.chunked == (version >= (1, 22))
    assert engine.limits.chunked == runner.chunked
    assert (runner.cache.rows, runner.cache.nbytes) == (0, 0)


def test_never_fewer_than_two_rows_where_one_would_compute_other_bits(golden, golden_model, monkeypatch) -> None:
    monkeypatch.setattr(ModelRunner, "_alone_equals_together", lambda *_: False)
    engine = open_engine(golden_model, max_batch=2)
    assert engine.limits.min_rows == 2
    batches = []
    run = engine._runner._run_step
    monkeypatch.setattr(engine._runner, "_run_step", lambda rows, lengths: (batches.append(rows), run(rows, lengths)))
    prompts = golden_prompts(golden, "plain")
    # One after the other, then the third joining while the scratch row has been written to by steps before.
    for row, (codes, hidden, _) in enumerate(run_all(engine, [(prompt, GREEDY_48) for prompt in prompts])):
        np.testing.assert_array_equal(codes, golden.arrays["plain_greedy_codes"][row])
        np.testing.assert_allclose(hidden, golden.arrays["plain_greedy_hidden"][row], atol=2e-4)
    assert set(batches) == {1, 2}
    assert set(engine._runner._bindings) == {2}


def test_one_row_only_still_runs_as_two(golden, golden_model, monkeypatch) -> None:
    monkeypatch.setattr(ModelRunner, "_alone_equals_together", lambda *_: False)
    engine = open_engine(golden_model, max_batch=1)
    [prompt, *_] = golden_prompts(golden, "cloned")
    [(codes, _, _)] = run_all(engine, [(prompt, GREEDY_48)])
    np.testing.assert_array_equal(codes, golden.arrays["cloned_greedy_codes"][0])


def test_whole_prompts_where_pieces_are_read_wrongly(golden, golden_model, monkeypatch) -> None:
    monkeypatch.setattr(ModelRunner, "_reads_pieces", lambda *_: False)
    engine = open_engine(golden_model, prefill_chunk=4)
    for row, (codes, _, _) in enumerate(
        run_all(engine, [(prompt, GREEDY_48) for prompt in golden_prompts(golden, "plain")])
    ):
        np.testing.assert_array_equal(codes, golden.arrays["plain_greedy_codes"][row])


@pytest.mark.parametrize("wrong", ["raises", "differs"])
def test_the_probe_notices_a_runtime_that_cannot_read_pieces(tiny_model, monkeypatch, wrong) -> None:
    real = ModelRunner.prefill

    def prefill(self, row, ids, *rest) -> None:
        past = self.cache.lengths[row]
        real(self, row, ids, *rest)
        if past and wrong == "raises":
            raise RuntimeError("batch_size must be 1 when sequence_length > 1 and past context is given.")
        if past:
            self.hidden[row] += 1

    monkeypatch.setattr(ModelRunner, "prefill", prefill)
    assert not open_engine(tiny_model).limits.chunked


def test_the_probe_notices_one_different_bit(tiny_model, monkeypatch) -> None:
    real = ModelRunner._run_step

    def run_step(self, rows, lengths) -> None:
        real(self, rows, lengths)
        if rows == 1:
            self.hidden[0, 0, 7] = np.nextafter(self.hidden[0, 0, 7], np.float32(np.inf))

    monkeypatch.setattr(ModelRunner, "_run_step", run_step)
    assert open_engine(tiny_model).limits.min_rows == 2


def test_a_scratch_row_spares_the_beginning_of_a_prompt(tiny_model, monkeypatch) -> None:
    """A lone row runs as two while the second is being read in pieces: nothing of it may be written over."""
    monkeypatch.setattr(ModelRunner, "_alone_equals_together", lambda *_: False)
    engine = open_engine(tiny_model, prefill_chunk=8)
    generator = np.random.default_rng(2)
    speaking = (random_prompt(generator, engine._gpt, tokens=6), SamplingParams(seed=1, max_new_token=20))
    read = (random_prompt(generator, engine._gpt, tokens=40), SamplingParams(seed=2, max_new_token=5, min_new_token=5))
    [alone] = run_all(engine, [read])
    _, joined = run_all(engine, [speaking, read])
    np.testing.assert_array_equal(joined[0], alone[0])
    np.testing.assert_array_equal(joined[1], alone[1])


def test_a_step_binds_nothing_new(engine) -> None:
    prompt = random_prompt(np.random.default_rng(0), engine._gpt, tokens=5)
    engine.add(prompt, SamplingParams(seed=1, max_new_token=30, min_new_token=30))
    engine.step()
    engine.step()
    runner = engine._runner
    binding, hidden, logits = runner._bindings[runner.min_rows], runner.hidden, runner.code_logits
    while engine.has_work:
        engine.step()
        if engine.has_work:
            assert runner._bindings[runner.min_rows] is binding
    assert runner.hidden is hidden
    assert runner.code_logits is logits


def test_growth_in_mid_speech_changes_no_bit(engine) -> None:
    """A row that crosses a capacity alone or because of a longer neighbour."""
    generator = np.random.default_rng(1)
    requests = [
        (random_prompt(generator, engine._gpt, tokens=tokens), SamplingParams(seed=1, max_new_token=n, min_new_token=n))
        for tokens, n in ((6, 60), (250, 20))
    ]
    alone = [run_all(engine, [request])[0] for request in requests]
    for (codes, hidden, _), expected in zip(run_all(engine, requests), alone):
        np.testing.assert_array_equal(codes, expected[0])
        np.testing.assert_array_equal(hidden, expected[1])
