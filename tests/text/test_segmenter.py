from __future__ import annotations

from typing import List

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chattts_onnx.errors import InputError
from chattts_onnx.text.atoms import Boundary, atoms, speaking_seconds
from chattts_onnx.text.segmenter import MAX_SECONDS, MIN_SECONDS, Segment, segment

from .timing import FLOOD_CASES, flood, seconds

WORDS = """你好 我们 吃饭 。 ， ！ ？ 、 ； … —— “ ” 「 」 （ ） hello world Dr. e.g. U.S. it's 3.14 2024年3月5日 12:30
￥99.9元 50% https://x.cn/a.b,c me@x.com [laugh] [uv_break] [pause_0.5s] [pause] [ [x] . , ! ? ; : ' " - 第3章 一二三
😀 é の"""
PIECES = st.sampled_from([*WORDS.split(), " ", "\n", "\n\n", "\r\n", "\u3000", "\t", "\u200b", "\ud800"])
TEXTS = st.lists(PIECES, max_size=60).map("".join) | st.text(max_size=80)


@given(TEXTS, st.floats(0.3, 15))
@settings(max_examples=60, deadline=None)
def test_joined_segments_are_the_text_and_spans_follow_one_another(text: str, max_seconds: float) -> None:
    at = 0
    for part in segment(text, max_seconds=max_seconds):
        assert part.start == at
        assert part.end > at
        assert part.text == text[part.start : part.end]
        at = part.end
    assert at == len(text)


@given(TEXTS, st.floats(0.3, 15))
@settings(max_examples=60, deadline=None)
def test_a_segment_over_the_budget_has_no_place_to_cut(text: str, max_seconds: float) -> None:
    pieces = atoms(text)
    for part in segment(text, max_seconds=max_seconds):
        if part.seconds > max_seconds + 1e-6:
            own = [piece for piece in pieces if part.start <= piece.start and piece.end <= part.end]
            speech = [index for index, piece in enumerate(own) if piece.seconds]
            # Between the first and the last atom that speaks, nothing allows a cut.
            assert all(piece.boundary < Boundary.CHARACTER for piece in own[speech[0] : speech[-1]])


@given(TEXTS)
def test_the_token_budget_holds_and_every_character_is_counted_once(text: str) -> None:
    counted: List[str] = []

    def count(piece: str) -> int:
        counted.append(piece)
        return len(piece)

    parts = segment(text, max_tokens=250, count_tokens=count)
    assert "".join(counted) == text
    longest = max((len(piece) for piece in counted), default=0)
    assert all(len(part.text) <= 250 or longest > 40 for part in parts if part.seconds)


@pytest.mark.parametrize(
    "whole",
    [
        "3.14",
        "1,234,567.89",
        "2024年3月5日",
        "2024-03-05",
        "12:30:05",
        "￥99.9元",
        "38.5℃",
        "100km/h",
        "3-5个",
        "https://www.example.com/a.b,c?x=1",
        "me.you@mail.example.com",
        "Dr. ",
        "e.g. ",
        "U.S. ",
        "it's",
        "state-of-the-art",
        "Node.js",
        "[laugh]",
        "[ uv_break ]",
        "[pause 0.5s]",
        "二零二四年",
        "v1.31.1",
    ],
)
@pytest.mark.parametrize("budget", [0.2, 1.0, 3.0])
def test_never_cut_inside(whole: str, budget: float) -> None:
    text = f"我们走吧。他说，{whole}好的，这是一个很长很长的句子没有标点。{whole}"
    cuts = {part.end for part in segment(text, max_seconds=budget, min_seconds=0.1)}
    at = text.find(whole)
    while at >= 0:
        inside = set(range(at + 1, at + len(whole.rstrip())))
        assert not inside & cuts
        at = text.find(whole, at + 1)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (
            "他说：“我们已经吃过了！”然后我们就一起走回家去了。",
            ["他说：“我们已经吃过了！”", "然后我们就一起走回家去了。"],
        ),
        (
            "Dr. Smith arrived at 3:30 p.m. on Jan. 5 with his wife. They had dinner in the U.S. Embassy there.",
            ["Dr. Smith arrived at 3:30 p.m. on Jan. 5 with his wife. ", "They had dinner in the U.S. Embassy there."],
        ),
        (
            "圆周率约等于3.14，大家都知道这一点。你难道真的还不知道吗？我们现在来算算看吧！",
            ["圆周率约等于3.14，大家都知道这一点。", "你难道真的还不知道吗？", "我们现在来算算看吧！"],
        ),
        (
            "这里有一个很好的公园[laugh]。我们明天再去那里玩吧……你们说好不好呢，朋友们？",
            ["这里有一个很好的公园[laugh]。", "我们明天再去那里玩吧……", "你们说好不好呢，朋友们？"],
        ),
    ],
)
def test_sentences(text: str, parts: List[str]) -> None:
    assert [part.text for part in segment(text)] == parts


def test_short_neighbours_are_joined() -> None:
    assert [part.text for part in segment("好。是的。对。我知道了。谢谢。")] == ["好。是的。对。我知道了。谢谢。"]
    assert all(part.seconds >= MIN_SECONDS for part in segment("好。" * 200))


def test_paragraphs_are_kept_apart_and_have_the_longer_pause() -> None:
    parts = segment("第一段的内容在这里。\n\n第二段的内容在这里，\n第三行在这里写完。")
    assert [part.boundary for part in parts] == [Boundary.PARAGRAPH, Boundary.LINE, Boundary.SENTENCE]
    assert parts[0].pause_ms > parts[1].pause_ms > 0 == parts[2].pause_ms


def test_long_sentences_are_cut_at_clauses_first_and_evenly() -> None:
    text = "，".join(["我们今天一起去公园里散步看花"] * 8) + "。"
    parts = segment(text)
    assert all(part.text.endswith(("，", "。")) for part in parts)
    assert all(part.seconds <= MAX_SECONDS for part in parts)
    assert max(part.seconds for part in parts) < 2 * min(part.seconds for part in parts)


def test_a_sentence_without_marks_is_cut_between_words() -> None:
    parts = segment("word " * 200)
    assert all(part.text.endswith("word ") for part in parts)
    assert all(part.seconds <= MAX_SECONDS for part in parts)


@given(TEXTS, st.floats(0.3, 15))
@settings(max_examples=60, deadline=None)
def test_with_slack_only_a_single_clause_is_over_the_budget(text: str, max_seconds: float) -> None:
    pieces = atoms(text)
    for part in segment(text, max_seconds=max_seconds, clause_slack=1.2):
        if part.seconds > max_seconds + 1e-6:
            own = [piece for piece in pieces if part.start <= piece.start and piece.end <= part.end]
            speech = [index for index, piece in enumerate(own) if piece.seconds]
            uncut = Boundary.CLAUSE if part.seconds <= 1.2 * max_seconds + 1e-6 else Boundary.CHARACTER
            assert all(piece.boundary < uncut for piece in own[speech[0] : speech[-1]])


def test_a_clause_a_little_over_the_budget_is_kept_whole() -> None:
    text = "The house at the end of the road had been empty, and one of the windows was broken."
    clause = text[: text.index(" and")]
    (whole,) = segment(clause)

    def first(shorter: float) -> str:
        return next(part.text.strip() for part in segment(text, max_seconds=whole.seconds / shorter, clause_slack=1.2))

    assert first(1.15) == clause
    assert first(1.25) != clause


def test_an_oversize_word_is_kept_whole() -> None:
    word = "a" * 140
    assert word in [part.text.strip() for part in segment(f"好的，{word}，好的。", max_seconds=1.0)] or any(
        word in part.text for part in segment(f"好的，{word}，好的。", max_seconds=1.0)
    )


def test_pauses_end_a_segment_and_add_up() -> None:
    parts = segment("你好[pause 0.5s][pause 250ms]。再见，朋友[pause 2s]")
    assert [(part.text, part.pause_ms) for part in parts] == [
        ("你好[pause 0.5s][pause 250ms]。", 750),
        ("再见，朋友[pause 2s]", 2000),
    ]
    assert segment("[pause 1s]你好")[0].pause_ms == 1000


def test_empty_and_silent_texts() -> None:
    assert segment("") == []
    assert [part.text for part in segment(" \n ")] == [" \n "]
    assert segment("。。。")[0].seconds == 0


@pytest.mark.parametrize(("tokens", "limit"), [(0, 12.0), (-1, 12.0), (None, 0.0), (None, -2.0)])
def test_a_budget_must_be_positive(tokens: int, limit: float) -> None:
    with pytest.raises(InputError, match="positive"):
        segment("你好", max_tokens=tokens, count_tokens=len, max_seconds=limit)


def test_the_estimate_of_speaking_time_is_plausible() -> None:
    assert 3.5 < speaking_seconds("四川美食确实以辣闻名但也有不辣的选择") < 4.5  # 18 hanzi
    assert 2.0 < speaking_seconds("The quick brown fox jumps over the lazy dog") < 4.0  # 9 words


@pytest.mark.parametrize("symbol", FLOOD_CASES)
def test_floods_are_cut_in_linear_time(symbol: str) -> None:
    text = flood(symbol, 50_000)
    parts: List[Segment] = []
    assert seconds(lambda: parts.extend(segment(text))) < 2.0
    assert "".join(part.text for part in parts) == text
