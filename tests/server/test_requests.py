"""What is refused, how, and what the refusal says: OpenAI's error shape, limits, strict JSON, no path, no URL."""

from __future__ import annotations

import asyncio
import gzip
import json
import time

import pytest

from server.conftest import client_of, running_app
from server.facade_double import SineFacade

pytestmark = pytest.mark.asyncio

PATH = "/v1/audio/speech"


async def send(facade, *, content=None, body=None, headers=None, **settings):
    async with running_app(facade, **settings) as app, client_of(app) as client:
        if body is not None:
            return await client.post(PATH, json=body, headers=headers)
        return await client.post(PATH, content=content, headers={"content-type": "application/json", **(headers or {})})


def problem(reply):
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return reply.status_code, error["type"], error["param"], error["code"]


INVALID = "invalid_request_error"


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({}, "input", "missing_required_parameter"),
        ({"input": ""}, "input", "invalid_value"),
        ({"input": "   "}, "input", "empty_input"),
        ({"input": "😀"}, "input", "empty_input"),
        ({"input": 5}, "input", "invalid_value"),
        ({"input": "a" * 4097}, "input", "string_above_max_length"),
        ({"input": "a", "speed": 0.2}, "speed", "invalid_value"),
        ({"input": "a", "speed": 4.1}, "speed", "invalid_value"),
        ({"input": "a", "speed": "fast"}, "speed", "invalid_value"),
        ({"input": "a", "response_format": "mp4"}, "response_format", "invalid_value"),
        ({"input": "a", "stream_format": "ws"}, "stream_format", "invalid_value"),
        ({"input": "a", "instructions": "x" * 4097}, "instructions", "string_above_max_length"),
        ({"input": "a", "seed": -1}, "seed", "invalid_value"),
        ({"input": "a", "sample_rate": 12345}, "sample_rate", "invalid_value"),
        ({"input": "a", "timestamps": "segment"}, "timestamps", "invalid_value"),
        ({"input": "a", "voice": "nobody"}, "voice", "unknown_voice"),
        ({"input": "a", "voice": {"id": "nobody"}}, "voice", "unknown_voice"),
    ],
)
async def test_a_request_that_must_change_is_400_and_names_the_field(facade, body, param, code):
    assert problem(await send(facade, body=body)) == (400, INVALID, param, code)
    assert facade.seen == []


async def test_the_limit_itself_is_accepted(facade):
    facade.chunks_per_segment = 1
    assert (await send(facade, body={"input": "a" * 4096})).status_code == 200


async def test_another_model_is_404(facade):
    reply = await send(facade, body={"input": "a", "model": "whisper-1"})
    assert problem(reply) == (404, INVALID, "model", "model_not_found")


@pytest.mark.parametrize(
    "voice",
    ["../amy", "..%2famy", "/etc/passwd", "amy\0", "C:\\amy", "\\\\host\\amy", "amy/../bo", "．．/amy", "amy.pt",
     "a" * 65, "http://example.com/a.json", "amy:0.5+", "+", "amy::1"],
)  # fmt: skip
async def test_no_voice_is_a_path_or_an_address(facade, voice):
    status, _, param, _ = problem(await send(facade, body={"input": "a", "voice": voice}))
    assert (status, param) == (400, "voice")
    assert facade.seen == []


@pytest.mark.parametrize(
    ("voice", "seen"),
    [("amy", "amy"), ("AMY", "amy"), ({"id": "bo"}, "bo"), ("alloy", "amy"), ("ash", "bo"), ("coral", "amy"),
     ("42", 42), ("amy:0.7+bo:0.3", "amy:0.7+bo:0.3"), ("alloy:0.5+ash", "amy:0.5+bo")],
)  # fmt: skip
async def test_voices_that_are_understood(facade, voice, seen):
    assert (await send(facade, body={"input": "a", "voice": voice})).status_code == 200
    assert facade.seen[0][2]["voice"] == seen


async def test_fields_reach_the_facade_by_its_names(facade):
    body = {
        "input": "a", "model": "gpt-4o-mini-tts-2025-12-15", "speed": 1.5, "seed": 3, "temperature": 0.5, "top_p": 0.6,
        "top_k": 9, "refine": True, "sample_rate": 16000, "lang": "zh", "normalize": False, "continuity": "anchor",
        "max_attempts": 1,
        "instructions": "Speak casually, with a laugh, and very slowly.", "unknown_field": {"x": 1},
    }  # fmt: skip
    assert (await send(facade, body=body)).status_code == 200
    assert facade.seen[0][2] == {
        "speed": 1.5, "seed": 3, "temperature": 0.5, "top_P": 0.6, "top_K": 9, "refine": True, "sample_rate": 16000,
        "language": "zh", "normalize": False, "continuity": "anchor", "max_attempts": 1,
        "oral": 5, "laugh": 2, "speed_tag": 1,
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'"text"',
        b'{"input": "a", "input": "b"}',
        b'{"input": "a", "speed": NaN}',
        b'{"input": "a", "seed": ' + b"9" * 500_000 + b"}",
        b'{"input": ' + b"[" * 1000 + b"]" * 1000 + b"}",
        b'{"input": "a", "x": ' + b'{"a":' * 1000 + b"1" + b"}" * 1000 + b"}",
        b'{"input": "\xff"}',
        b'{"input": "a", "speed": 1e999}',
    ],
    ids=["cut", "list", "string", "twice", "nan", "digits", "deep list", "deep object", "not utf-8", "infinite"],
)
async def test_json_that_is_refused(facade, content):
    async with running_app(facade) as app, client_of(app) as client:
        begin = time.monotonic()
        reply = await client.post(PATH, content=content, headers={"content-type": "application/json"})
        assert time.monotonic() - begin < 2
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == INVALID


async def test_lone_surrogates_and_odd_characters_are_no_server_error(facade):
    text = '{"input": "a \\u202e\\u200b [spk_emb][Stts] b"}'
    assert (await send(facade, content=text.encode())).status_code == 200
    assert problem(await send(facade, content=b'{"input": "a\\ud800"}'))[:3] == (400, INVALID, "input")
    assert (await send(facade, content=b'{"input": "\\ud800", "voice": "\\ud800"}')).status_code == 400


async def test_compressed_bodies_are_refused(facade):
    data = gzip.compress(json.dumps({"input": "a"}).encode())
    reply = await send(facade, content=data, headers={"content-encoding": "gzip"})
    assert problem(reply) == (415, INVALID, None, "unsupported_encoding")


async def test_a_long_body_is_refused_without_being_read(facade):
    read = 0

    async def stream():
        nonlocal read
        for _ in range(64):
            read += 1 << 16
            yield b"x" * (1 << 16)

    reply = await send(facade, content=stream(), headers={"content-length": str((1 << 20) + 1)})
    assert problem(reply)[0] == 413
    assert read <= 1 << 16
    reply = await send(facade, content=stream())
    assert problem(reply) == (413, INVALID, None, "body_too_large")
    assert read <= (1 << 20) + (1 << 18)


async def test_a_bug_is_500_without_details_and_not_to_be_retried(facade):
    facade.failure = RuntimeError("secret detail")
    facade.chunks_per_segment = 2
    reply = await send(facade, body={"input": "poison.", "response_format": "wav"})
    assert reply.status_code == 500
    assert reply.headers["x-should-retry"] == "false"
    assert "secret" not in reply.text


async def test_what_the_model_cannot_say_is_4xx(facade):
    from chattts_onnx.errors import SynthesisError

    facade.failure = SynthesisError("no sound: word it differently")
    reply = await send(facade, body={"input": "poison.", "response_format": "wav"})
    assert problem(reply) == (422, INVALID, "input", "synthesis_failed")


async def test_unknown_paths_and_methods_have_the_same_shape(facade):
    async with running_app(facade) as app, client_of(app) as client:
        assert problem(await client.get("/nothing"))[0] == 404
        assert problem(await client.get(PATH))[0] == 405


async def test_request_ids_come_back_unless_they_could_forge_something(facade):
    async with running_app(facade) as app, client_of(app) as client:
        assert (await client.get("/livez", headers={"x-request-id": "abc-1"})).headers["x-request-id"] == "abc-1"
        for bad in ("a b", "a" * 65, 'x"y', "a;b"):
            assert len((await client.get("/livez", headers={"x-request-id": bad})).headers["x-request-id"]) == 32


async def test_host_and_origin(facade):
    async with running_app(facade) as app, client_of(app) as client:
        assert (await client.get("/livez", headers={"host": "evil.example"})).status_code == 421
        assert (await client.get("/livez", headers={"host": "localhost:8000"})).status_code == 200
        body = {"input": "a"}
        assert (await client.post(PATH, json=body, headers={"origin": "http://evil.example"})).status_code == 403
        assert (await client.post(PATH, json=body, headers={"origin": "http://127.0.0.1:8000"})).status_code == 200
        preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
        assert "access-control-allow-origin" not in (await client.options(PATH, headers=preflight)).headers


async def test_cors_only_for_named_origins(facade):
    async with running_app(facade, cors_origins=("https://good.example",)) as app, client_of(app) as client:
        good = {"origin": "https://good.example", "access-control-request-method": "POST"}
        reply = await client.options(PATH, headers=good)
        assert reply.headers["access-control-allow-origin"] == "https://good.example"
        assert "access-control-allow-credentials" not in reply.headers
        assert (await client.post(PATH, json={"input": "a"}, headers=good)).status_code == 200


async def test_a_thousand_refusals_are_a_few_lines(caplog):
    facade = SineFacade()
    facade.held.set()
    caplog.set_level("INFO")
    async with running_app(facade, slots=1, queue=0) as app, client_of(app) as client:
        first = asyncio.ensure_future(client.post("/v1/audio/speech", json={"input": "Held."}))
        await asyncio.sleep(0.5)
        assert app.state.context.admission.full
        begin = time.monotonic()
        for i in range(500):
            assert (await client.post("/v1/audio/speech", json={"input": f"{i}"})).status_code == 429
            assert (await client.post("/v1/audio/speech", content=b"{")).status_code == 400
        seconds = time.monotonic() - begin
        lines = [record for record in caplog.records if record.name.startswith("chattts_onnx")]
        assert len(lines) < 20 + 10 * seconds
        facade.held.clear()
        await first
