"""Which symbols were spoken: the alignment against every possible one, and the shipped model against other texts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chattts_onnx import ChatTTS
from chattts_onnx.engine.sequence import FinishReason, StepOutput
from chattts_onnx.synthesizer.alignment import Aligner, Alignment, forced_alignment
from chattts_onnx.synthesizer.narration import REWIND_SYMBOLS, Narration
from chattts_onnx.synthesizer.recorder import Recorder
from chattts_onnx.synthesizer.take import Context, Take

PAUSE = 9


def score(heard: np.ndarray, between: np.ndarray, path: List[int]) -> float:
    """Of a path through the states pause 0, symbol 0, pause 1, …"""
    return float(sum((heard if s % 2 else between)[t, s // 2] for t, s in enumerate(path)))


def best_score(heard: np.ndarray, between: np.ndarray) -> float:
    steps, count = heard.shape
    best = -np.inf
    for path in itertools.combinations_with_replacement(range(2 * count + 1), steps):
        if {s for s in path if s % 2} == set(range(1, 2 * count, 2)):
            best = max(best, score(heard, between, list(path)))
    return best


@st.composite
def problems(draw: st.DrawFn) -> tuple:
    count, steps = draw(st.integers(1, 3)), draw(st.integers(1, 6))
    values = st.integers(-40, 0).map(lambda v: v / 4)
    heard = draw(hnp.arrays(np.float32, (steps, count), elements=values))
    between = draw(hnp.arrays(np.float32, (steps, count + 1), elements=values))
    for at in range(count + 1):
        if draw(st.booleans()):
            between[:, at] = -np.inf
    return heard, between


@given(problems())
def test_no_alignment_is_more_probable(problem: tuple) -> None:
    heard, between = problem
    steps, count = heard.shape
    way = forced_alignment(heard, between)
    if way is None:
        assert steps < count
        return
    spans, probability = way
    assert (spans[:, 0] < spans[:, 1]).all()
    assert (spans[1:, 0] >= spans[:-1, 1]).all()
    path, at = [], 0
    for step in range(steps):
        while at < count and step >= spans[at, 1]:
            at += 1
        path.append(2 * at + 1 if at < count and step >= spans[at, 0] else 2 * at)
    assert probability == score(heard, between, path) == best_score(heard, between)


def one_hot(symbols: List[int]) -> np.ndarray:
    hidden = np.zeros((len(symbols), 10), np.float32)
    hidden[np.arange(len(symbols)), symbols] = 20
    return hidden


ALIGNER = Aligner(lambda hidden: hidden.copy(), {PAUSE})


def test_a_swallowed_symbol_is_named_and_the_steps_before_it_are_good() -> None:
    found = ALIGNER.align([1, 2, PAUSE, 3, 4, 5, PAUSE], one_hot([1, 1, 2, 2, PAUSE, 3, 5, 5, 5, PAUSE]))
    assert found.misread.tolist() == [False, False, False, True, False]
    assert found.share == pytest.approx(0.2)
    assert [found.good_until(margin) for margin in range(6)] == [6, 5, 2, 0, 0, 0]


def test_what_is_left_out_and_what_is_said_twice_are_doubted() -> None:
    line = [1, 2, PAUSE, 3, 4, 5]
    spoken = [1, 1, 2, 2, PAUSE, 3, 4, 4, 5]
    assert ALIGNER.align(line, one_hot(spoken)).doubt < 1e-3
    left_out = ALIGNER.align(line, one_hot([1, 1, 2, 2, PAUSE, 3, 3, 5, 5])).doubt
    twice = ALIGNER.align(line, one_hot([1, 2, 1, 2, PAUSE, 3, 4, 4, 5]))
    assert twice.share == 0
    assert left_out > 1
    assert twice.doubt > 1
    assert ALIGNER.align(line, one_hot([1, 2])).doubt == float("inf")
    assert ALIGNER.align([PAUSE], one_hot([1, 2])).doubt == 0


def test_pauses_may_be_left_out_and_put_where_the_text_has_a_mark_only() -> None:
    assert ALIGNER.align([1, PAUSE, 2], one_hot([1, 2])).share == 0
    assert ALIGNER.align([1, PAUSE, PAUSE, 2], one_hot([1, PAUSE, PAUSE, 2])).share == 0


@pytest.mark.parametrize(("ids", "spoken", "share"), [([1, 2, 3], [1, 2], 1.0), ([1], [], 1.0), ([PAUSE], [1], 0.0)])
def test_too_short_for_any_alignment(ids: List[int], spoken: List[int], share: float) -> None:
    assert ALIGNER.align(ids, one_hot(spoken)).share == share


@pytest.fixture(scope="module")
def mini() -> Iterator[ChatTTS]:
    with ChatTTS.from_pretrained("mini", threads=1) as tts:
        yield tts


@pytest.mark.parametrize(
    ("text", "other"),
    [("今天天气很好。", "他们没有回答。"), ("The train leaves at noon.", "Nobody heard the answer.")],
)
def test_the_shipped_model_tells_what_it_spoke(
    mini: ChatTTS, monkeypatch: pytest.MonkeyPatch, text: str, other: str
) -> None:
    takes: List[Take] = []
    report = Narration._report
    monkeypatch.setattr(Narration, "_report", lambda self, take, span: (takes.append(take), report(self, take, span)))
    mini.synthesize(text, seed=1)
    aligner = mini._parts.aligner
    assert aligner is not None
    hidden = np.concatenate(takes[0].hidden)
    assert aligner.align(mini._parts.tokenizer.encode(text), hidden).share < 0.1
    assert aligner.align(mini._parts.tokenizer.encode(other), hidden).share > 0.4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("天气很好，出去走走吧。", ["天气很好，", "出去走走吧。"]),
        ("He came home late, didn't he?", ["He came home late, ", "didn't he?"]),
    ],
)
def test_a_line_is_cut_only_where_the_rest_sounds_by_itself(mini: ChatTTS, text: str, words: List[str]) -> None:
    aligner, encode = mini._parts.aligner, mini._parts.tokenizer.encode
    assert aligner is not None
    symbols = [one for one in encode(text) if one not in aligner.silent_ids]
    begins = np.arange(len(symbols)) * 10
    cuts = tuple(aligner.cuts(text, Alignment(np.stack((begins, begins + 10), 1), begins < 0), encode))
    for at, step in cuts:
        rest = [one for one in encode(text[at:]) if one not in aligner.silent_ids]
        assert rest == symbols[step // 10 :]
        assert not (text[at - 1].isascii() and text[at - 1].isalpha() and text[at].isalpha())
    assert cuts == tuple(sorted(cuts))
    first = len(words[0].rstrip())
    assert any(first <= at <= len(words[0]) for at, _ in cuts)


@given(
    st.integers(1, 200), st.lists(st.integers(1, 199), max_size=6), st.integers(-25, 200).map(lambda k: (k + 0.5) / 25)
)
def test_of_a_context_the_longest_end_that_fits_is_used(steps: int, places: List[int], seconds: float) -> None:
    places = sorted({place for place in places if place < steps})
    cuts = tuple((place * 2, place) for place in places)
    whole = Context("ab" * steps, np.arange(steps)[:, None], steps / 25)
    end = whole.ending(seconds, cuts)
    fitting = [left for left in (steps - place for place in (0, *places)) if left / 25 <= seconds]
    if not fitting:
        assert end == Context()
        return
    assert end.codes is not None
    assert len(end.codes) == fitting[0]
    assert end.codes[-1] == steps - 1
    assert end.seconds == pytest.approx(fitting[0] / 25)
    assert len(end.transcript) == 2 * fitting[0]


class Doubter:
    """Finds the 14th of 20 symbols misread in the first takes of each line that it is shown; doubts them as told."""

    def __init__(self, takes: int, doubts: Sequence[float] = ()) -> None:
        self.takes = takes
        self.doubts = doubts
        self.seen: Dict[Tuple[int, ...], List[np.ndarray]] = {}

    def align(self, ids: List[int], hidden: np.ndarray) -> Alignment:
        seen = self.seen.setdefault(tuple(ids), [])
        seen.append(hidden.copy())
        edges = np.linspace(0, len(hidden), 21).astype(np.int64)
        misread = (np.arange(20) == 14) & (len(seen) <= self.takes)
        return Alignment(
            np.stack((edges[:-1], edges[1:]), 1), misread, dict(enumerate(self.doubts, 1)).get(len(seen), 0)
        )


NUMERALS = "一二三四五六七八九十"
DIFFERENT_LINES = "".join(f"{NUMERALS[k:]}{NUMERALS[:k]}。" for k in range(5))


@pytest.mark.parametrize(("wrong", "attempts", "problem"), [(0, 1, None), (1, 3, None), (9, 3, "misread")])
@pytest.mark.parametrize("live", [False, True])
def test_a_misread_take_is_drawn_again_from_a_little_before(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, wrong: int, attempts: int, problem: Optional[str], live: bool
) -> None:
    # A random model never ends of itself; here only what was misread counts.
    monkeypatch.setattr("chattts_onnx.synthesizer.take.judge", lambda *_, misread, **__: "misread" if misread else None)
    with ChatTTS.from_pretrained(tiny_model, threads=1) as tts:
        doubter = Doubter(wrong)
        object.__setattr__(tts._parts, "aligner", doubter)
        stream = tts.stream(DIFFERENT_LINES, seed=1, refine=False, continuity="none", live=live)
        for _ in stream:
            pass
    assert len(stream.segments) > 3
    assert len(doubter.seen) == len(stream.segments)
    heard = [(one.attempts, one.problem) for one in stream.segments]
    if live:  # what is heard cannot be taken back
        assert heard.pop(0) == (1, "misread" if wrong else None)
    assert set(heard) == {(attempts, problem)}
    if attempts > 1:
        before, mended, anew = next(seen for seen in doubter.seen.values() if len(seen) > 1)
        kept = int(np.linspace(0, len(before), 21)[14 - REWIND_SYMBOLS])
        assert kept > 0
        np.testing.assert_array_equal(mended[:kept], before[:kept])
        for draw, begin in ((mended, kept), (anew, 0)):
            assert not np.array_equal(draw[begin : begin + 8], before[begin : begin + 8])


@pytest.mark.parametrize(("doubts", "kept"), [((2, 1.5, 3), 1), ((2, 3, 1), 2), ((0.9, 3, 1), 0), ((0.7,), 0)])
def test_a_doubtful_take_is_drawn_anew_and_the_least_doubtful_kept(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch, doubts: Sequence[float], kept: int
) -> None:
    # Whether a random model ends of itself is chance, and a take that ended is better than any that did not.
    follow = Recorder.follow

    def ended(self: Recorder, take: Take) -> Iterator[StepOutput]:
        yield from follow(self, take)
        take.finish = FinishReason.STOP

    monkeypatch.setattr(Recorder, "follow", ended)
    monkeypatch.setattr("chattts_onnx.synthesizer.take.judge", lambda *_, **__: None)
    with ChatTTS.from_pretrained(tiny_model, threads=1) as tts:
        doubter = Doubter(0, doubts)
        object.__setattr__(tts._parts, "aligner", doubter)
        whole = tts.synthesize(NUMERALS + "。", seed=1, refine=False, continuity="none")
    (takes,) = doubter.seen.values()
    (report,) = whole.segments
    assert report.attempts == len(takes) == len(doubts)
    assert (report.doubt, report.misread, report.problem) == (doubts[kept], 0, None)
    assert report.tokens == len(takes[kept])
    for draw in takes[1:]:  # nothing is known to be right, so nothing of the first is kept
        assert not np.array_equal(draw[:8], takes[0][:8])


def test_what_is_mended_ahead_of_its_turn_sounds_the_same(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chattts_onnx.synthesizer.take.judge", lambda *_, misread, **__: "misread" if misread else None)
    begun_ahead: List[int] = []
    draw_again = Narration._draw_again

    def watched(self: Narration, take: Take, attempts: int, *, ahead: bool = False) -> None:
        draw_again(self, take, attempts, ahead=ahead)
        begun_ahead.extend([take.line.index] * ahead)

    monkeypatch.setattr(Narration, "_draw_again", watched)

    def spoken(mends_ahead: bool) -> Tuple[np.ndarray, List[int]]:
        begun_ahead.clear()
        with ChatTTS.from_pretrained(tiny_model, threads=1) as tts, monkeypatch.context() as patch:
            if not mends_ahead:
                patch.setattr(Narration, "_mend_ahead", lambda self: None)
            object.__setattr__(tts._parts, "aligner", Doubter(1))
            whole = tts.synthesize(DIFFERENT_LINES, seed=1, refine=False, continuity="none", max_attempts=2)
            assert {one.attempts for one in whole.segments} == {2}
            return whole.samples, list(begun_ahead)

    alone, none = spoken(mends_ahead=False)
    beside, ahead = spoken(mends_ahead=True)
    assert not none
    assert ahead
    np.testing.assert_array_equal(alone, beside)


def test_lines_judged_before_they_are_heard_sound_as_in_the_file(mini: ChatTTS) -> None:
    text = "今天天气很好，我们一起去公园散步吧。" * 4
    whole = mini.synthesize(text, seed=2)
    stream = mini.stream(text, seed=2, lookahead_tokens=None)
    joined = np.concatenate([chunk.samples for chunk in stream])
    assert len(whole.segments) > 2
    # The first line of a live stream is never drawn again, so it may be another one.
    for heard, filed in zip(stream.segments[1:], whole.segments[1:]):
        assert heard.tokens == filed.tokens
        sounds = [
            samples[round(one.start * whole.sample_rate) :][: round((one.end - one.start) * whole.sample_rate)]
            for one, samples in ((heard, joined), (filed, whole.samples))
        ]
        np.testing.assert_allclose(*sounds, atol=2e-4)
