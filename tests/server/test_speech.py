"""The speech route over the debug façade: contract, formats, events, errors."""

from __future__ import annotations

import base64
import io
import json
import wave

import pytest

from server.conftest import client_of, running_app
from server.facade_double import CHUNK, RATE, SineFacade

pytestmark = pytest.mark.asyncio

TEXT = "Hello there. How are you?"


async def post(facade, body, **settings):
    async with running_app(facade, **settings) as app, client_of(app) as client:
        return await client.post("/v1/audio/speech", json=body)


async def test_mp3_is_the_default(facade):
    reply = await post(facade, {"input": TEXT, "model": "tts-1", "voice": "alloy"})
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "audio/mpeg"
    assert reply.content[:2] in (b"\xff\xf3", b"\xff\xfb", b"ID")
    assert reply.headers["x-accel-buffering"] == "no"
    assert len(reply.headers["x-request-id"]) == 32


async def test_short_wav_is_whole_and_exact(facade):
    reply = await post(facade, {"input": TEXT, "response_format": "wav"})
    assert int(reply.headers["content-length"]) == len(reply.content)
    with wave.open(io.BytesIO(reply.content)) as file:
        assert file.getframerate() == RATE
        assert file.getnframes() == 2 * 5 * CHUNK


async def test_pcm_streams_the_same_samples(facade):
    whole = await post(facade, {"input": TEXT, "response_format": "wav", "stream": False})
    streamed = await post(SineFacade(), {"input": TEXT, "response_format": "pcm"})
    assert "content-length" not in streamed.headers
    assert streamed.content == whole.content[44:]


def events(reply):
    return [json.loads(line[6:]) for line in reply.text.split("\n\n") if line]


async def test_events_carry_the_same_sound_and_usage(facade):
    reply = await post(
        facade, {"input": TEXT, "response_format": "pcm", "stream_format": "sse", "timestamps": "segment"}
    )
    assert reply.headers["content-type"] == "text/event-stream"
    found = events(reply)
    audio = b"".join(base64.b64decode(e["audio"]) for e in found if e["type"] == "speech.audio.delta")
    plain = await post(SineFacade(), {"input": TEXT, "response_format": "pcm"})
    assert audio == plain.content
    segments = [e for e in found if e["type"] == "speech.audio.segment"]
    assert [TEXT[e["text_start"] : e["text_end"]] for e in segments] == ["Hello there.", " How are you?"]
    assert segments[1]["start"] == pytest.approx(5 * CHUNK / RATE)
    assert found[-1] == {
        "type": "speech.audio.done",
        "usage": {"input_tokens": len(TEXT), "output_tokens": 50, "total_tokens": len(TEXT) + 50},
    }


def decoded_seconds(data, kind):
    if kind == "pcm":
        return len(data) / 2 / RATE
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples for frame in frames) / frames[0].sample_rate


@pytest.mark.parametrize("kind", ["mp3", "opus", "aac", "flac", "wav", "pcm"])
async def test_streamed_whole_and_in_events_a_format_decodes_to_the_same_length(facade, kind):
    body = {"input": TEXT, "response_format": kind}
    async with running_app(facade) as app, client_of(app) as client:
        whole = await client.post("/v1/audio/speech", json={**body, "stream": False})
        chunked = await client.post("/v1/audio/speech", json={**body, "stream": True})
        sent = events(await client.post("/v1/audio/speech", json={**body, "stream_format": "sse"}))
    evented = b"".join(base64.b64decode(e["audio"]) for e in sent if e["type"] == "speech.audio.delta")
    assert evented == chunked.content
    for data in (whole.content, chunked.content):
        # One frame of the widest codec (1152 samples) before and after.
        assert decoded_seconds(data, kind) == pytest.approx(10 * CHUNK / RATE, abs=0.1)
    if kind in ("wav", "flac"):
        import soundfile

        with soundfile.SoundFile(io.BytesIO(whole.content)) as file:
            assert len(file) == 10 * CHUNK


async def test_what_fails_after_the_first_event_is_an_event(facade):
    reply = await post(facade, {"input": "The poison.", "response_format": "pcm", "stream_format": "sse"})
    assert reply.status_code == 200
    found = events(reply)
    assert found[0]["type"] == "speech.audio.delta"
    assert found[-1]["type"] == "speech.audio.error"
    assert found[-1]["error"]["code"] == "internal_error"


async def test_a_whole_reply_asks_for_judged_takes_and_a_stream_for_early_sound(facade):
    await post(facade, {"input": "Short.", "response_format": "wav"})
    await post(facade, {"input": "Long. " * 30, "response_format": "wav"})
    await post(facade, {"input": "Short.", "response_format": "mp3"})
    assert [live for _, live, _ in facade.seen] == [False, True, True]
