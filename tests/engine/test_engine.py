from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from engine_requests import GREEDY_48, golden_prompts, merge, open_engine, random_prompt, run_all
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chattts_onnx.config import EngineConfig, Manifest
from chattts_onnx.convert.package import convert
from chattts_onnx.engine import Engine, FinishReason, Prompt, SamplingParams
from chattts_onnx.engine.device_cache import DeviceKVCache
from chattts_onnx.errors import EngineOverloadedError, InputError, ModelFormatError, SynthesisError
from chattts_onnx.session import Recorder


@pytest.fixture(scope="module")
def golden_engine(golden_model) -> Engine:
    return open_engine(golden_model)


@pytest.fixture(scope="module", params=["fp32", "int8", "int4"])
def exact_engine(request, tiny_checkpoint, tmp_path_factory) -> Engine:
    """Every CPU precision that promises the same bits in any company; two threads, as speech usually has."""
    if request.param == "int4":
        model = convert(tiny_checkpoint, tmp_path_factory.mktemp("tiny_int4") / "int4", "int4")
    else:
        model = request.getfixturevalue({"fp32": "tiny_model", "int8": "tiny_model_int8"}[request.param])
    return open_engine(model, threads=2)


@pytest.mark.parametrize("kind", ["plain", "cloned"])
def test_greedy_codes_are_the_reference_s_in_one_batch_and_alone(golden, golden_engine, kind) -> None:
    prompts = golden_prompts(golden, kind)
    together = run_all(golden_engine, [(prompt, GREEDY_48) for prompt in prompts])
    for row, (codes, hidden, finish) in enumerate(together):
        np.testing.assert_array_equal(codes, golden.arrays[f"{kind}_greedy_codes"][row])
        np.testing.assert_allclose(hidden, golden.arrays[f"{kind}_greedy_hidden"][row], atol=2e-4)
        assert finish is FinishReason.LENGTH
        [alone] = run_all(golden_engine, [(prompts[row], GREEDY_48)])
        np.testing.assert_array_equal(alone[0], codes)
        np.testing.assert_array_equal(alone[1], hidden)


def test_greedy_codes_are_the_reference_s_with_prompts_read_in_any_pieces(golden, golden_model) -> None:
    for piece in (1, 7, 64):
        engine = open_engine(golden_model, prefill_chunk=piece)
        for row, (codes, _, _) in enumerate(
            run_all(engine, [(prompt, GREEDY_48) for prompt in golden_prompts(golden, "cloned")])
        ):
            np.testing.assert_array_equal(codes, golden.arrays["cloned_greedy_codes"][row])


def test_text_logits_are_the_reference_s(golden, golden_engine) -> None:
    ids = golden.arrays["refine_input_ids"][0]
    prompt = Prompt(ids, np.ones(len(ids), np.bool_), head="text", end_ids=(0,))
    golden_engine.add(prompt, SamplingParams.for_text(max_new_token=2, min_new_token=2, greedy=True))
    outputs = []
    while not outputs:
        outputs = golden_engine.step()
    [output] = outputs
    logits = golden_engine._runner.text_logits(np.array([0]))
    np.testing.assert_allclose(logits, golden.arrays["refine_logits_last"], atol=1e-3)
    assert output.codes.tolist() == [[int(np.delete(logits[0], 0).argmax()) + 1]]
    while golden_engine.has_work:
        golden_engine.step()


def random_requests(generator, gpt, count):
    return [
        (
            random_prompt(generator, gpt, tokens=int(generator.integers(1, 40)), codes=int(generator.integers(0, 30))),
            SamplingParams(
                seed=int(generator.integers(1 << 62)),
                temperature=float(generator.choice([0.3, 0.7, 1.2])),
                max_new_token=int(generator.integers(5, 16)),
                min_new_token=4,
            ),
        )
        for _ in range(count)
    ]


def test_the_same_bits_alone_and_in_any_company(exact_engine) -> None:
    """20 trials: batches of 2, 4 and 8, joined at random moments, leaving at different ones."""
    engine = exact_engine
    generator = np.random.default_rng(0)
    for trial in range(20):
        requests = random_requests(generator, engine._gpt, (2, 4, 8)[trial % 3])
        alone = [run_all(engine, [request])[0] for request in requests]
        order = list(generator.permutation(len(requests)))
        collected, owner = {}, {}
        while order or engine.has_work:
            if order and (not engine.has_work or generator.random() < 0.4):
                number = order.pop()
                owner[engine.add(*requests[number])] = number
            for output in engine.step():
                collected.setdefault(owner[output.request_id], []).append(output)
            engine.check_conservation()
        for number, (codes, hidden, finish) in enumerate(alone):
            joined = merge(collected[number])
            np.testing.assert_array_equal(joined[0], codes)
            np.testing.assert_array_equal(joined[1], hidden)
            assert joined[2] is finish
            assert len(codes) == len(hidden)


def test_a_poisoned_neighbour_fails_alone(exact_engine) -> None:
    engine = exact_engine
    generator = np.random.default_rng(1)
    requests = random_requests(generator, engine._gpt, 3)
    clean = run_all(engine, requests)
    for poison in (np.nan, 1e30):
        prompt = random_prompt(generator, engine._gpt, tokens=6)
        speaker_id = speaker_token(engine, prompt)
        ids = prompt.ids.copy()
        ids[1] = speaker_id
        speaker = np.full(engine._gpt.hidden_size, poison, np.float32)
        bad = Prompt(ids, prompt.text_mask, speaker)
        owners = [engine.add(*requests[0]), engine.add(bad, SamplingParams(seed=1, max_new_token=20))]
        owners += [engine.add(*request) for request in requests[1:]]
        collected = {owner: [] for owner in owners}
        while engine.has_work:
            for output in engine.step():
                collected[output.request_id].append(output)
            engine.check_conservation()
        broken = collected.pop(owners[1])
        if np.isnan(poison):
            assert [output.finish for output in broken] == [FinishReason.ERROR]
            assert isinstance(broken[0].error, SynthesisError)
            assert broken[0].length == 0
        for outputs, expected in zip(collected.values(), clean):
            np.testing.assert_array_equal(merge(outputs)[0], expected[0])
            np.testing.assert_array_equal(merge(outputs)[1], expected[1])


def speaker_token(engine, prompt) -> int:
    """The id where the voice is placed: the only one whose hidden state depends on the speaker."""
    runner, gpt = engine._runner, engine._gpt
    for token in range(gpt.text_vocab_size - 1, -1, -1):
        seen = []
        for value in (1.0, -1.0):
            row = runner.cache.append_row()
            speaker = np.linspace(value, 2, gpt.hidden_size, dtype=np.float32)
            runner.prefill(row, np.full((1, gpt.num_codebooks), token), np.ones(1, np.bool_), speaker)
            seen.append(runner.hidden[row].copy())
            runner.cache.compact(())
        if not np.array_equal(*seen):
            return token
    raise AssertionError("no speaker token")


def test_text_and_speech_share_the_loop(engine) -> None:
    gpt = engine._gpt
    generator = np.random.default_rng(2)
    speech = (random_prompt(generator, gpt, tokens=9), SamplingParams(seed=1, max_new_token=12, min_new_token=12))
    ids = random_prompt(generator, gpt, tokens=7).ids
    text = (
        Prompt(ids, np.ones(7, np.bool_), head="text", end_ids=(5,)),
        SamplingParams.for_text(seed=2, max_new_token=15, min_new_token=15),
    )
    alone = [run_all(engine, [request])[0] for request in (speech, text)]
    together = run_all(engine, [text, speech, text])
    for (codes, hidden, finish), expected in zip(together, (alone[1], alone[0], alone[1])):
        np.testing.assert_array_equal(codes, expected[0])
        np.testing.assert_array_equal(hidden, expected[1])
        assert finish is expected[2]
    assert together[0][0].shape == (15, 1)
    assert (together[0][0] != 5).all()
    assert together[1][0].shape == (12, 4)


@pytest.mark.parametrize("head", ["code", "text"])
def test_a_step_feeds_what_was_drawn(engine, head) -> None:
    """Reading the prompt with the drawn ids behind it gives the hidden state that the steps arrived at."""
    prompt = random_prompt(np.random.default_rng(11), engine._gpt, tokens=6)
    prompt = dataclasses.replace(prompt, head=head, end_ids=(5,) if head == "text" else ())
    params = SamplingParams(seed=3, max_new_token=8, min_new_token=8)
    [(ids, hidden, _)] = run_all(engine, [(prompt, params)])
    fed = np.broadcast_to(ids[:-1], (7, engine._gpt.num_codebooks))
    longer = dataclasses.replace(
        prompt,
        ids=np.concatenate([prompt.ids, fed]),
        text_mask=np.concatenate([prompt.text_mask, np.full(7, head == "text")]),
    )
    [(_, again, _)] = run_all(engine, [(longer, SamplingParams(seed=3, max_new_token=1))])
    np.testing.assert_allclose(again[0], hidden[-1], atol=1e-4)


def test_the_end_is_not_drawn_early_and_ends_the_sequence_later(engine) -> None:
    prompt = random_prompt(np.random.default_rng(3), engine._gpt, tokens=5)
    # Hot: nearly uniform over 626 codes in four codebooks, the end comes within some 150 steps.
    hot = SamplingParams(seed=4, temperature=50.0, top_P=None, top_K=None, max_new_token=2000)
    [(codes, hidden, finish)] = run_all(engine, [(prompt, hot)])
    assert finish is FinishReason.STOP
    assert (codes != engine._gpt.end_code).all()
    assert len(codes) == len(hidden) < 2000
    [(longer, _, _)] = run_all(engine, [(dataclasses.replace(prompt, min_new_token=len(codes) + 5), hot)])
    assert len(longer) >= len(codes) + 5
    assert (longer != engine._gpt.end_code).all()


def test_each_row_keeps_its_own_minimum(engine) -> None:
    """Greedy towards the end code: a row ends in the very step in which its minimum is reached."""
    prompt = random_prompt(np.random.default_rng(12), engine._gpt, tokens=5)
    [(codes, _, _)] = run_all(engine, [(prompt, SamplingParams(greedy=True, max_new_token=40))])
    end = (int(codes[0, 2]),)  # drawn first of all, so only the ban keeps it away
    minima = [3, 1, 8, 1, 5]
    requests = [
        (dataclasses.replace(prompt, end_ids=end), SamplingParams(greedy=True, min_new_token=n, max_new_token=40))
        for n in minima
    ]
    alone = [run_all(engine, [request])[0] for request in requests]
    together = run_all(engine, requests)
    for minimum, (codes, _, _), (expected, _, _) in zip(minima, together, alone):
        assert len(codes) >= minimum
        assert not (codes == end[0]).any()
        np.testing.assert_array_equal(codes, expected)


def test_the_length_limits_hold(engine) -> None:
    generator = np.random.default_rng(4)
    prompt = random_prompt(generator, engine._gpt, tokens=5)
    params = SamplingParams(seed=1, max_new_token=9, min_new_token=9)
    [(codes, _, finish)] = run_all(engine, [(prompt, params)])
    assert (len(codes), finish) == (9, FinishReason.LENGTH)
    [(codes, _, finish)] = run_all(engine, [(dataclasses.replace(prompt, max_new_token=4), params)])
    assert (len(codes), finish) == (4, FinishReason.LENGTH)


@pytest.mark.parametrize("when", ["queued", "prefill", "decode"])
def test_abort_frees_the_row_at_once_and_disturbs_nobody(engine, when) -> None:
    generator = np.random.default_rng(5)
    long = SamplingParams(seed=1, max_new_token=30, min_new_token=30)
    others = [(random_prompt(generator, engine._gpt, tokens=n), long) for n in (4, 11)]
    expected = run_all(engine, others)
    before = engine.stats()
    collected = {engine.add(*request): [] for request in others}

    def step() -> None:
        for output in engine.step():
            if output.request_id in collected:
                collected[output.request_id].append(output)
        engine.check_conservation()

    step()
    victim = engine.add(random_prompt(generator, engine._gpt, tokens=50), long)
    for _ in range({"queued": 0, "prefill": 1, "decode": 10}[when]):
        step()
    assert engine.abort(victim)
    engine.check_conservation()
    assert not engine.abort(victim)
    assert engine.stats().running == engine.stats().kv_rows_used == 2
    while engine.has_work:
        step()
    for outputs, (codes, hidden, _) in zip(collected.values(), expected):
        np.testing.assert_array_equal(merge(outputs)[0], codes)
        np.testing.assert_array_equal(merge(outputs)[1], hidden)
    after = engine.stats()
    assert after.aborted == before.aborted + 1
    assert after.kv_tokens_used == after.running == after.waiting == 0


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_history_ends_with_everything_accounted_for(engine, data) -> None:
    alive: set = set()
    try:
        history(engine, data, alive)
    finally:
        # Hypothesis leaves an example in the middle when it runs out of choices; the next one needs an empty engine.
        for request_id in alive:
            engine.abort(request_id)


def history(engine, data, alive: set) -> None:
    generator = np.random.default_rng(data.draw(st.integers(0, 1000)))
    ended = 0
    before = engine.stats()
    aborted = 0
    for _ in range(data.draw(st.integers(5, 25))):
        action = data.draw(st.sampled_from(["add", "add", "step", "step", "step", "abort"]))
        if action == "add":
            params = SamplingParams(seed=1, max_new_token=data.draw(st.integers(1, 6)))
            try:
                tokens = data.draw(st.integers(1, 40))
                alive.add(engine.add(random_prompt(generator, engine._gpt, tokens=tokens), params))
            except EngineOverloadedError:
                assert len(alive) == 40
        elif action == "step":
            done = {output.request_id for output in engine.step() if output.finish is not None}
            ended += len(done)
            alive -= done
        elif alive:
            victim = data.draw(st.sampled_from(sorted(alive)))
            assert engine.abort(victim)
            aborted += 1
            alive.remove(victim)
        engine.check_conservation()
    while engine.has_work:
        done = {output.request_id for output in engine.step() if output.finish is not None}
        ended += len(done)
        alive -= done
    engine.check_conservation()
    after = engine.stats()
    assert not alive
    assert after.finished - before.finished == ended
    assert after.aborted - before.aborted == aborted
    assert after.kv_rows_used == 0


def test_a_full_queue_refuses(tiny_model) -> None:
    engine = open_engine(tiny_model, max_batch=2, max_queue=1)
    prompt = random_prompt(np.random.default_rng(6), engine._gpt, tokens=3)
    for _ in range(3):
        engine.add(prompt)
    with pytest.raises(EngineOverloadedError):
        engine.add(prompt)


def test_the_cache_stays_within_its_budget_and_everything_still_runs(tiny_model) -> None:
    manifest = Manifest.load(tiny_model)
    budget = 2 * 256 * manifest.gpt.kv_bytes_per_token
    engine = open_engine(tiny_model, kv_budget_bytes=budget)
    generator = np.random.default_rng(7)
    params = SamplingParams(seed=1, max_new_token=8, min_new_token=8)
    requests = [(random_prompt(generator, manifest.gpt, tokens=5), params) for _ in range(6)]
    for prompt, sampling in requests:
        engine.add(prompt, sampling)
    ended = 0
    while engine.has_work:
        ended += sum(output.finish is not None for output in engine.step())
        assert engine.stats().kv_bytes <= budget
        assert engine.stats().running <= 2
    assert ended == 6
    with pytest.raises(InputError, match="kv_budget_bytes"):
        engine.add(requests[0][0], SamplingParams(max_new_token=600))


def test_prompts_are_checked_before_they_are_queued(engine) -> None:
    with pytest.raises(InputError):
        engine.add(Prompt(np.zeros((3, 2), np.int64), np.ones(3, np.bool_)))
    assert not engine.has_work


def test_a_prompt_that_cannot_be_read_fails_alone(engine, monkeypatch) -> None:
    generator = np.random.default_rng(8)
    params = SamplingParams(seed=1, max_new_token=6, min_new_token=6)
    good = random_prompt(generator, engine._gpt, tokens=5)
    bad = random_prompt(generator, engine._gpt, tokens=13)
    [expected] = run_all(engine, [(good, params)])
    read = engine._runner.prefill

    def fail(row, ids, *rest):
        if len(ids) == 13:
            raise MemoryError("no more")
        return read(row, ids, *rest)

    monkeypatch.setattr(engine._runner, "prefill", fail)
    owners = [engine.add(good, params), engine.add(bad, params), engine.add(good, params)]
    collected = {owner: [] for owner in owners}
    while engine.has_work:
        for output in engine.step():
            collected[output.request_id].append(output)
        engine.check_conservation()
    [failure] = collected.pop(owners[1])
    assert failure.finish is FinishReason.ERROR
    assert isinstance(failure.error.__cause__, MemoryError)
    for outputs in collected.values():
        np.testing.assert_array_equal(merge(outputs)[0], expected[0])


def test_stats_split_the_time_of_a_step(engine) -> None:
    before = engine.stats()
    prompt = random_prompt(np.random.default_rng(9), engine._gpt, tokens=20)
    run_all(engine, [(prompt, SamplingParams(seed=1, max_new_token=5, min_new_token=5))])
    after = engine.stats()
    assert after.prompt_tokens - before.prompt_tokens == 20
    assert after.tokens - before.tokens == 5
    parts = after.prefill_seconds + after.decode_seconds + after.sampling_seconds
    assert parts == pytest.approx(after.step_seconds, rel=1e-6)
    assert after.step_seconds > before.step_seconds


def test_a_recorder_gets_whole_sequences(tiny_model) -> None:
    recorder = Recorder()
    manifest = Manifest.load(tiny_model)
    engine = Engine.open(tiny_model, manifest, EngineConfig(threads=1), recorder=recorder)
    prompt = random_prompt(np.random.default_rng(10), manifest.gpt, tokens=4, codes=3)
    [(codes, _, _)] = run_all(engine, [(prompt, SamplingParams(seed=1, max_new_token=6, min_new_token=6))])
    [feeds] = recorder._feeds["gpt"]
    np.testing.assert_array_equal(feeds["input_ids"][0], np.concatenate([prompt.ids, codes]))
    assert feeds["text_mask"].tolist() == [[True] * 4 + [False] * 9]
    np.testing.assert_array_equal(feeds["speaker_embedding"], prompt.speaker_embedding[None])


@pytest.mark.parametrize("values", [{"max_batch": 0}, {"max_queue": -1}, {"prefill_chunk": 0}, {"batch_wait_ms": -1}])
def test_limits_that_cannot_be_used_are_refused(tiny_model, values) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        open_engine(tiny_model, **values)


def test_a_model_for_a_newer_runtime_is_refused(tiny_model) -> None:
    manifest = dataclasses.replace(Manifest.load(tiny_model), min_onnxruntime="99.1.0")
    with pytest.raises(ModelFormatError, match=r"needs onnxruntime 99\.1\.0"):
        Engine.open(tiny_model, manifest, EngineConfig())


def test_a_cache_known_by_its_addresses_gives_the_same_codes(golden, golden_model, monkeypatch) -> None:
    """The path of a GPU with the CPU in its place."""

    def open_on_device(provider, device, **dims):
        assert (provider, device) == ("CPUExecutionProvider", "cpu")
        return DeviceKVCache(device="cpu", index=0, provider=provider, **dims)

    monkeypatch.setattr("chattts_onnx.engine.engine._open_cache", open_on_device)
    engine = open_engine(golden_model)
    prompts = golden_prompts(golden, "plain")
    short = dataclasses.replace(GREEDY_48, max_new_token=5, min_new_token=5)
    requests = [(prompts[0], short), (prompts[1], GREEDY_48), (prompts[2], GREEDY_48)]
    for row, (codes, _, _) in enumerate(run_all(engine, requests)):
        np.testing.assert_array_equal(codes, golden.arrays["plain_greedy_codes"][row][: len(codes)])
    assert engine.stats().kv_bytes <= 256 * engine._gpt.kv_bytes_per_token
