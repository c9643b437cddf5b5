"""The real chain behind the server: a tiny random model, the official client, every format, poison among neighbours."""

from __future__ import annotations

import asyncio
import io

import httpx
import numpy as np
import pytest

from chattts_onnx.config import EngineConfig
from chattts_onnx.server.backend import load_backend
from chattts_onnx.server.routes.voices import _SAFE_MULTIPART, _starlette_version
from server.live import live_server

pytest.importorskip("onnx", reason="making a model needs the convert extra")
TEXT = "你好，世界。Hello world, how are you?"


@pytest.fixture(scope="module")
def server(tiny_model):
    engine = EngineConfig(threads=1, max_batch=8, max_queue=64)
    with live_server(load=load_backend, model=str(tiny_model), engine=engine, warm_up=True) as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as made:
        yield made


def speech(client, **options):
    body = {"seed": 5, **options.pop("extra", {})}
    return client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, extra_body=body, **options)


def duration(data, kind):
    if kind == "pcm":
        return len(data) / 2 / 24000
    av = pytest.importorskip("av")
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(audio=0))
    return sum(frame.samples for frame in frames) / frames[0].sample_rate


def test_six_formats_decode_to_the_same_length(client):
    lengths = {
        kind: duration(speech(client, response_format=kind, extra={"stream": True}).content, kind)
        for kind in ("mp3", "opus", "aac", "flac", "wav", "pcm")
    }
    # The priming and padding of the lossy codecs is all that may differ.
    assert max(lengths.values()) - min(lengths.values()) < 0.15, lengths


def test_the_streaming_helper_and_the_events(client):
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TEXT, response_format="pcm", extra_body={"seed": 5}
    ) as reply:
        streamed = b"".join(reply.iter_bytes())
    assert streamed == speech(client, response_format="pcm", extra={"stream": True}).content
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="alloy", input=TEXT, response_format="pcm", stream_format="sse", extra_body={"seed": 5}
    ) as reply:
        lines = [line for line in reply.iter_lines() if line]
    assert '"type":"speech.audio.done"' in lines[-1]
    assert '"input_tokens":0' not in lines[-1]


def test_the_client_raises_its_own_errors(client):
    import openai

    with pytest.raises(openai.BadRequestError) as caught:
        speech(client, extra={"speed": 9})
    assert caught.value.param == "speed"
    with pytest.raises(openai.NotFoundError):
        client.audio.speech.create(model="gpt-5", voice="alloy", input="a")
    assert [model.id for model in client.models.list()][1] == "chattts"


def test_the_async_client(server):
    openai = pytest.importorskip("openai")

    async def call():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none") as client:
            reply = await client.audio.speech.create(
                model="tts-1", voice={"id": "alloy"}, input="Hello.", response_format="wav"
            )
            return reply.content

    assert asyncio.run(call())[:4] == b"RIFF"


def test_in_a_batch_every_request_sounds_as_alone(server):
    """Eight at once, one of them poison of some kind each time, against each of the others alone."""
    poisons = ["9" * 40, "\u202e\u200b\u200f", "[Stts][spk_emb][Ptts] hi", "a" * 4097, "[uv_break]" * 50, "😀😀"]
    texts = [f"Number {i}." for i in range(7)]

    async def both():
        async with httpx.AsyncClient(base_url=server.url, timeout=120) as client:

            async def say(text, seed):
                body = {"input": text, "voice": str(seed), "seed": seed, "response_format": "pcm"}
                return await client.post("/v1/audio/speech", json=body)

            alone = [(await say(text, i)).content for i, text in enumerate(texts)]
            for poison in poisons:
                *good, bad = await asyncio.gather(*[say(text, i) for i, text in enumerate(texts)], say(poison, 99))
                assert [reply.content for reply in good] == alone, poison[:20]
                assert bad.status_code < 500, bad.text
            return alone

    alone = asyncio.run(both())
    assert all(np.abs(np.frombuffer(sound, "<i2")).max() > 0 for sound in alone)
    server.wait_idle(30)
    metrics = server.metrics()
    assert metrics["chattts_running"] == metrics["chattts_engine_sequences_running"] == 0


def test_five_of_twenty_leave_and_the_fifteen_sound_as_alone(server):
    texts = [f"Number {i}, and another one." for i in range(15)]

    async def run():
        async with httpx.AsyncClient(
            base_url=server.url, timeout=120, limits=httpx.Limits(max_connections=20)
        ) as client:

            async def say(i):
                body = {"input": texts[i], "seed": i, "response_format": "pcm"}
                return (await client.post("/v1/audio/speech", json=body)).content

            async def leave(i):
                body = {"input": "Leaving. " * 50, "seed": i, "response_format": "pcm"}
                async with client.stream("POST", "/v1/audio/speech", json=body) as reply:
                    async for _ in reply.aiter_bytes():
                        return

            alone = [await say(i) for i in range(15)]
            *together, _ = await asyncio.gather(*[say(i) for i in range(15)], asyncio.gather(*map(leave, range(5))))
            return alone, together

    alone, together = asyncio.run(run())
    assert together == alone
    assert min(map(len, alone)) > 0
    server.wait_idle(30)
    assert server.metrics()["chattts_kv_slots_used"] == 0


def test_a_disconnect_frees_the_engine(server):
    connection = server.raw({"input": "One two three four five. " * 20, "response_format": "pcm", "seed": 1})
    connection.recv(100)
    connection.close()
    server.wait_idle(10)
    assert server.metrics()["chattts_engine_sequences_running"] == 0


def test_a_recording_becomes_a_voice(server):
    soundfile = pytest.importorskip("soundfile")
    if _starlette_version() < _SAFE_MULTIPART:
        pytest.skip("this Starlette is too old for uploads, and the server says so")
    recording = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 24000 * 2).astype(np.float32)
    soundfile.write(recording, noise, 24000, format="WAV")
    form = {"name": "cloned", "consent": "true", "transcript": "some words"}
    files = {"audio_sample": ("clip.wav", recording.getvalue())}
    with httpx.Client(base_url=server.url, timeout=60) as client:
        reply = client.post("/v1/audio/voices", data=form, files=files)
        assert reply.status_code == 200, reply.text
        assert "cloned" in [voice["id"] for voice in client.get("/v1/audio/voices").json()["voices"]]
        spoken = client.post("/v1/audio/speech", json={"input": "Hello.", "voice": "cloned", "response_format": "wav"})
        assert spoken.status_code == 200
        assert client.delete("/v1/audio/voices/cloned").status_code == 200
