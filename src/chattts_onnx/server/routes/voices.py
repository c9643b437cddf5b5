"""``/v1/audio/voices``: who can speak, and adding to them by upload.

An upload is either a voice file of this program (JSON) or a short recording with its exact words. Nothing of it ever
becomes a path: a name is checked against a grammar and kept in memory with the voice, and a recording is decoded from
memory by content, up to a length, and then forgotten.
"""

from __future__ import annotations

import asyncio
import io
import time
from typing import Any, Dict, Tuple

import numpy as np
import numpy.typing as npt
import starlette
from fastapi import APIRouter
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from chattts_onnx.errors import MissingExtraError
from chattts_onnx.server.backend import voice_names
from chattts_onnx.server.context import ServerContext
from chattts_onnx.server.error_responses import ErrorBody, RequestError, invalid
from chattts_onnx.server.openapi import COMMON_ERRORS, error_responses
from chattts_onnx.server.schemas import OPENAI_VOICES, checked_voice_name

_SAFE_MULTIPART = (0, 47, 2)
"""Before it, Starlette blocks its event loop while a large part goes to disk (CVE-2025-54121)."""
_MAX_VOICE_FILE = 1 << 16
_ACCEPTED_CONSENT = ("true", "yes", "1", "on")

_UPLOAD_SCHEMA = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["name", "consent", "audio_sample"],
                    "properties": {
                        "name": {"type": "string", "pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
                        "consent": {"type": "string", "enum": ["true"]},
                        "transcript": {"type": "string", "description": "Exactly what is said in the recording."},
                        "audio_sample": {"type": "string", "format": "binary"},
                    },
                }
            }
        },
    }
}


def router(context: ServerContext) -> APIRouter:
    """List, add, remove."""
    routes = APIRouter(tags=["voices"])
    uploaded: Dict[str, float] = {}

    @routes.get("/v1/audio/voices", responses=COMMON_ERRORS)
    async def list_voices() -> Dict[str, Any]:
        """Every voice that may be asked for by name; OpenAI's names come last."""
        names = voice_names(context.require_backend())
        own = [{"id": name, "name": name, "custom": name in uploaded} for name in names]
        aliases = [
            {"id": alias, "name": alias, "custom": False, "alias_of": context.resolve_voice(alias)}
            for alias in OPENAI_VOICES
            if alias not in names
        ]
        return {"object": "list", "voices": own + aliases, "data": own + aliases}

    @routes.post(
        "/v1/audio/voices",
        responses={**COMMON_ERRORS, **error_responses(409, 422, 429, 501)},
        openapi_extra=_UPLOAD_SCHEMA,
    )
    async def add_voice(request: Request) -> Dict[str, Any]:
        """Add a voice, from a recording of at most 30 s with its words, or from a voice file."""
        backend = context.require_backend()
        if _starlette_version() < _SAFE_MULTIPART:
            message = f"uploads need Starlette 0.47.2, and this server has {starlette.__version__}: use Python 3.9 up"
            raise invalid(message, code="uploads_unavailable", status=501)
        if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
            raise invalid("a voice is uploaded as multipart/form-data", status=415)
        async with request.form(max_files=2, max_fields=16) as form:
            name, transcript, data = await _fields(form)
        if name in voice_names(backend) or name in OPENAI_VOICES:
            raise invalid(f"there is already a voice {name!r}: choose another name", "name", "voice_exists", 409)
        if len(uploaded) >= context.settings.max_custom_voices:
            message = f"{len(uploaded)} voices are kept, which is the limit: remove one first"
            raise invalid(message, "name", "too_many_voices", 409)
        uploaded[name] = time.time()
        try:
            # Under the same brake as speech: encoding a recording keeps the cores busy as long.
            async with context.admission.slot(0.0):
                await asyncio.get_running_loop().run_in_executor(None, _store, context, name, transcript, data)
        except BaseException:
            del uploaded[name]
            raise
        return _described(name, uploaded[name])

    @routes.delete("/v1/audio/voices/{name}", responses={**COMMON_ERRORS, **error_responses(404)})
    async def remove_voice(name: str) -> Dict[str, Any]:
        """Remove an uploaded voice; the model's own stay."""
        backend = context.require_backend()
        if name not in uploaded:
            message = f"no uploaded voice has the name {name[:64]!r}: see GET /v1/audio/voices"
            raise invalid(message, "name", "unknown_voice", 404)
        del uploaded[name]
        backend.voices.remove(name)
        return {"id": name, "object": "audio.voice", "deleted": True}

    return routes


async def _fields(form: FormData) -> Tuple[str, str, bytes]:
    """Name, transcript and file of an upload."""
    consent = str(form.get("consent") or "").strip().lower()
    if consent not in _ACCEPTED_CONSENT:
        message = "consent must be 'true': only upload a voice whose owner agreed to it"
        raise invalid(message, "consent", "consent_required")
    try:
        name = checked_voice_name(str(form.get("name") or ""))
    except ValueError as error:
        raise invalid(str(error), "name", "invalid_value") from None
    kind = form.get("type")
    if kind not in (None, "", "audio_sample"):
        raise invalid("type must be audio_sample", "type", "invalid_value")
    sample = form.get("audio_sample") or form.get("file")
    if not isinstance(sample, UploadFile):
        raise invalid("no file was sent as audio_sample", "audio_sample", "missing_required_parameter")
    data = await sample.read()
    return name, str(form.get("transcript") or "").strip()[:2000], data


def _store(context: ServerContext, name: str, transcript: str, data: bytes) -> None:
    backend = context.require_backend()
    if data[:1] == b"{":
        backend.voices.add(_voice_file(name, data), save=False)
        return
    if not transcript:
        message = "cloning needs the exact words of the recording: send them as transcript"
        raise invalid(message, "transcript", "missing_required_parameter")
    waveform, sample_rate = decode(data, context.settings.max_upload_seconds)
    backend.voices.add(backend.clone(name, waveform, sample_rate, transcript), save=False)


def _voice_file(name: str, data: bytes) -> Any:
    from chattts_onnx import Voice

    if len(data) > _MAX_VOICE_FILE:
        raise invalid(f"a voice file has at most {_MAX_VOICE_FILE} bytes", "audio_sample", "invalid_voice")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise invalid("the voice file is not UTF-8", "audio_sample", "invalid_voice") from None
    return Voice.from_json(text).renamed(name)


def decode(data: bytes, max_seconds: float) -> Tuple[npt.NDArray[np.float32], int]:
    """Mono samples and rate of a WAV, FLAC, MP3 or Ogg file, told by its content.

    A few megabytes of FLAC can hold hours of silence; no more than the limit is ever decoded.

    Raises:
        RequestError: not such a file, or too long.
    """
    try:
        import soundfile
    except ImportError:
        raise MissingExtraError("soundfile", "server", "decoding a recording") from None
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if not 8000 <= file.samplerate <= 192_000 or file.channels > 8:
                raise invalid("a recording has 8 to 192 kHz and at most 8 channels", "audio_sample", "invalid_audio")
            limit = int(max_seconds * file.samplerate)
            samples = file.read(frames=limit + 1, dtype="float32", always_2d=True)
            rate = int(file.samplerate)
    except (RuntimeError, TypeError, OSError) as error:
        message = f"the file is no WAV, FLAC, MP3 or Ogg that can be decoded ({type(error).__name__})"
        raise invalid(message, "audio_sample", "invalid_audio") from None
    if len(samples) > limit:
        message = f"the recording is longer than {max_seconds:g} s: send the clearest part of it"
        raise RequestError(ErrorBody(400, message, code="audio_too_long", param="audio_sample"))
    return np.ascontiguousarray(samples.mean(axis=1), dtype=np.float32), rate


def _described(name: str, created: float) -> Dict[str, Any]:
    return {"id": name, "object": "audio.voice", "created_at": int(created), "name": name, "type": "audio_sample"}


def _starlette_version() -> Tuple[int, ...]:
    return tuple(int(part) for part in starlette.__version__.split(".")[:3] if part.isdigit())
