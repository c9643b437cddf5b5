from __future__ import annotations

import argparse
import io
import json
import math

import pytest

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation import bench
from chattts_onnx.evaluation.bench_report import environment_text, picture, tables
from chattts_onnx.evaluation.bench_run import BATCHINGS, BenchmarkError, Child, measure
from chattts_onnx.evaluation.bench_worker import Clock, Subject, serve


@pytest.fixture
def subject(tiny_model):
    one = Subject()
    one.open(str(tiny_model), threads=1, device="cpu", max_batch=4, clock="cpu")
    yield one
    one.close()


def arguments(*options):
    parser = argparse.ArgumentParser()
    bench.add_arguments(parser)
    return parser.parse_args(list(options))


def test_opening_tells_what_was_opened(tiny_model):
    one = Subject()
    opened = one.open(str(tiny_model), threads=1, device="cpu", max_batch=1)
    assert opened["precision"] == "fp32"
    assert opened["disk_bytes"] == sum(path.stat().st_size for path in tiny_model.rglob("*") if path.is_file())
    assert opened["load_seconds"] > 0
    one.close()


def test_decoding_times_exactly_the_steps_asked_for(subject):
    before = subject._open_engine().stats()
    result = subject.decode(batch=3, context=10, steps=5)
    after = subject._open_engine().stats()
    assert result["steps"] == 5
    assert result["seconds"] > 0
    # Every row drew what was timed, and the engine is empty again.
    assert after.tokens - before.tokens >= 3 * 5
    assert not subject._open_engine().has_work


def test_requests_are_answered_with_one_latency_each(subject):
    result = subject.request(batch=2, input_tokens=40, steps=6)
    assert len(result["latencies"]) == 2
    assert 0 < result["first_step_seconds"] <= max(result["latencies"]) <= result["seconds"]


def test_speech_through_the_public_interface_has_sound(subject):
    result = subject.speak(batch=2, tokens=8)
    assert len(result["first_audio_seconds"]) == 2
    assert result["audio_seconds"] > 0
    assert result["tokens"] >= 2


@pytest.mark.parametrize("batching", BATCHINGS)
def test_arrivals_are_all_served_and_none_before_it_came(subject, batching):
    times = [0.0, 0.01, 0.5, 0.51, 0.52]
    lengths, contexts = [3, 9, 3, 5, 7], [8, 9, 4, 8, 8]
    result = subject.arrivals(batching=batching, batch=4, times=times, lengths=lengths, contexts=contexts, window=0.05)
    assert len(result["latencies"]) == 5
    assert all(latency > 0 for latency in result["latencies"])
    assert result["wall_seconds"] >= times[-1]


def test_a_static_batch_makes_the_late_wait_for_all_of_the_early(subject):
    """One long request first, a short one just behind it: only continuous batching lets the short one go."""
    plan = {"batch": 2, "times": [0.0, 0.06], "lengths": [200, 2], "contexts": [8, 8], "window": 0.05}
    static = subject.arrivals(batching="static", **plan)["latencies"]
    continuous = subject.arrivals(batching="continuous", **plan)["latencies"]
    assert continuous[1] < static[1]


def test_a_padded_batch_answers_all_its_rows_when_the_longest_ends(subject):
    plan = {"batch": 2, "times": [0.0, 0.0], "lengths": [100, 2], "contexts": [8, 8], "window": 0.05}
    first, second = subject.arrivals(batching="padded", **plan)["latencies"]
    assert second == pytest.approx(first, rel=0.01)
    assert subject.arrivals(batching="static", **plan)["latencies"][1] < 0.5 * second


def test_parts_add_up_to_something_for_every_part(subject):
    result = subject.parts(tokens=6, context=8)
    assert {"prefill", "steps", "decoder", "vocos", "post-processing"} <= set(result["seconds"])
    assert all(math.isfinite(seconds) and seconds >= 0 for seconds in result["seconds"].values())
    assert result["seconds"]["of which sampling"] <= result["seconds"]["steps"]


def test_operators_of_a_step_are_told_apart(subject):
    seconds = subject.operators(batch=2, context=8, steps=3)["seconds"]
    assert {"GroupQueryAttention", "MatMul"} <= set(seconds)
    assert list(seconds.values()) == sorted(seconds.values(), reverse=True)


def test_the_cpu_clock_does_not_wait():
    clock = Clock("cpu")
    begin = clock.now()
    clock.sleep(100.0)
    assert 100.0 <= clock.now() - begin < 101.0


def test_a_worker_answers_lines_and_survives_mistakes():
    answers = io.StringIO()
    serve(Subject(), ['{"do": "peak"}', '{"do": "decode", "batch": "no"}', '{"do": "close"}'], answers)
    first, second, third = map(json.loads, answers.getvalue().splitlines())
    assert "bytes" in first
    assert "TypeError" in second["error"]
    assert third == {}


def test_a_child_that_dies_is_named():
    import sys

    child = Child("int8", [sys.executable, "-c", "raise SystemExit(7)"])
    with pytest.raises(BenchmarkError, match=r"int8 ended with code 7"):
        child.do("open")
    child.close()


@pytest.mark.parametrize(
    "options", [["--batch", "0"], ["--rounds", "0"], ["--compare", "reference"], ["--random", "tiny", "--model", "x"]]
)
def test_options_that_cannot_be_used_say_so(options, tiny_model):
    chosen = options if "--model" in options else [*options, "--model", str(tiny_model)]
    with pytest.raises(InputError):
        measure(arguments(*chosen, "--only", "parts"))


@pytest.mark.slow
def test_a_whole_benchmark_prints_every_section(tiny_model, tmp_path):
    options = ["--model", str(tiny_model), "--batch", "1", "2", "--rounds", "1", "--steps", "4", "--requests", "4"]
    report = measure(arguments(*options, "--threads", "1", "--clock", "cpu", "--input-tokens", "32"))
    json.dumps(report)
    text = environment_text(report) + tables(report)
    for title in (
        "Size, load",
        "Decoding",
        "limits",
        "Requests",
        "Whole chain",
        "Arriving",
        "Where the time goes",
        "Inside a step",
    ):
        assert title in text
    assert picture(report).count("<polyline") == 3
