"""Speech as an HTTP reply: whole, chunked, or as server-sent events.

A reply of its own instead of Starlette's ``StreamingResponse``, because four things have to be certain on every version
from 0.44 up: the status is chosen only when the first sound exists, so that every failure before it has its own; a
client that leaves, at whatever moment, aborts the work; a reader that is too slow is waited for only so long and only
so much is held for it; and a failure after the first byte breaks the connection, so that half a sentence is never
taken for a whole one.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import deque
from typing import Deque, Dict, Optional, Tuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import dumps, error_body, failure_reason
from chattts_onnx.server.schemas import MEDIA_TYPES
from chattts_onnx.server.synthesis import Piece, SpeechJob, encoded, fingerprint, usage
from chattts_onnx.server.time_limit import TimeLimit, TimeLimitExceededError

log = logging.getLogger(__name__)

_WRITE_BYTES = 1 << 16
CLIENT_GONE = 499
"""Not a status that is sent: what metrics and log call a client that left (nginx's number)."""


class SlowReaderError(Exception):
    """The client takes nothing off the connection."""


class PieceBuffer:
    """Pieces made but not sent, bounded in bytes: the maker waits while a slow reader is behind."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._pieces: Deque[Piece] = deque()
        self._bytes = 0
        self._error: Optional[BaseException] = None
        self._ended = False
        self._changed = asyncio.Event()

    async def put(self, piece: Piece) -> None:
        """Add a piece, waiting for room first."""
        while self._bytes and self._bytes + len(piece.data) > self._limit:
            self._changed.clear()
            await self._changed.wait()
        self._pieces.append(piece)
        self._bytes += len(piece.data)
        self._changed.set()

    def end(self, error: Optional[BaseException] = None) -> None:
        """No more pieces; ``error`` is raised to the reader after the last one."""
        self._ended = True
        self._error = error
        self._changed.set()

    async def get(self) -> Optional[Piece]:
        """The next piece; None after the last one."""
        while not self._pieces:
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._changed.clear()
            await self._changed.wait()
        piece = self._pieces.popleft()
        self._bytes -= len(piece.data)
        self._changed.set()
        return piece


class SpeechReply(Response):
    """Answers one request for speech and does everything around it: abort, limits, metrics, log line."""

    def __init__(self, context: ServerContext, job: SpeechJob, *, route: str, whole: bool) -> None:
        super().__init__(media_type=MEDIA_TYPES[job.format])
        self._context = context
        self._job = job
        self._route = route
        self._whole = whole
        self._started = False
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request; never raises for what a client or the engine did."""
        request_id = scope.get("state", {}).get("request_id", "-")
        with self._context.lifecycle.reply():
            work = asyncio.ensure_future(self._work(send))
            gone = asyncio.ensure_future(_disconnected(receive))
            try:
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
                if self._ended:
                    # The server reports a disconnect after the last byte too: that is a reply that was finished.
                    await asyncio.wait({work})
                outcome = work.result() if work.done() else (CLIENT_GONE, "disconnected")
            finally:
                for task in (work, gone):
                    task.cancel()
                await asyncio.gather(work, gone, return_exceptions=True)
        self._record(*outcome, request_id)

    async def _work(self, send: Send) -> Tuple[int, str]:
        buffer = PieceBuffer(self._context.settings.stream_buffer_bytes)
        maker = asyncio.ensure_future(self._fill(buffer))
        try:
            await (self._send_whole(buffer, send) if self._whole else self._send_stream(buffer, send))
        except SlowReaderError:
            return 200, "slow_reader"
        except Exception as error:  # noqa: BLE001 - the table knows what to say about each, and hides the rest
            return await self._fail(error, send)
        finally:
            maker.cancel()
            await asyncio.gather(maker, return_exceptions=True)
        return 200, "ok"

    async def _fill(self, buffer: PieceBuffer) -> None:
        """Make pieces; in a task of its own, so that the slot is free once the speech is made, not once it is read."""
        pieces = encoded(self._context, self._job)
        try:
            async for piece in pieces:
                await buffer.put(piece)
            buffer.end()
        except Exception as error:  # noqa: BLE001 - raised again where the reply is written
            buffer.end(error)
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    async def _send_whole(self, buffer: PieceBuffer, send: Send) -> None:
        # Nothing is sent until all is made, so nothing may wait for room either.
        body = bytearray()
        piece = await buffer.get()
        while piece is not None:
            body += piece.data
            for offset, patch in piece.patches:
                body[offset : offset + len(patch)] = patch
            piece = await buffer.get()
        await self._start(send, {"content-length": str(len(body))})
        await self._write(send, bytes(body), more=False)

    async def _send_stream(self, buffer: PieceBuffer, send: Send) -> None:
        first = await buffer.get()
        await self._start(send, {})
        piece = first
        while piece is not None:
            await self._write(send, self._framed(piece), more=True)
            piece = await buffer.get()
        await self._write(send, self._trailer(), more=False)

    def _framed(self, piece: Piece) -> bytes:
        return piece.data

    def _trailer(self) -> bytes:
        return b""

    async def _fail(self, error: Exception, send: Send) -> Tuple[int, str]:
        body = error_body(error)
        if body.status >= 500 and body.code == "internal_error":
            log.error("speech failed", exc_info=error)
        if self._started:
            # Returning without an end makes the HTTP server break the connection.
            return body.status, failure_reason(error)
        response = body.response()
        self._ended = True
        await send({"type": "http.response.start", "status": body.status, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body})
        return body.status, failure_reason(error)

    async def _start(self, send: Send, extra: Dict[str, str]) -> None:
        headers = {
            "content-type": self._content_type(),
            "cache-control": "no-cache",
            "x-accel-buffering": "no",
            **extra,
        }
        raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
        self._started = True
        await send({"type": "http.response.start", "status": 200, "headers": raw})

    def _content_type(self) -> str:
        return MEDIA_TYPES[self._job.format]

    async def _write(self, send: Send, data: bytes, *, more: bool) -> None:
        limit = self._context.settings.write_timeout
        for begin in range(0, max(len(data), 1), _WRITE_BYTES):
            part = data[begin : begin + _WRITE_BYTES]
            last = not more and begin + _WRITE_BYTES >= len(data)
            if not part and not last:
                continue
            message = {"type": "http.response.body", "body": part, "more_body": not last}
            self._ended = last
            try:
                with TimeLimit(limit):
                    await send(message)
            except TimeLimitExceededError:
                raise SlowReaderError from None

    def _record(self, status: int, reason: str, request_id: str) -> None:
        self._context.metrics.count(self._route, status, reason)
        if 400 <= status < CLIENT_GONE:
            return  # the access log has it, and no more than a few a second
        measured = self._job.measured
        first, factor = measured.first_audio_seconds, measured.real_time_factor
        log.info(
            "speech %s %s format=%s audio=%.2fs queued=%.2fs ttfa=%s rtf=%s total=%.2fs underruns=%d id=%s",
            reason,
            repr(self._job.text) if self._context.settings.log_text else fingerprint(self._job.text),
            self._job.format,
            measured.audio_seconds,
            measured.queued_seconds,
            "-" if first is None else f"{first:.2f}s",
            "-" if factor is None else f"{factor:.2f}",
            time.monotonic() - measured.arrived,
            measured.underruns,
            request_id,
        )


class EventReply(SpeechReply):
    """The same speech as server-sent events, ending with its usage."""

    def __init__(self, context: ServerContext, job: SpeechJob, *, route: str, timestamps: bool) -> None:
        super().__init__(context, job, route=route, whole=False)
        self._timestamps = timestamps
        self._segment = -1

    def _content_type(self) -> str:
        return "text/event-stream"

    def _framed(self, piece: Piece) -> bytes:
        events = b""
        for chunk in piece.chunks if self._timestamps else ():
            if chunk.segment != self._segment:
                self._segment = chunk.segment
                begin, end = chunk.text_span
                events += event(
                    {"type": "speech.audio.segment", "index": chunk.segment, "start": round(chunk.start, 3),
                     "text_start": begin, "text_end": end, "text": self._job.text[begin:end]}
                )  # fmt: skip
        if piece.data:
            audio = base64.b64encode(piece.data).decode("ascii")
            events += event({"type": "speech.audio.delta", "audio": audio})
        return events

    def _trailer(self) -> bytes:
        return event({"type": "speech.audio.done", "usage": usage(self._job)})

    async def _fail(self, error: Exception, send: Send) -> Tuple[int, str]:
        if self._started:
            await self._write(send, event({"type": "speech.audio.error", **error_body(error).json()}), more=False)
        return await super()._fail(error, send)


def event(data: Dict[str, object]) -> bytes:
    """One server-sent event."""
    return b"data: " + dumps(data) + b"\n\n"


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
