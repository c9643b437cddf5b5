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
