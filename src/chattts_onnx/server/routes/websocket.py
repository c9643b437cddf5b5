"""``WS /v1/audio/speech/stream``: text in as a language model writes it, sound out sentence by sentence.

Client: ``session.config`` (once, may be left out), any number of ``input.text``, then ``input.done``. Server, for each
sentence: ``audio.start``, binary frames, ``audio.done``; at last ``session.done``. Trouble is an ``error`` message; the
session goes on where it can. Reading and speaking are two tasks with a bounded queue between them, so a client that
writes faster than speech can be made is held back by its own connection.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import replace
from typing import Any, Dict, List, Optional

from fastapi import APIRouter
from pydantic import Field, ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from chattts_onnx.errors import EngineStoppedError
from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import RequestError, dumps, error_body, failure_reason
from chattts_onnx.server.schemas import Format, SpeechFields
from chattts_onnx.server.sentences import SentenceSplitter
from chattts_onnx.server.strict_json import loads
from chattts_onnx.server.synthesis import Measured, SpeechJob, encoded, job_from, usage
from chattts_onnx.server.time_limit import TimeLimit, TimeLimitExceededError

_WAITING_SENTENCES = 16
_MAX_MESSAGE = 1 << 16
_TRY_AGAIN_LATER, _TOO_BIG, _POLICY, _INTERNAL = 1013, 1009, 1008, 1011


class SessionConfig(SpeechFields):
    """The fields of ``session.config``: those of the speech route, WAV unless asked otherwise."""

    response_format: Format = "wav"
    stream_audio: bool = Field(True, description="False: one binary frame for each sentence.")


def router(context: ServerContext) -> APIRouter:
    """The route."""
    routes = APIRouter()

    @routes.websocket("/v1/audio/speech/stream")
    async def stream(socket: WebSocket) -> None:
        await socket.accept()
        try:
            context.lifecycle.check_open()
        except RequestError as error:
            await _send_error(socket, error)
            await socket.close(_TRY_AGAIN_LATER)
            return
        context.metrics.websockets.inc()
        try:
            with context.lifecycle.reply():
                await _Session(context, socket).run()
        finally:
            context.metrics.websockets.dec()

    return routes


class _Session:
    def __init__(self, context: ServerContext, socket: WebSocket) -> None:
        self._context = context
        self._socket = socket
        self._config = SessionConfig.model_validate({})
        # Sentences are spoken apart; one seed keeps them one person's.
        self._seed = secrets.randbits(32)
        self._sentences: asyncio.Queue[Optional[str]] = asyncio.Queue(_WAITING_SENTENCES)

    async def run(self) -> None:
        """Until the client is done, leaves, or is too slow."""
        reader = asyncio.ensure_future(self._read())
        speaker = asyncio.ensure_future(self._speak())
        deadline = self._context.settings.max_websocket_seconds
        try:
            done, _ = await asyncio.wait({reader, speaker}, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if reader in done and speaker not in done and reader.exception() is None:
                await asyncio.wait({speaker}, timeout=deadline)
            for task in (reader, speaker):
                if task.done() and task.exception() is not None:
                    raise task.exception() or RuntimeError
        except WebSocketDisconnect:
            pass
        except RequestError as error:
            await self._end(error, _POLICY)
        except EngineStoppedError as error:
            await self._end(error, _INTERNAL)
        except Exception as error:  # noqa: BLE001 - the client is told what the table says, and nothing else
            await self._end(error, _INTERNAL)
        else:
            await self._socket.close()
        finally:
            for task in (reader, speaker):
                task.cancel()
            await asyncio.gather(reader, speaker, return_exceptions=True)

    async def _end(self, error: BaseException, code: int) -> None:
        try:
            await _send_error(self._socket, error)
            await self._socket.close(code)
        except (RuntimeError, WebSocketDisconnect, OSError):
            pass  # the client was faster

    async def _read(self) -> None:
        splitter = SentenceSplitter()
        total = 0
        configured = False
        while True:
            message = await self._message()
            kind = message.get("type")
            if kind == "session.config":
                if configured:
                    raise _refused("session.config is sent once, before any text")
                self._configure(message)
            elif kind == "input.text":
                text = message.get("text")
                if not isinstance(text, str):
                    raise _refused("input.text needs a string as text")
                total += len(text)
                if total > 16 * self._context.settings.max_input_chars:
                    raise _refused("the session's text is too long: open another one")
                for sentence in splitter.push(text):
                    await self._sentences.put(sentence)
            elif kind == "input.done":
                for sentence in splitter.finish():
                    await self._sentences.put(sentence)
                await self._sentences.put(None)
                return
            else:
                raise _refused("unknown message: send session.config, input.text or input.done")
            configured = True

    async def _message(self) -> Dict[str, Any]:
        idle = self._context.settings.websocket_idle_timeout
        try:
            with TimeLimit(idle):
                text = await self._socket.receive_text()
        except TimeLimitExceededError:
            raise _refused(f"nothing was sent for {idle:g} s") from None
        except KeyError:
            raise _refused("messages to the server are text") from None
        if len(text) > _MAX_MESSAGE:
            raise _refused(f"a message has at most {_MAX_MESSAGE} characters")
        try:
            message = loads(text.encode("utf-8", "replace"))
        except (ValueError, RecursionError):
            raise _refused("the message is not acceptable JSON") from None
        if not isinstance(message, dict):
            raise _refused("the message is not an object")
        return message

    def _configure(self, message: Dict[str, Any]) -> None:
        try:
            self._config = SessionConfig.model_validate({k: v for k, v in message.items() if k != "type"})
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"][:1])
            raise _refused(f"{where}: {problem['msg']}") from None
        self._context.check_model(self._config.model)
        if self._config.voice is not None:
            self._context.resolve_voice(str(self._config.voice))

    async def _speak(self) -> None:
        index = 0
        totals = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
        while True:
            sentence = await self._sentences.get()
            if sentence is None:
                break
            spent = await self._say(index, sentence)
            totals = {name: value + spent.get(name, 0) for name, value in totals.items()}
            index += 1
        await self._send({"type": "session.done", "total_sentences": index, "usage": totals})

    async def _say(self, index: int, sentence: str) -> Dict[str, int]:
        reason, status, sent, error_seen = "ok", 200, 0, False
        job: Optional[SpeechJob] = None
        try:
            job = job_from(self._context, sentence, self._config).with_default("seed", self._seed)
            job = replace(job.with_default("live", self._config.stream_audio), measured=Measured())
            sent = await self._sound(index, sentence, job)
        except (WebSocketDisconnect, EngineStoppedError):
            raise
        except Exception as error:  # noqa: BLE001 - one sentence failed; the next may not
            body = error_body(error)
            reason, status, error_seen = failure_reason(error), body.status, True
            await _send_error(self._socket, error)
        finally:
            self._context.metrics.count("websocket", status, reason)
        await self._send({"type": "audio.done", "sentence_index": index, "total_bytes": sent, "error": error_seen})
        return usage(job) if job is not None else {}

    async def _sound(self, index: int, sentence: str, job: SpeechJob) -> int:
        pieces = encoded(self._context, job)
        kept: List[bytes] = []
        sent = 0
        started = False
        try:
            async for piece in pieces:
                if not started:
                    started = True
                    rate = piece.chunks[0].sample_rate
                    await self._send(
                        {"type": "audio.start", "sentence_index": index, "sentence_text": sentence,
                         "format": job.format, "sample_rate": rate}
                    )  # fmt: skip
                if self._config.stream_audio:
                    sent += await self._binary(piece.data)
                    continue
                kept.append(piece.data)
                if piece.patches:
                    whole = bytearray(b"".join(kept))
                    for offset, patch in piece.patches:
                        whole[offset : offset + len(patch)] = patch
                    kept = [bytes(whole)]
            return sent + await self._binary(b"".join(kept))
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    async def _binary(self, data: bytes) -> int:
        if data:
            await self._timed(self._socket.send_bytes(data))
        return len(data)

    async def _send(self, message: Dict[str, Any]) -> None:
        await self._timed(self._socket.send_text(dumps(message).decode("utf-8")))

    async def _timed(self, sending: Any) -> None:
        try:
            with TimeLimit(self._context.settings.write_timeout):
                await sending
        except (TimeLimitExceededError, RuntimeError):
            # Starlette raises RuntimeError for a socket that was closed meanwhile.
            raise WebSocketDisconnect(_TOO_BIG) from None


def _refused(message: str) -> RequestError:
    from chattts_onnx.server.error_responses import invalid

    return invalid(message)


async def _send_error(socket: WebSocket, error: BaseException) -> None:
    inner = error_body(error).json()["error"]
    await socket.send_text(dumps({"type": "error", **{k: v for k, v in inner.items() if k != "type"}}).decode())
