"""The figures of docs/convert.md: ``pytest -m slow -s tests/convert/test_figures.py`` prints them.

``CHATTTS_CHECKPOINT=DIR`` measures the sensitivity of another checkpoint than the reference vectors' own. Times are the
sum over all nodes of each node's fastest run on one thread, which a busy machine hardly moves.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from graph_running import LanguageModel, cosine, open_graph, run_builder

pytest.importorskip("onnx")

from chattts_onnx.convert import schemes
from chattts_onnx.convert.assets import find_assets, find_speaker_token, find_tokenizer
from chattts_onnx.convert.checkpoint import Checkpoint, read_json
from chattts_onnx.convert.gpt import build_gpt, read_gpt_config
from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.package import convert
from chattts_onnx.convert.quantize import RECIPES, Quantizer, QuantRecipe
from chattts_onnx.convert.random_checkpoint import write_random_checkpoint
from chattts_onnx.session import Recorder, session_options

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

CONVERT = """
import json, resource, sys, time
from pathlib import Path
from chattts_onnx.convert.package import convert
started = time.monotonic()
convert(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.monotonic() - started, peak]))
"""


RUN = """
import sys
import numpy as np
sys.path.insert(0, sys.argv[2])
from graph_running import LanguageModel, open_graph
from pathlib import Path
directory = Path(sys.argv[1])
model = LanguageModel(directory)
decoder, vocos = open_graph(directory, "decoder"), open_graph(directory, "vocos")
code, mask, speaker = np.ones((1, 1, 4), int), np.zeros((1, 1), bool), np.ones((1, 768), np.float32)
cache = model.empty_cache(1, 512)
hidden, _ = model.step(np.ones((1, 100, 4), int), np.ones((1, 100), bool), speaker, [100], cache)
for step in range(200):
    model.step(code, mask, speaker, [101 + step], cache)
for frames in (64, 256, 512):
    (mel,) = decoder.run(["mel"], {"hidden": np.ones((1, frames // 2, 768), np.float32)})
    vocos.run(None, {"mel": mel})
# Linux keeps the peak of a process across exec for ru_maxrss; VmHWM is this program's own.
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def full_range(limit):
    def round_int8(weight):
        scales = (np.max(np.abs(weight), axis=0) / limit).astype(np.float32)
        return np.rint(weight / scales).astype(np.int8), scales

    return round_int8


def test_rounding_of_int8_weights(tmp_path, monkeypatch):
    """Error of one product for three ways to round, and how far the CPU is from exact integers."""
    roundings = {"127 levels": full_range(127), "no pair overflows": schemes.round_int8, "63 levels": full_range(63)}
    rng = np.random.default_rng(0)
    print("\n| inputs | weights | rounding | error | of which saturation |\n| --- | --- | --- | --- | --- |")
    for inputs in (768, 3072):
        kinds = {
            "normal": rng.standard_normal((inputs, 256), dtype=np.float32),
            "heavy tails (t, 5)": rng.standard_t(5, (inputs, 256)).astype(np.float32),
        }
        x = rng.standard_normal((1, 4, inputs), dtype=np.float32)
        for kind, weight in kinds.items():
            exact = x.astype(np.float64) @ weight
            for name, rounding in roundings.items():
                monkeypatch.setattr(schemes, "round_int8", rounding)
                g = GraphBuilder("product")
                value = g.input("x", np.float32, [1, 4, inputs])
                g.output(schemes.int8_row(g, value, weight, "m", None), "y", np.float32, None)
                (found,) = run_builder(g, {"x": x}, tmp_path)
                levels, scales = rounding(weight)
                largest = np.abs(x).max(-1, keepdims=True)
                activations = np.clip(np.rint((x / largest) / np.float32(1 / 127)), -128, 127).astype(np.int64)
                integers = (activations @ levels.astype(np.int64)) * scales.astype(np.float64) * largest / 127
                size = np.linalg.norm(exact)
                error, lost = np.linalg.norm(found - exact) / size, np.linalg.norm(found - integers) / size
                print(f"| {inputs} | {kind} | {name} | {error:.2%} | {lost:.2%} |")
                if name != "127 levels":
                    assert lost < 1e-5


def divergence(expected, found):
    """Kullback-Leibler divergence of the distributions over codes, in nats."""
    log_p, log_q = (
        x - x.max(-1, keepdims=True) - np.log(np.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True))
        for x in (expected.astype(np.float64), found.astype(np.float64))
    )
    return float((np.exp(log_p) * (log_p - log_q)).sum(-1).mean())


def test_sensitivity_of_matrices(golden, tmp_path):
    """What each kind of matrix does to logits when it alone is rounded."""
    source = Path(os.environ.get("CHATTTS_CHECKPOINT", str(golden.directory)))
    assets = find_assets(source)
    rng = np.random.default_rng(1)

    def build(rules):
        with Checkpoint(assets / "Embed.safetensors") as embed, Checkpoint(assets / "gpt/model.safetensors") as gpt:
            config = read_gpt_config(read_json(assets / "gpt" / "config.json"), embed)
            speaker = find_speaker_token(find_tokenizer(assets), config)
            graph = build_gpt(gpt, embed, config, speaker, Quantizer(QuantRecipe("sensitivity", tuple(rules))))
            for name in embed.names():
                embed.ignore(name)
        return graph, config

    _, config = build([])
    batch, text, speech = 6, 40, 60
    length = text + speech
    ids = np.repeat(rng.integers(5, config.text_vocab_size, (batch, text, 1)), 4, 2)
    feeds = {
        "input_ids": np.concatenate([ids, rng.integers(0, 625, (batch, speech, 4))], 1),
        "text_mask": np.tile(np.arange(length) < text, (batch, 1)),
        "speaker_embedding": rng.standard_normal((batch, config.hidden_size)).astype(np.float32),
        "seqlens_k": np.full(batch, length - 1, np.int32),
        "total_sequence_length": np.array(length, np.int32),
    }
    shape = (batch, config.num_kv_heads, length, config.head_size)
    for i in range(config.num_layers):
        feeds.update({f"past_{kind}_{i}": np.zeros(shape, np.float32) for kind in ("key", "value")})

    def run(rules):
        results = run_builder(build(rules)[0], feeds, tmp_path)
        return results[0], results[1]

    hidden, logits = run([])
    attention = [("*qkv_proj", "int8-row"), ("*o_proj", "int8-row")]
    rows = {"all int8": [("*", "int8-row")], "all int4": [("*", "int4-block")]}
    for name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "head_code"):
        rows[f"int4 {name} alone"] = [(f"*{name}", "int4-block")]
    for name in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj", "head_code"):
        rows[f"int4, {name} int8"] = [(f"*{name}", "int8-row"), ("*", "int4-block")]
    rows["int4, attention int8"] = [*attention, ("*", "int4-block")]
    rows["int4, attention and heads int8"] = [*attention, ("*head_code", "int8-row"), ("*", "int4-block")]
    print("\n| stored | 1 - cosine of hidden | 1 - cosine of logits | KL |\n| --- | --- | --- | --- |")
    worst = {}
    for name, rules in rows.items():
        found = run(rules)
        cosines = [
            1 - float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b)) for a, b in zip((hidden, logits), found)
        ]
        worst[name] = cosines[0]
        print(f"| {name} | {cosines[0]:.1e} | {cosines[1]:.1e} | {divergence(logits, found[1]):.4f} |")
    assert worst["all int8"] < worst["int4, attention int8"] < worst["all int4"]


@pytest.fixture(scope="module")
def full_models(tmp_path_factory):
    """The full-size random checkpoint in three precisions, with what each conversion took."""
    directory = tmp_path_factory.mktemp("full")
    write_random_checkpoint(directory / "source", "full")
    taken = {}
    for precision in ("fp32", "int8", "int4"):
        command = [sys.executable, "-c", CONVERT, str(directory / "source"), str(directory / precision), precision]
        taken[precision] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return directory, taken


def test_full_size_conversion(full_models):
    directory, taken = full_models
    print("\n| precision | seconds | peak memory, MiB | model directory, MB |\n| --- | --- | --- | --- |")
    for precision, (seconds, peak) in taken.items():
        size = sum(path.stat().st_size for path in (directory / precision).rglob("*") if path.is_file())
        print(f"| {precision} | {seconds:.0f} | {peak:.0f} | {size / 1e6:.0f} |")
        assert seconds < 120
        assert peak < 3000


def test_whole_models(golden, tmp_path):
    """Cosines against the reference: hidden states of one row given the reference's codes, and its mel."""
    arrays = golden.arrays
    real = arrays["plain_attention_mask"][0] > 0
    speaker = arrays["speaker_embedding"].astype(np.float32)
    ids, mask = arrays["plain_input_ids"][0][real], arrays["plain_text_mask"][0][real]
    codes = arrays["plain_greedy_codes"][0]
    recorder = Recorder()
    spoken = np.concatenate([ids, codes])[None]
    text = np.concatenate([mask, np.zeros(len(codes), bool)])[None]
    recorder.record("gpt", {"input_ids": spoken, "text_mask": text, "speaker_embedding": speaker[None]})
    recorder.record("decoder", {"hidden": arrays["plain_greedy_hidden"][1:2]})
    recorder.save(tmp_path / "feeds.npz")
    print("\n| cosine against the reference | hidden states | mel |\n| --- | --- | --- |")
    for precision in RECIPES:
        directory = convert(golden.directory, tmp_path / precision, precision, calibration=tmp_path / "feeds.npz")
        hidden = LanguageModel(directory).decode(ids, mask, speaker, codes)["hidden"]
        (mel,) = open_graph(directory, "decoder").run(["mel"], {"hidden": arrays["plain_greedy_hidden"][:1]})
        close = cosine(hidden, arrays["plain_greedy_hidden"][0]), cosine(mel, arrays["decoder_mel"])
        print(f"| {precision} | {close[0]:.5f} | {close[1]:.5f} |")
        assert min(close) > 0.9


def test_memory_of_a_run(full_models):
    """Prompt, 200 steps, and windows up to 512 frames, in a process of its own."""
    directory, _ = full_models
    print("\n| precision | peak memory of a run, MiB |\n| --- | --- |")
    for precision, limit in (("fp32", 2000), ("int8", 900), ("int4", 700)):
        command = [sys.executable, "-c", RUN, str(directory / precision), str(Path(__file__).parent)]
        peak = float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        print(f"| {precision} | {peak:.0f} |")
        assert peak < limit


def fastest_nodes(path, feeds, prefix, runs=20, *, arena=True):
    """Milliseconds by operator: the sum over its nodes of each node's fastest run."""
    import onnxruntime

    options = session_options(threads=1, profile=prefix, arena=arena)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    held = {name: onnxruntime.OrtValue.ortvalue_from_numpy(value) for name, value in feeds.items()}
    for name, value in held.items():
        binding.bind_ortvalue_input(name, value)
    for output in session.get_outputs():
        past = held.get(output.name.replace("present", "past"))
        if past is not None:
            binding.bind_ortvalue_output(output.name, past)
        else:
            binding.bind_output(output.name)
    for _ in range(runs):
        session.run_with_iobinding(binding)
    fastest, kinds = {}, {}
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        if event.get("cat") == "Node" and event["name"].endswith("kernel_time"):
            fastest[event["name"]] = min(event["dur"], fastest.get(event["name"], event["dur"]))
            kinds[event["name"]] = event["args"]["op_name"]
    totals = defaultdict(float)
    for name, duration in fastest.items():
        totals[kinds[name]] += duration / 1e3
    return totals


def test_time_of_a_step(full_models, tmp_path):
    """One decode step with 200 cached tokens a row."""
    directory, _ = full_models
    rng = np.random.default_rng(0)
    print("\n| precision | batch | step, ms | matrix products | attention | the rest |")
    print("| --- | --- | --- | --- | --- | --- |")
    steps = {}
    for batch in (1, 8):
        for precision in ("fp32", "int8", "int4"):
            config = json.loads((directory / precision / "manifest.json").read_text(encoding="utf-8"))["gpt"]
            shape = (batch, config["num_kv_heads"], 256, config["head_size"])
            feeds = {
                "input_ids": rng.integers(0, 625, (batch, 1, 4)),
                "text_mask": np.zeros((batch, 1), bool),
                "speaker_embedding": np.ones((batch, config["hidden_size"]), np.float32),
                "seqlens_k": np.full(batch, 200, np.int32),
                "total_sequence_length": np.array(201, np.int32),
            }
            for i in range(config["num_layers"]):
                for kind in ("key", "value"):
                    feeds[f"past_{kind}_{i}"] = rng.standard_normal(shape, dtype=np.float32)
            times = fastest_nodes(directory / precision / "gpt.onnx", feeds, tmp_path / "profile")
            total = steps[precision, batch] = sum(times.values())
            products = sum(time for kind, time in times.items() if kind.startswith("MatMul"))
            attention = times["GroupQueryAttention"]
            rest = total - products - attention
            print(f"| {precision} | {batch} | {total:.1f} | {products:.1f} | {attention:.1f} | {rest:.1f} |")
    for batch in (1, 8):
        assert steps["int8", batch] < 0.7 * steps["fp32", batch]


def test_time_of_the_acoustic_half(full_models, tmp_path):
    """128 mel frames, 64 tokens, 1.37 s of sound."""
    directory, _ = full_models
    rng = np.random.default_rng(0)
    print("\n| graph | ms | largest parts |\n| --- | --- | --- |")
    for role, feeds in (
        ("decoder", {"hidden": rng.standard_normal((1, 64, 768), dtype=np.float32)}),
        ("vocos", {"mel": rng.standard_normal((1, 100, 128), dtype=np.float32)}),
    ):
        times = fastest_nodes(directory / "fp32" / f"{role}.onnx", feeds, tmp_path / "profile", runs=12)
        parts = ", ".join(f"{k} {t:.1f}" for k, t in sorted(times.items(), key=lambda item: -item[1])[:3])
        print(f"| {role} | {sum(times.values()):.1f} | {parts} |")
        assert sum(times.values()) < 1370


def test_time_without_the_arena(full_models, tmp_path):
    directory, _ = full_models
    print("\n| Decoder, mel frames | with the arena, ms | without |\n| --- | --- | --- |")
    for frames in (32, 128):
        feeds = {"hidden": np.random.default_rng(0).standard_normal((1, frames // 2, 768), dtype=np.float32)}
        path = directory / "fp32" / "decoder.onnx"
        times = [sum(fastest_nodes(path, feeds, tmp_path / "p", 12, arena=arena).values()) for arena in (True, False)]
        print(f"| {frames} | {times[0]:.1f} | {times[1]:.1f} |")
        assert times[0] < 1.2 * times[1]
