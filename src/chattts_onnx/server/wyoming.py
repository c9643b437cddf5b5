"""``chattts wyoming``: the same engine for Home Assistant, over the Wyoming protocol (extra ``wyoming``).

A bridge of its own rather than a route: Wyoming is events over plain TCP, without HTTP, keys or web libraries. It has
the brakes that matter on such a line: so many speak at once, so many wait, a text has a limit, a client that leaves
aborts its speech. There is no authentication in the protocol, hence the loopback by default.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from chattts_onnx import __version__
from chattts_onnx.errors import ChatTTSError, EngineOverloadedError, MissingExtraError, TextTooLongError
from chattts_onnx.server.backend import Backend, load_backend, voice_names
from chattts_onnx.server.sentences import SentenceSplitter
from chattts_onnx.server.settings import ServerSettings, add_setting_arguments, load_settings

log = logging.getLogger(__name__)

_PIECE_SECONDS = 0.2
_WIDTH = 2
_SEED_VOICES = 8
"""Voices offered by seed where a model has none by name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of ``chattts wyoming``."""
    parser.add_argument("--uri", default="tcp://127.0.0.1:10200", help="address to listen on (default %(default)s)")
    parser.add_argument("--language", action="append", help="offered to Home Assistant (default: zh and en)")
    add_setting_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Serve until interrupted."""
    try:
        from wyoming.server import AsyncServer
    except ImportError:
        raise MissingExtraError("wyoming", "wyoming", "`chattts wyoming`") from None
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    settings = load_settings(args)
    backend = load_backend(settings)
    handler = handler_class(Bridge(backend, settings, tuple(args.language or ("zh", "en"))))
    sys.stderr.write(f"chattts speaks Wyoming on {args.uri}\n")
    try:
        asyncio.run(AsyncServer.from_uri(args.uri).run(handler))
    except KeyboardInterrupt:
        pass
    finally:
        backend.close()
    return 0


class Bridge:
    """What the connections share: the backend and its brakes."""

    def __init__(self, backend: Backend, settings: ServerSettings, languages: Tuple[str, ...]) -> None:
        self.backend = backend
        self.languages = languages
        self._settings = settings
        self._slots: Optional[asyncio.Semaphore] = None
        self._inside = 0

    def info(self) -> Any:
        """The description that Home Assistant asks for."""
        from wyoming.info import Attribution, Info, TtsProgram, TtsVoice

        manifest = self.backend.manifest
        attribution = Attribution(name=str(manifest.source), url="https://github.com/2noise/ChatTTS")
        names = voice_names(self.backend) or [str(seed) for seed in range(1, _SEED_VOICES + 1)]
        common: Dict[str, Any] = {"attribution": attribution, "installed": True, "version": __version__}
        voices = [TtsVoice(name=name, description=name, languages=list(self.languages), **common) for name in names]
        streaming = {"supports_synthesize_streaming": True} if _streaming_events() else {}
        program = TtsProgram(
            name="chattts-onnx",
            description=f"{manifest.name} ({manifest.licence})",
            voices=voices,
            **common,
            **streaming,
        )
        return Info(tts=[program])

    async def speak(self, text: str, options: Mapping[str, Any], send: Any) -> None:
        """Speak ``text`` and give PCM to ``send(bytes, sample_rate)``.

        Raises:
            ChatTTSError: full, too long, or the speech could not be made.
        """
        settings = self._settings
        if len(text) > settings.max_input_chars:
            raise TextTooLongError(len(text), settings.max_input_chars)
        if self._inside >= settings.slot_count + settings.queue_length:
            raise EngineOverloadedError(self._inside - settings.slot_count, settings.queue_length)
        if self._slots is None:
            self._slots = asyncio.Semaphore(settings.slot_count)
        self._inside += 1
        try:
            async with self._slots:
                speech = self.backend.speak(text, options)
                try:
                    chunks = await speech.read(0.0)
                    while chunks:
                        samples = np.concatenate([chunk.samples for chunk in chunks])
                        pcm = (np.clip(samples, -1.0, 1.0) * 32767.0).round().astype("<i2").tobytes()
                        await send(pcm, chunks[0].sample_rate)
                        chunks = await speech.read(_PIECE_SECONDS)
                finally:
                    await speech.close()
        finally:
            self._inside -= 1


def handler_class(bridge: Bridge) -> Any:
    """The class whose instances serve one connection each."""
    from wyoming.audio import AudioChunk, AudioStart, AudioStop
    from wyoming.error import Error
    from wyoming.info import Describe
    from wyoming.server import AsyncEventHandler
    from wyoming.tts import Synthesize

    streaming = _streaming_events()

    class Handler(AsyncEventHandler):  # type: ignore[misc]
        """Events of one client."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._splitter: Optional[SentenceSplitter] = None
            self._options: Dict[str, Any] = {}
            self._sounding = False

        async def handle_event(self, event: Any) -> bool:
            """Answer one event; False ends the connection."""
            try:
                return await self._handle(event)
            except ChatTTSError as error:
                log.warning("%s", error)
                await self.write_event(Error(text=str(error), code=type(error).__name__).event())
                await self._end_sound()
            return True

        async def _handle(self, event: Any) -> bool:
            if Describe.is_type(event.type):
                await self.write_event(bridge.info().event())
            elif Synthesize.is_type(event.type):
                # Within a stream it repeats the whole text, for servers that cannot stream.
                if self._splitter is None:
                    request = Synthesize.from_event(event)
                    await self._say([request.text], _options_of(request.voice))
                    await self._end_sound()
            elif streaming:
                await self._handle_streaming(event)
            return True

        async def _handle_streaming(self, event: Any) -> None:
            start, chunk, stop, stopped = streaming
            if start.is_type(event.type):
                self._splitter = SentenceSplitter()
                self._options = _options_of(start.from_event(event).voice)
            elif chunk.is_type(event.type) and self._splitter is not None:
                await self._say(self._splitter.push(chunk.from_event(event).text), self._options)
            elif stop.is_type(event.type) and self._splitter is not None:
                rest, self._splitter = self._splitter.finish(), None
                await self._say(rest, self._options)
                await self._end_sound()
                await self.write_event(stopped().event())

        async def _say(self, sentences: List[str], options: Mapping[str, Any]) -> None:
            for sentence in sentences:
                await bridge.speak(sentence, options, self._send)

        async def _send(self, pcm: bytes, rate: int) -> None:
            if not self._sounding:
                self._sounding = True
                await self.write_event(AudioStart(rate=rate, width=_WIDTH, channels=1).event())
            await self.write_event(AudioChunk(audio=pcm, rate=rate, width=_WIDTH, channels=1).event())

        async def _end_sound(self) -> None:
            if self._sounding:
                self._sounding = False
                await self.write_event(AudioStop().event())

    return Handler


def _options_of(voice: Any) -> Dict[str, Any]:
    # One seed for a whole stream of sentences, so that it stays one voice.
    options: Dict[str, Any] = {"seed": secrets.randbits(32)}
    if voice is not None and voice.name:
        name = str(voice.name).lower()
        options["voice"] = int(name) if name.isdigit() else name
    return options


def _streaming_events() -> Tuple[Any, ...]:
    """Start, chunk, stop, stopped; empty with a ``wyoming`` that does not know them (before 1.7)."""
    from wyoming import tts

    names = ("SynthesizeStart", "SynthesizeChunk", "SynthesizeStop", "SynthesizeStopped")
    return tuple(getattr(tts, name) for name in names) if hasattr(tts, names[0]) else ()
