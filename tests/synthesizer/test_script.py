"""Text to lines: order, spans, pauses, and nothing made before it is needed."""

from __future__ import annotations

import pytest

import chattts_onnx.text.utterances as utterances
from chattts_onnx.errors import EmptyTextError, InputError
from chattts_onnx.speech import SpeechOptions
from chattts_onnx.synthesizer.script import write_script


def lines(text: str, **options: object) -> list:
    return list(write_script(text, SpeechOptions.of(**options), max_seconds=12.0))


def test_lines_cover_the_text_in_order() -> None:
    text = "第一句话说完了。第二句话也说完了！第三句呢？" * 4
    spans = [line.span for line in lines(text)]
    assert "".join(text[a:b] for a, b in spans) == text


def test_a_pause_before_the_first_word_is_its_lead() -> None:
    first, *_ = lines("[pause 700ms]你好，世界。")
    assert first.lead_ms == 700
    assert first.index == 0


def test_numbers_are_words() -> None:
    assert lines("一共3个。")[0].spoken == "一共三个。"
    assert "3" in lines("一共3个。", normalize=False)[0].spoken


def test_a_number_that_takes_long_to_say_is_cut_again() -> None:
    found = lines("号码是" + "9" * 200 + "。")
    assert len(found) > 1
    assert all(line.seconds <= 18.5 for line in found)


def test_the_first_line_does_not_wait_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = utterances.normalize

    def counting(text: str, **options: object) -> str:
        seen.append(text)
        return plain(text, **options)

    monkeypatch.setattr(utterances, "normalize", counting)
    next(write_script("这是一句不短也不长的话，用来数一数。" * 200, SpeechOptions(), max_seconds=6.0))
    assert len(seen) < 10


def test_ssml_gives_voices_and_pace() -> None:
    found = lines('<speak>你好。<break time="1s"/><voice name="a">世界。</voice></speak>', ssml=True)
    assert [line.voice for line in found] == [None, "a"]
    assert found[0].pause_ms >= 1000


def test_nothing_to_say() -> None:
    with pytest.raises(EmptyTextError):
        lines("…… ——")
    with pytest.raises(EmptyTextError):
        lines("<speak><break time='1s'/></speak>", ssml=True)
    with pytest.raises(InputError):
        lines("<speak>你好", ssml=True)
