"""``/tts``, models, voices, health, metrics, page, memory: the smaller routes."""

from __future__ import annotations

import io
import json
import wave

import numpy as np
import pytest

from chattts_onnx.server.routes.voices import _SAFE_MULTIPART, _starlette_version
from server.conftest import client_of, running_app
from server.facade_double import CHUNK

pytestmark = pytest.mark.asyncio
uploads = pytest.mark.skipif(
    _starlette_version() < _SAFE_MULTIPART, reason="this Starlette is too old for uploads, and the server says so"
)


def wav(seconds=1.0, rate=16000):
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(int(seconds * rate)) / 10) * 9000).astype("<i2").tobytes())
    return buffer.getvalue()


def frames(reply):
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "audio/wav"
    with wave.open(io.BytesIO(reply.content)) as file:
        return file.getframerate(), file.getnframes()


async def test_tts_by_form_json_and_query_is_a_16_khz_wav(facade):
    async with running_app(facade) as app, client_of(app) as client:
        replies = [
            await client.post("/tts", data={"text": "Hello.", "seed": "3"}),
            await client.post("/tts", json={"text": "Hello.", "seed": 3}),
            await client.get("/tts", params={"text": "Hello.", "seed": "3"}),
        ]
        assert {frames(reply) for reply in replies} == {(16000, 5 * CHUNK * 16000 // 24000)}
        assert len({reply.content for reply in replies}) == 1
        assert frames(await client.get("/tts", params={"text": "Hello.", "sample_rate": "24000"}))[0] == 24000


async def test_tts_takes_the_form_of_the_wrappers(facade):
    form = {
        "text": "Hello.", "prompt": "[oral_2][laugh_1][break_6]", "voice": "2222.csv", "temperature": "0.3",
        "top_p": "0.7", "top_k": "20", "skip_refine": "0", "is_split": "1", "speed": "5", "custom_voice": "0",
        "refine_max_new_token": "384",
    }  # fmt: skip
    async with running_app(facade) as app, client_of(app) as client:
        frames(await client.post("/tts", data=form))
        assert facade.seen[-1][2] == {
            "voice": 2222, "temperature": 0.3, "top_P": 0.7, "top_K": 20, "refine": True, "speed_tag": 5, "oral": 2,
            "laugh": 1, "break_": 6, "sample_rate": 16000,
        }  # fmt: skip
        frames(await client.post("/tts", data={"text": "a", "custom_voice": "77", "speed": "3", "skip_refine": "1"}))
        assert facade.seen[-1][2] == {"voice": 77, "speed_tag": 3, "refine": False, "sample_rate": 16000}


@pytest.mark.parametrize(
    "query", [{}, {"text": ""}, {"text": "a", "speed": "x"}, {"text": "a", "seed": "1.5"},
     {"text": "a", "voice": "../a"},
              {"text": "a", "seed": "nan"}, {"text": "a", "seed": "1e400"}, {"text": "a", "format": "exe"}]
)  # fmt: skip
async def test_tts_refuses_what_it_cannot_read(facade, query):
    async with running_app(facade) as app, client_of(app) as client:
        for reply in (await client.get("/tts", params=query), await client.post("/tts", data=query)):
            assert reply.status_code == 400
            assert reply.json()["error"]["type"] == "invalid_request_error"
        assert (await client.post("/tts", json=[1])).status_code == 400
        assert (await client.post("/tts", content=b"x", headers={"content-type": "text/xml"})).status_code == 415


async def test_models(facade):
    async with running_app(facade) as app, client_of(app) as client:
        listed = (await client.get("/v1/models")).json()
        assert [model["id"] for model in listed["data"]] == ["sine", "chattts", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"]
        assert listed["data"][0]["licence"] == "CC0-1.0"
        assert (await client.get("/v1/models/tts-1")).json()["root"] == "sine"
        assert (await client.get("/v1/models/nothing")).status_code == 404


async def test_voices_are_listed_with_id_and_name(facade):
    async with running_app(facade) as app, client_of(app) as client:
        listed = (await client.get("/v1/audio/voices")).json()["voices"]
        assert all({"id", "name"} <= set(voice) for voice in listed)
        names = [voice["id"] for voice in listed]
        assert names[:3] == ["amy", "bo", "chen"]
        assert "alloy" in names
        facade.manifest.default_voice = "bo"
        listed = (await client.get("/v1/audio/voices")).json()["voices"]
        assert [voice["id"] for voice in listed[:4]] == ["bo", "amy", "chen", "alloy"]
        assert listed[3]["alias_of"] == "bo"


async def upload(client, data, **fields):
    form = {"name": "mine", "consent": "true", "transcript": "what I say", **fields}
    form = {name: value for name, value in form.items() if value is not None}
    return await client.post("/v1/audio/voices", data=form, files={"audio_sample": ("../../x.wav", data)})


@uploads
async def test_a_voice_is_cloned_used_and_removed(facade):
    async with running_app(facade) as app, client_of(app) as client:
        reply = await upload(client, wav())
        assert reply.status_code == 200, reply.text
        made = reply.json()
        assert made["object"] == "audio.voice"
        assert (made["id"], made["name"], made["type"]) == ("mine", "mine", "audio_sample")
        assert (await client.post("/v1/audio/speech", json={"input": "a", "voice": {"id": "mine"}})).status_code == 200
        assert (await upload(client, wav())).status_code == 409
        assert (await client.delete("/v1/audio/voices/amy")).status_code == 404
        assert (await client.delete("/v1/audio/voices/mine")).json()["deleted"] is True
        assert (await client.post("/v1/audio/speech", json={"input": "a", "voice": "mine"})).status_code == 400


@uploads
@pytest.mark.parametrize(
    ("change", "param"),
    [({"consent": "no"}, "consent"), ({"consent": None}, "consent"), ({"name": "../x"}, "name"), ({"name": ""}, "name"),
     ({"name": "12"}, "name"), ({"name": "amy"}, "name"), ({"name": "alloy"}, "name"), ({"type": "zip"}, "type"),
     ({"transcript": ""}, "transcript")],
)  # fmt: skip
async def test_an_upload_that_is_refused(facade, change, param):
    async with running_app(facade) as app, client_of(app) as client:
        reply = await upload(client, wav(), **change)
        assert reply.status_code in (400, 409)
        assert reply.json()["error"]["param"] == param
        assert facade.voices.names == ["amy", "bo", "chen"]


@uploads
async def test_recordings_that_are_refused(facade):
    import soundfile

    long = io.BytesIO()
    soundfile.write(long, np.zeros(48000 * 600, np.float32), 48000, format="FLAC")
    assert len(long.getvalue()) < 1 << 20
    async with running_app(facade) as app, client_of(app) as client:
        for data, code in ((long.getvalue(), "audio_too_long"), (b"PK\x03\x04" + b"0" * 99, "invalid_audio"),
                           (b"", "invalid_audio"), (wav()[:30], "invalid_audio")):  # fmt: skip
            reply = await upload(client, data)
            assert reply.status_code == 400, reply.text
            assert reply.json()["error"]["code"] == code
        assert (await upload(client, b"0" * ((10 << 20) + 1))).status_code == 413
        assert facade.voices.names == ["amy", "bo", "chen"]


@uploads
async def test_uploaded_voices_are_capped(facade):
    async with running_app(facade, max_custom_voices=1) as app, client_of(app) as client:
        assert (await upload(client, wav())).status_code == 200
        assert (await upload(client, wav(), name="second")).json()["error"]["code"] == "too_many_voices"


async def test_version_health_and_metrics(facade):
    async with running_app(facade) as app, client_of(app) as client:
        assert (await client.get("/version")).json()["model"] == "sine"
        assert (await client.get("/health")).json() == {
            "status": "ok", "running": 0, "waiting": 0, "slots": 8
        }  # fmt: skip
        await client.post("/v1/audio/speech", json={"input": "One.", "response_format": "pcm"})
        await client.post("/v1/audio/speech", json={"input": "One.", "voice": "nobody"})
        text = (await client.get("/metrics")).text
        for name in (
            'requests_total{reason="ok",route="speech",status="200"} 1.0',
            'requests_total{reason="unknown_voice",route="speech",status="400"} 1.0',
            "running 0.0", "waiting 0.0", "queue_seconds_count 1.0", "ttfa_seconds_count 1.0", "rtf_count 1.0",
            "audio_seconds_total 0.5", 'tokens_total{kind="audio"} 25.0', 'tokens_total{kind="text"} 4.0',
            "underruns_total 0.0", "truncation_retries_total 0.0", "batch_size", "step_seconds_total", "build_info{",
        ):  # fmt: skip
            assert f"chattts_{name}" in text, name
        assert "nobody" not in text


async def test_the_page_comes_from_memory_with_a_policy(facade):
    async with running_app(facade) as app, client_of(app) as client:
        reply = await client.get("/")
        assert reply.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in reply.headers["content-security-policy"]
        again = await client.get("/", headers={"if-none-match": reply.headers["etag"]})
        assert again.status_code == 304
        for path in ("/web/index.html", "/../server/app.py", "/%2e%2e/app.py"):
            assert (await client.get(path)).status_code == 404


async def test_memory_is_traced_on_demand_only(facade):
    import tracemalloc

    async with running_app(facade) as app, client_of(app) as client:
        assert (await client.get("/debug/memory")).status_code == 404
    try:
        async with running_app(facade, trace_memory=True) as app, client_of(app) as client:
            found = (await client.get("/debug/memory")).json()
            assert found["traced_bytes"] > 0
            assert len(found["top"]) == 25
    finally:
        tracemalloc.stop()


async def test_the_openapi_document_states_our_errors(facade):
    async with running_app(facade) as app, client_of(app) as client:
        document = (await client.get("/openapi.json")).json()
        assert "HTTPValidationError" not in json.dumps(document)
        assert "429" in document["paths"]["/v1/audio/speech"]["post"]["responses"]
