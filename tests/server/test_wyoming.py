"""The Wyoming bridge, driven over TCP by the package's own client."""

from __future__ import annotations

import asyncio
import socket
import warnings

import pytest

with warnings.catch_warnings():
    # wyoming.audio imports audioop, which Python 3.11 and 3.12 warn about.
    warnings.simplefilter("ignore", DeprecationWarning)
    pytest.importorskip("wyoming.audio", reason="the bridge needs the extra")

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info
from wyoming.server import AsyncTcpServer
from wyoming.tts import Synthesize, SynthesizeVoice

from chattts_onnx.server.settings import ServerSettings
from chattts_onnx.server.wyoming import Bridge, handler_class
from server.facade_double import CHUNK, RATE, SineFacade, loader


def talk(facade, *events, until, **settings):
    """What comes back, up to the first event of the class ``until``."""

    async def main():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        chosen = ServerSettings(**settings)
        server = AsyncTcpServer("127.0.0.1", port)
        task = asyncio.ensure_future(server.run(handler_class(Bridge(loader(facade)(chosen), chosen, ("zh", "en")))))
        for _ in range(200):
            try:
                client = AsyncTcpClient("127.0.0.1", port)
                await client.connect()
                break
            except OSError:
                await asyncio.sleep(0.05)
        found = []
        for event in events:
            await client.write_event(event.event())
        while True:
            event = await asyncio.wait_for(client.read_event(), 20)
            found.append(event)
            if until.is_type(event.type):
                break
        await client.disconnect()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await asyncio.sleep(0.05)
        return found

    return asyncio.run(main())


def test_it_describes_its_voices():
    info = Info.from_event(talk(SineFacade(), Describe(), until=Info)[-1])
    assert [voice.name for voice in info.tts[0].voices] == ["amy", "bo", "chen"]
    assert info.tts[0].voices[0].languages == ["zh", "en"]


def test_text_becomes_sound():
    facade = SineFacade()
    found = talk(facade, Synthesize(text="One. Two.", voice=SynthesizeVoice(name="bo")), until=AudioStop)
    start = AudioStart.from_event(found[0])
    assert (start.rate, start.width, start.channels) == (RATE, 2, 1)
    sound = b"".join(AudioChunk.from_event(event).audio for event in found[1:-1])
    assert len(sound) == 2 * 10 * CHUNK
    assert facade.seen[0][2]["voice"] == "bo"


def test_streamed_text_is_spoken_sentence_by_sentence_and_the_copy_is_ignored():
    tts = pytest.importorskip("wyoming.tts")
    if not hasattr(tts, "SynthesizeStart"):
        pytest.skip("this wyoming cannot stream")
    facade = SineFacade()
    events = [
        tts.SynthesizeStart(),
        tts.SynthesizeChunk(text="First one. And"),
        tts.SynthesizeChunk(text=" a second."),
        tts.Synthesize(text="First one. And a second."),
        tts.SynthesizeStop(),
    ]
    found = talk(facade, *events, until=tts.SynthesizeStopped)
    assert [text.strip() for text, _, _ in facade.seen] == ["First one.", "And a second."]
    assert [event.type for event in found].count("audio-start") == 1
    assert found[-2].type == "audio-stop"


@pytest.mark.parametrize(
    ("event", "settings"),
    [(Synthesize(text="a" * 20), {"max_input_chars": 10}), (Synthesize(text="!!"), {}),
     (Synthesize(text="a", voice=SynthesizeVoice(name="../x")), {})],
)  # fmt: skip
def test_what_cannot_be_spoken_is_an_error_event(event, settings):
    assert Error.from_event(talk(SineFacade(), event, until=Error, **settings)[-1]).text
