from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation.report import command_line, update_document
from chattts_onnx.evaluation.sentences import builtin_sentences

RATE = 24000
TEXTS = Path(__file__).resolve().parents[2] / "benchmarks" / "texts"


@pytest.fixture(scope="module")
def longform(load_benchmark):
    return load_benchmark("longform")


def tone(frequency, seconds=0.6, level=0.3):
    """A voice-like tone: harmonics that fall off."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * frequency * n * time) / n for n in range(1, 6))
    return (level * wave / np.sqrt(np.mean(wave**2))).astype(np.float32)


@pytest.mark.parametrize("frequency", [90.0, 120.0, 180.0, 250.0, 330.0])
def test_pitch_is_found_within_a_fifth_of_a_semitone(longform, frequency):
    assert abs(12 * np.log2(longform.pitch(tone(frequency), RATE) / frequency)) < 0.2


def test_noise_and_silence_have_no_pitch(longform):
    noise = np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1
    assert longform.pitch(np.zeros(RATE, np.float32), RATE) is None
    assert longform.pitch(noise, RATE) is None


def test_a_seam_tells_pitch_and_loudness_apart(longform):
    same = longform.step(tone(150), tone(150), RATE)
    assert same["pitch"] == pytest.approx(0.0, abs=0.05)
    assert same["loudness"] == pytest.approx(0.0, abs=0.1)
    octave = longform.step(tone(110), tone(220), RATE)
    assert octave["pitch"] == pytest.approx(12.0, abs=0.3)
    louder = longform.step(tone(150, level=0.1), tone(150, level=0.2), RATE)
    assert louder["loudness"] == pytest.approx(6.02, abs=0.3)


def test_silence_around_a_segment_is_not_its_edge(longform):
    padded = np.concatenate([np.zeros(RATE, np.float32), tone(200), np.zeros(RATE, np.float32)])
    for last in (True, False):
        edge = longform.voiced_edge(padded, RATE, last=last)
        assert np.sqrt(np.mean(edge**2)) > 0.25


def test_a_lost_tail_is_told_from_a_misheard_one(longform):
    pytest.importorskip("opencc", reason="the eval extra is not installed")
    assert not longform.tail_is_lost("今天天气很好。", "今天天气很好", "zh")
    assert not longform.tail_is_lost("今天天气很好。", "今天天汽很号", "zh")
    assert longform.tail_is_lost("今天天气很好，我们去公园散步。", "今天天气很好", "zh")
    assert not longform.tail_is_lost("we walked to the park", "we walked to a park", "en")
    assert longform.tail_is_lost("it was late so we walked home", "it was late", "en")


def test_the_ratio_to_the_lines_alone_is_paired(longform):
    value, low, high = longform.ratio([[2, 10], [4, 10]] * 20, [[1, 10], [2, 10]] * 20)
    assert (value, low, high) == pytest.approx((2.0, 2.0, 2.0))
    value, low, high = longform.ratio([[1, 10]] * 20 + [[0, 10]] * 20, [[0, 10]] * 20 + [[1, 10]] * 20)
    assert value == pytest.approx(1.0)
    assert low < 1.0 < high


def test_the_segments_heard_are_spread_evenly(longform):
    assert longform.spread(10, None) == list(range(10))
    assert longform.spread(3, 20) == [0, 1, 2]
    assert longform.spread(100, 4) == [12, 37, 62, 87]


@pytest.mark.parametrize(("language", "least"), [("zh", 3000), ("en", 1500)])
def test_the_texts_are_long_and_have_no_evaluation_sentence(language, least):
    text = (TEXTS / f"{language}.txt").read_text(encoding="utf-8")
    assert len("".join(text.split()) if language == "zh" else text.split()) >= least
    assert not any(sentence.text in text for sentence in builtin_sentences(language))


def test_the_tables_go_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin zh -->\nold\n<!-- end zh -->\nb\n", encoding="utf-8")
    update_document(page, "zh", "new \\1")
    assert page.read_text(encoding="utf-8") == "a\n<!-- begin zh -->\n\nnew \\1\n\n<!-- end zh -->\nb\n"
    with pytest.raises(InputError, match="begin en"):
        update_document(page, "en", "new")


def test_a_document_does_not_say_where_a_model_lies(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["x.py", "--model", "some/dir", "--json", "/a/b/c.json", "--heard", "3"])
    assert command_line("x.py", model="mini") == "python x.py --model mini --json c.json --heard 3"


def test_memory_is_that_of_the_speaking_process(load_benchmark, tiny_model, tmp_path):
    memory = load_benchmark("memory")
    source = tmp_path / "text.txt"
    source.write_text("你好，世界。", encoding="utf-8")
    text = memory.text_of(source, 30)
    assert len(text) == 30
    peak, size = memory.speak(text[:8], "wav", argparse.Namespace(model=str(tiny_model), threads=1))
    assert 20e6 < peak < 2e9
    assert size > 44


def test_post_processing_costs_less_than_a_hundredth(load_benchmark, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["postprocess.py", "--seconds", "2", "--repeats", "3", "--clock", "cpu"])
    load_benchmark("postprocess").main()
    rows = [line for line in capsys.readouterr().out.splitlines() if "%" in line]
    assert len(rows) == 4
    whole = float(rows[0].split("|")[3].strip(" %"))
    assert whole < 1.0


def test_offline_speech_is_reported(load_benchmark, tiny_model, tmp_path, capsys, monkeypatch):
    texts = tmp_path / "texts.txt"
    texts.write_text("你好。\n\nHello.\n", encoding="utf-8")
    monkeypatch.setattr(
        sys, "argv", ["offline.py", "--model", str(tiny_model), "--texts", str(texts), "--threads", "1"]
    )
    load_benchmark("offline").main()
    lines = capsys.readouterr().out.splitlines()
    assert any("你好" in line for line in lines)
    assert lines[-1].startswith("| all")
