"""The whole chain on a tiny random model: it makes noise, but the right noise."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Iterator, Optional

import numpy as np
import pytest

import chattts_onnx
from chattts_onnx import ChatTTS
from chattts_onnx.errors import EmptyTextError, InputError, ModelNotFoundError, UnknownVoiceError

TEXT = "今天天气很好。我们去公园走走，好吗？"
LONG = "第一句话在这里。" * 12


@pytest.fixture(scope="module")
def tts(tiny_model: Path) -> Iterator[ChatTTS]:
    with ChatTTS.from_pretrained(tiny_model, threads=1) as loaded:
        yield loaded


def test_same_seed_same_speech(tts: ChatTTS) -> None:
    one = tts.synthesize(TEXT, seed=7, refine=False)
    two = tts.synthesize(TEXT, seed=7, refine=False)
    other = tts.synthesize(TEXT, seed=8, refine=False)
    assert len(one.samples) > 0
    np.testing.assert_array_equal(one.samples, two.samples)
    assert len(other.samples) != len(one.samples) or not np.array_equal(one.samples, other.samples)


def test_a_drawn_seed_is_reported_and_repeats(tts: ChatTTS) -> None:
    one = tts.synthesize("你好。", refine=False)
    two = tts.synthesize("你好。", refine=False, seed=one.seed)
    np.testing.assert_array_equal(one.samples, two.samples)


@pytest.mark.parametrize("continuity", ["carry", "anchor", "none"])
def test_every_line_is_spoken_once_in_order(tts: ChatTTS, continuity: str) -> None:
    audio = tts.synthesize(LONG, seed=1, refine=False, continuity=continuity)
    assert "".join(LONG[a:b] for a, b in (s.text_span for s in audio.segments)) == LONG
    starts = [s.start for s in audio.segments]
    assert starts == sorted(starts)
    assert audio.segments[-1].end <= audio.duration + 1e-6
    assert [s.index for s in audio.segments] == list(range(len(audio.segments)))


@pytest.mark.parametrize("spoiled", [False, True])
def test_a_line_reads_on_from_the_one_before_unless_that_was_spoiled(
    tts: ChatTTS, monkeypatch: pytest.MonkeyPatch, spoiled: bool
) -> None:
    monkeypatch.setattr("chattts_onnx.synthesizer.take.judge", lambda *_, **__: "stuck" if spoiled else None)
    alone, reading_on = (
        tts.synthesize(LONG, seed=1, refine=False, continuity=continuity, max_attempts=1).segments
        for continuity in ("none", "carry")
    )
    assert len(alone) > 1
    assert alone[0].prompt_tokens == reading_on[0].prompt_tokens
    for before, one, other in zip(reading_on, alone[1:], reading_on[1:]):
        transcript = len(tts._parts.tokenizer.encode(before.spoken))
        assert other.prompt_tokens == one.prompt_tokens + (0 if spoiled else before.tokens + transcript)


@pytest.mark.parametrize(("silent_draws", "attempts", "problem"), [(1, 2, None), (9, 3, "silent")])
def test_a_silent_take_is_drawn_again_and_then_reported(
    tts: ChatTTS, monkeypatch: pytest.MonkeyPatch, silent_draws: int, attempts: int, problem: Optional[str]
) -> None:
    vocoder, draws = tts._parts.vocoder, []
    decode = vocoder.decode

    def muted(hidden: np.ndarray) -> np.ndarray:
        draws.append(len(hidden))
        sound = np.sign(decode(hidden)) * np.float32(0.1)
        return sound if len(draws) > silent_draws else 0 * sound

    # Every take of a random model has a problem of its own; here only the sound counts.
    monkeypatch.setattr("chattts_onnx.synthesizer.take.judge", lambda *_, **__: None)
    monkeypatch.setattr(vocoder, "decode", muted)
    report = tts.synthesize("你好。", seed=1, refine=False).segments[0]
    assert (report.attempts, report.problem, len(draws)) == (attempts, problem, attempts)


def test_exact_stream_is_the_file(tts: ChatTTS) -> None:
    whole = tts.synthesize(TEXT, seed=3, refine=False, max_attempts=1)
    stream = tts.stream(TEXT, seed=3, refine=False, max_attempts=1, lookahead_tokens=None)
    joined = np.concatenate([chunk.samples for chunk in stream])
    assert len(joined) == len(whole.samples)
    np.testing.assert_allclose(joined, whole.samples, atol=2e-4)


def test_chunks_follow_one_another(tts: ChatTTS) -> None:
    position = 0.0
    for chunk in tts.stream(TEXT, seed=3, refine=False):
        assert chunk.start == pytest.approx(position)
        position = chunk.end
    assert position > 0


def test_company_changes_nothing(tts: ChatTTS) -> None:
    alone = [tts.synthesize(TEXT, seed=seed, refine=False) for seed in range(4)]
    together: dict = {}

    def speak(seed: int) -> None:
        together[seed] = tts.synthesize(TEXT, seed=seed, refine=False)

    threads = [threading.Thread(target=speak, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, audio in enumerate(alone):
        np.testing.assert_array_equal(audio.samples, together[seed].samples)


def test_closing_a_stream_frees_the_engine(tts: ChatTTS) -> None:
    stream = tts.stream(LONG, seed=5, refine=False)
    next(iter(stream))
    stream.close()
    assert list(stream) == []
    for _ in range(200):
        if tts.stats().running == 0 and tts.stats().waiting == 0:
            break
        threading.Event().wait(0.02)
    assert tts.stats().running == 0
    assert tts.stats().waiting == 0


def test_async_stream_is_the_stream(tts: ChatTTS) -> None:
    async def collect() -> np.ndarray:
        return np.concatenate([chunk.samples async for chunk in tts.astream(TEXT, seed=3, refine=False)])

    plain = np.concatenate([chunk.samples for chunk in tts.stream(TEXT, seed=3, refine=False)])
    np.testing.assert_array_equal(asyncio.run(collect()), plain)


def test_refining_is_deterministic_and_reported(tts: ChatTTS) -> None:
    one = tts.synthesize("你好。", seed=2, refine=True, oral=2, laugh=0, break_=6)
    two = tts.synthesize("你好。", seed=2, refine=True, oral=2, laugh=0, break_=6)
    assert [s.spoken for s in one.segments] == [s.spoken for s in two.segments]
    np.testing.assert_array_equal(one.samples, two.samples)


def test_pace_and_rate(tts: ChatTTS) -> None:
    plain = tts.synthesize("你好，世界。", seed=4, refine=False)
    quick = tts.synthesize("你好，世界。", seed=4, refine=False, speed=2.0, sample_rate=8000)
    assert quick.sample_rate == 8000
    assert quick.duration == pytest.approx(plain.duration / 2, rel=0.25)


def test_a_clone_speaks(tts: ChatTTS) -> None:
    rate = 16000
    sound = 0.3 * np.sin(2 * np.pi * 220 * np.arange(2 * rate) / rate)
    voice = tts.clone("me", sound, rate, "二百二十赫兹的声音。")
    assert voice.prompt_codes is not None
    audio = tts.synthesize("你好。", voice=voice, seed=1, refine=False)
    assert audio.duration > 0


@pytest.mark.parametrize("text", ["", "   ", "😀😀", "。。。", "\x00"])
def test_nothing_to_say(tts: ChatTTS, text: str) -> None:
    with pytest.raises(EmptyTextError):
        tts.synthesize(text)


def test_bad_options_are_told_before_anything_runs(tts: ChatTTS) -> None:
    with pytest.raises(UnknownVoiceError):
        tts.synthesize("你好", voice="nobody-here")
    with pytest.raises(InputError, match="temprature"):
        tts.synthesize("你好", temprature=0.5)
    with pytest.raises(InputError, match="speed"):
        tts.synthesize("你好", speed=9)
    with pytest.raises(InputError, match="string"):
        tts.synthesize(b"hello")  # type: ignore[arg-type]


def test_names_of_the_reference_are_understood(tts: ChatTTS) -> None:
    audio = tts.synthesize(
        "你好",
        temperature=0.5,
        top_P=0.8,
        top_K=10,
        repetition_penalty=1.1,
        skip_refine_text=True,
        max_new_token=64,
        seed=1,
    )
    assert all(s.tokens <= 64 for s in audio.segments)


def test_no_model_is_told_with_the_way_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="chattts"):
        ChatTTS.from_pretrained(tmp_path / "nothing")


def test_version_is_public() -> None:
    assert chattts_onnx.__version__.count(".") == 2
