from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from chattts_onnx.errors import InputError
from chattts_onnx.evaluation.listening import check, listen, rates_of
from chattts_onnx.evaluation.sentences import Sentence

pytest.importorskip("opencc", reason="the eval extra is not installed")

SOUND = SimpleNamespace(samples=np.zeros(2400, np.float32), sample_rate=24000)


def says(text):
    return lambda samples, sample_rate, language: text


def test_a_check_judges_mandarin_by_pinyin_and_english_by_words():
    mandarin = check(SOUND, "他负了责任。", transcribe=says("他付了责任"))
    assert (mandarin.language, mandarin.error_rate) == ("zh", 0.0)
    assert mandarin.rates["cer"] == pytest.approx(1 / 5)
    english = check(SOUND, "One two three four.", transcribe=says("one two four"))
    assert (english.language, english.error_rate) == ("en", 0.25)


def test_a_check_passes_the_samples_their_rate_and_the_language_to_the_ear():
    calls = []

    def ear(samples, sample_rate, language):
        calls.append((samples.dtype, len(samples), sample_rate, language))
        return "hello"

    assert check(SOUND, "hello", "zh", transcribe=ear).transcript == "hello"
    assert calls == [(np.float32, 2400, 24000, "zh")]


def test_a_text_without_words_cannot_be_checked():
    with pytest.raises(InputError, match="nothing to score"):
        check(SOUND, "[uv_break]", transcribe=says(""))


def test_rates_are_kept_by_measure_and_reports_are_plain():
    sentences = [Sentence("你好世界", "zh", "a:1"), Sentence("hello world", "en", "b:1")]
    heard = [listen(SOUND.samples, 24000, one, speaker="x", transcribe=says("hello world")) for one in sentences]
    rates = rates_of(heard)
    assert set(rates) == {"cer", "pinyin", "wer"}
    assert (rates["cer"].value, rates["wer"].value) == (1.0, 0.0)
    assert heard[1].as_json() == {
        "name": "b:1",
        "language": "en",
        "speaker": "x",
        "text": "hello world",
        "heard": "hello world",
        "seconds": 0.1,
        "errors": {"wer": [0, 2]},
    }
