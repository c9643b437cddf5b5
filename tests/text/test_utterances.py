from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.errors import EmptyTextError, TextTooLongError
from chattts_onnx.text import utterances
from chattts_onnx.text.lexicon import Lexicon
from chattts_onnx.text.utterances import is_speakable, iterate, prepare


def test_segments_normalised_with_their_spans() -> None:
    source = "[pause 1s]他说：“我们吃了3个苹果！”😀\n\n---\n\n共465篇[pause 500ms]。Then he said 5 words."
    parts = prepare(source)
    assert [(part.spoken, part.pause_ms, part.language) for part in parts] == [
        ("", 1000, "zh"),
        ("他说，我们吃了三个苹果！", 750, "zh"),
        ("共四百六十五篇。", 500, "zh"),
        ("Then he said five words.", 0, "en"),
    ]
    assert "".join(part.text for part in parts) == source
    assert all(source[part.start : part.end] == part.text for part in parts)
    assert [part.seconds > 0 for part in parts] == [False, True, True, True]


@pytest.mark.parametrize(
    "text", ["", "   ", "\n", "😀😀", "。。。！？", "[laugh]", "[pause 1s]", "\ud800", "\x00", "の", "---", "[foo]"]
)
def test_nothing_speakable(text: str) -> None:
    with pytest.raises(EmptyTextError, match="give at least one word"):
        prepare(text)


def test_too_long() -> None:
    with pytest.raises(TextTooLongError, match="limit is 10"):
        prepare("你" * 11, max_characters=10)


def test_half_surrogates_and_controls_are_left_out() -> None:
    (part,) = prepare("你\ud800好\x00\u202e世界")
    assert part.spoken == "你好世界"
    assert len(part.text) == 7


def test_lexicon_language_and_rules_reach_the_normaliser() -> None:
    assert prepare("5G", language="zh")[0].spoken == "五G"
    assert prepare("5个GPT", lexicon=Lexicon({"GPT": "大模型"}))[0].spoken == "五个大模型"
    assert prepare("5个苹果", normalization=False)[0].spoken == "5个苹果"


def test_the_first_utterance_does_not_wait_for_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    normalised = []
    original = utterances.normalize
    monkeypatch.setattr(
        utterances, "normalize", lambda text, **options: normalised.append(text) or original(text, **options)
    )
    text = "今天天气很好，我们去公园玩吧。" * 100
    assert next(iterate(text)).spoken == "今天天气很好，我们去公园玩吧。"
    assert len(normalised) == 2


def test_a_hundred_thousand_characters_are_accepted() -> None:
    parts = prepare("今天天气很好，我们去公园玩3天吧。" * 6_000)
    assert len(parts) >= 3_000
    assert all(is_speakable(part.spoken) for part in parts)


@given(st.text(alphabet=st.sampled_from("你好ab 12。，!\n[]laugh😀\ud800"), max_size=60))
@settings(deadline=None)
def test_the_spans_cover_the_source(text: str) -> None:
    try:
        parts = prepare(text)
    except EmptyTextError:
        return
    at = 0
    for part in parts:
        assert part.start == at
        at = part.end
    assert at == len(text)
    assert any(is_speakable(part.spoken) for part in parts)
    assert all(is_speakable(part.spoken) for part in parts[1:])
