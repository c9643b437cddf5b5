"""Text in scraps, sound out in sentences."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from chattts_onnx.server.app import create_app
from chattts_onnx.server.sentences import SentenceSplitter
from chattts_onnx.server.settings import ServerSettings
from server.facade_double import SineFacade, loader

PATH = "/v1/audio/speech/stream"


class Session:
    def __init__(self, facade, **settings):
        self.app = create_app(ServerSettings(warm_up=False, **settings), loader(facade))

    def __enter__(self):
        self.client = TestClient(self.app, base_url="http://127.0.0.1").__enter__()
        for _ in range(1000):
            if self.client.get("/readyz").status_code == 200:
                break
        self.socket = self.client.websocket_connect("ws://127.0.0.1" + PATH).__enter__()
        return self

    def __exit__(self, *error):
        self.socket.__exit__(*error)
        self.client.__exit__(*error)

    def send(self, **message):
        self.socket.send_text(json.dumps(message))

    def until(self, kind):
        """Messages and sounds up to the message of that kind."""
        found = []
        while True:
            message = self.socket.receive()
            if message["type"] == "websocket.close":
                raise WebSocketDisconnect(message.get("code", 0))
            if message.get("bytes") is not None:
                found.append(message["bytes"])
                continue
            found.append(json.loads(message["text"]))
            if found[-1]["type"] == kind:
                return found


def test_scraps_become_sentences_become_sound():
    facade = SineFacade()
    with Session(facade) as session:
        session.send(type="session.config", voice="amy", response_format="pcm", seed=1)
        for scrap in ("Hel", "lo there. And", " a second one", ". And the rest"):
            session.send(type="input.text", text=scrap)
        session.send(type="input.done")
        found = session.until("session.done")
    kinds = [item["type"] if isinstance(item, dict) else "sound" for item in found]
    assert [kind for kind in kinds if kind != "sound"] == ["audio.start", "audio.done"] * 3 + ["session.done"]
    starts = [item for item in found if isinstance(item, dict) and item["type"] == "audio.start"]
    assert [start["sentence_text"].strip() for start in starts] == ["Hello there.", "And a second one.", "And the rest"]
    assert starts[0]["sample_rate"] == 24000
    done = [item for item in found if isinstance(item, dict) and item["type"] == "audio.done"]
    assert sum(item["total_bytes"] for item in done) == sum(len(item) for item in found if isinstance(item, bytes))
    assert found[-1]["total_sentences"] == 3
    assert found[-1]["usage"]["output_tokens"] == 75
    assert {seen[2]["seed"] for seen in facade.seen} == {1}


def test_sentences_begin_before_the_text_is_complete():
    with Session(SineFacade()) as session:
        session.send(type="input.text", text="你好，世界。")
        assert session.until("audio.done")[0]["format"] == "wav"
        session.send(type="input.done")
        session.until("session.done")


def test_one_voice_through_a_session_without_a_seed():
    facade = SineFacade()
    with Session(facade) as session:
        session.send(type="input.text", text="One two. Three four. ")
        session.send(type="input.done")
        session.until("session.done")
    assert len({seen[2]["seed"] for seen in facade.seen}) == 1


def test_one_frame_a_sentence_with_exact_header():
    with Session(SineFacade()) as session:
        session.send(type="session.config", stream_audio=False)
        session.send(type="input.text", text="One sentence.")
        session.send(type="input.done")
        sounds = [item for item in session.until("session.done") if isinstance(item, bytes)]
    assert len(sounds) == 1
    assert int.from_bytes(sounds[0][40:44], "little") == len(sounds[0]) - 44


@pytest.mark.parametrize(
    "message",
    ['{"type": "nothing"}', "[]", "{", '{"type": "input.text", "text": 5}', '{"type":"session.config","speed":99}',
     '{"type":"session.config","voice":"../x"}', '{"type":"session.config","voice":"nobody"}'],
)  # fmt: skip
def test_a_message_that_cannot_be_read_ends_the_session_with_an_error(message):
    with Session(SineFacade()) as session:
        session.socket.send_text(message)
        assert "message" in session.until("error")[-1]
        with pytest.raises(WebSocketDisconnect):
            session.until("session.done")


def test_a_sentence_that_fails_does_not_end_the_session():
    with Session(SineFacade()) as session:
        session.send(type="session.config", response_format="pcm")
        session.send(type="input.text", text="Good one. The poison. Good two. ")
        session.send(type="input.done")
        found = [item for item in session.until("session.done") if isinstance(item, dict)]
    assert [item["error"] for item in found if item["type"] == "audio.done"] == [False, True, False]
    assert [item["code"] for item in found if item["type"] == "error"] == ["internal_error"]


def test_silence_ends_the_session():
    with Session(SineFacade(), websocket_idle_timeout=0.1) as session:
        assert "0.1 s" in session.until("error")[-1]["message"]


def test_a_client_that_leaves_stops_the_speech():
    facade = SineFacade(step_seconds=0.01, chunks_per_segment=10_000)
    with Session(facade) as session:
        session.send(type="input.text", text="A very long one. ")
        session.until("audio.start")
        session.socket.close()
        admission = session.app.state.context.admission
        for _ in range(500):
            if facade.running == 0 and admission.running == 0:  # the place is given back after the speech
                break
            session.client.get("/livez")
        assert facade.running == 0
        assert admission.running == 0


@given(st.text(alphabet="ab 。！.?\n，,”", max_size=400), st.lists(st.integers(1, 40), max_size=30))
def test_splitting_loses_nothing_that_can_be_spoken(text, cuts):
    splitter = SentenceSplitter()
    found, rest = [], text
    for cut in cuts:
        found += splitter.push(rest[:cut])
        rest = rest[cut:]
    found += splitter.push(rest)
    found += splitter.finish()
    spoken = [character for character in "".join(found) if character.isalnum()]
    assert spoken == [character for character in text if character.isalnum()]
    assert all(len(sentence) <= 200 + 40 + 400 for sentence in found)
