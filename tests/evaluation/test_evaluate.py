from __future__ import annotations

import argparse
import json

import pytest

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation import command, evaluate
from chattts_onnx.evaluation.sentences import read_manifest

pytest.importorskip("opencc", reason="the eval extra is not installed")


class Ear:
    """Hears the text it is told, so that the numbers in the report are known."""

    def __init__(self, *, threads=1):
        self.heard = []

    def transcribe(self, samples, sample_rate, language):
        self.heard.append((len(samples), sample_rate))
        return "你好" if language == "zh" else "hello there"


@pytest.fixture(autouse=True)
def ear(monkeypatch):
    monkeypatch.setattr(evaluate, "Recognizer", Ear)


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("你好\n你坏\nhello there\n", encoding="utf-8")
    return path


def arguments(*options):
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(option) for option in options])


def test_two_runs_are_compared_and_reported(tiny_model, texts, tmp_path, capsys):
    args = arguments("--model", tiny_model, tiny_model, "--texts", texts, "--json", tmp_path / "report.json")
    assert command.run(args) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    first, second = report["runs"]
    assert first["sentences"] == 3
    assert first["rates"]["cer"]["value"] == pytest.approx(1 / 4)
    assert first["rates"]["wer"]["value"] == 0
    assert first["real_time_factor"] > 0
    assert second["difference_to_first"]["cer"]["value"] == 0
    assert [one["text"] for one in first["transcripts"]] == ["你好", "你坏", "hello there"]
    output = capsys.readouterr().out
    assert "zh pinyin error rate" in output
    assert "paired" in output


def test_saved_audio_is_a_manifest_that_scores_the_same(tiny_model, texts, tmp_path, monkeypatch):
    pytest.importorskip("faster_whisper", reason="decoding recordings needs the eval extra")
    folder = tmp_path / "audio"
    spoken = evaluate.evaluate(arguments("--model", tiny_model, "--texts", texts, "--save-audio", folder))
    (manifest,) = folder.glob("*/manifest.tsv")
    assert len(read_manifest(manifest)) == 3
    listened = evaluate.evaluate(arguments("--manifest", manifest))
    assert listened["runs"][0]["rates"] == spoken["runs"][0]["rates"]


def test_voices_take_turns_or_all_speak(tiny_model, texts):
    two = evaluate.evaluate(arguments("--model", tiny_model, "--texts", texts, "--voices", "1,2"))
    assert set(two["runs"][0]["speakers"]) == {"1", "2"}
    assert two["runs"][0]["sentences"] == 3
    every = evaluate.evaluate(arguments("--model", tiny_model, "--texts", texts, "--voices", "1,2", "--every-voice"))
    assert every["runs"][0]["sentences"] == 6


def test_every_voice_has_scores_of_its_own(tiny_model, texts, monkeypatch, capsys):
    given = iter((1.0, 2.0, 4.0))
    monkeypatch.setattr(evaluate.quality, "dnsmos", lambda: lambda _: {"ovrl": next(given)})
    chosen = arguments("--model", tiny_model, "--texts", texts, "--voices", "1,2", "--quality", "dnsmos")
    (run,) = evaluate.evaluate(chosen)["runs"]
    # The voices take turns in each language: Mandarin by 1 and 2, English by 1.
    assert {name: part["quality"]["ovrl"]["mean"] for name, part in run["speakers"].items()} == {"1": 2.5, "2": 2.0}
    assert run["quality"]["ovrl"]["worst"] == 1.0
    assert "2.50 (worst 1.00)" in capsys.readouterr().out


def test_misheard_sentences_are_shown_on_request(tiny_model, texts, capsys):
    evaluate.evaluate(arguments("--model", tiny_model, "--texts", texts, "--show"))
    output = capsys.readouterr().out
    assert "你坏\n    heard: 你好" in output


def test_a_limit_of_nothing_is_refused():
    with pytest.raises(InputError, match="--limit"):
        evaluate.evaluate(arguments("--limit", "0"))
