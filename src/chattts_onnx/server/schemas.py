"""Requests as JSON, checked before anything is done: the OpenAI contract, and the fields its clients ignore.

Limits that an operator sets (the length of a text) are checked by the route; what the model itself cannot do is
checked here, so that the OpenAPI document states it.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Literal, Optional, Union

from pydantic import BaseModel, ConfigDict, Field, field_validator

from chattts_onnx.audio.formats import FORMATS
from chattts_onnx.server.style import style_of

MEDIA_TYPES: Dict[str, str] = {name: entry.media_type for name, entry in FORMATS.items()}
OPENAI_VOICES = (
    "alloy", "ash", "ballad", "coral", "echo", "fable", "onyx", "nova", "sage", "shimmer", "verse", "marin", "cedar",
)  # fmt: skip
OPENAI_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")

_NAME = r"[a-z0-9][a-z0-9_-]{0,63}"
_WEIGHT = r"(?::[0-9]{1,3}(?:\.[0-9]{1,4})?)?"
_VOICE = re.compile(rf"{_NAME}{_WEIGHT}(?:\+{_NAME}{_WEIGHT}){{0,7}}", re.ASCII)
_MAX_INPUT = 100_000

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]


class VoiceReference(BaseModel):
    """A voice by its id, as OpenAI's newer clients send it."""

    model_config = ConfigDict(strict=True)

    id: str = Field(min_length=1, max_length=512)


class SpeechFields(BaseModel):
    """How to speak; shared by the speech route, ``/tts`` and the WebSocket."""

    model_config = ConfigDict(strict=True, extra="ignore")

    model: Optional[str] = Field(None, max_length=128, description="Any of GET /v1/models; none: the loaded one.")
    voice: Union[str, VoiceReference, None] = Field(
        None, description="A name of GET /v1/audio/voices, a number as seed, or a mix such as a:0.7+b:0.3."
    )
    instructions: Optional[str] = Field(None, max_length=4096, description="Style in plain words; see docs.")
    response_format: Format = "mp3"
    speed: float = Field(1.0, ge=0.25, le=4.0)
    seed: Optional[int] = Field(None, ge=0, lt=2**63)
    temperature: Optional[float] = Field(None, gt=0, le=2.0)
    top_p: Optional[float] = Field(None, gt=0, le=1.0)
    top_k: Optional[int] = Field(None, ge=1, le=1000)
    refine: Optional[bool] = None
    oral: Optional[int] = Field(None, ge=0, le=9)
    laugh: Optional[int] = Field(None, ge=0, le=2)
    break_: Optional[int] = Field(None, ge=0, le=7, alias="break")
    speed_tag: Optional[int] = Field(None, ge=0, le=9)
    sample_rate: Optional[Literal[8000, 11025, 16000, 22050, 24000, 32000, 44100, 48000]] = None
    lang: Optional[Literal["zh", "en"]] = None
    normalize: bool = True
    continuity: Optional[Literal["carry", "anchor", "none"]] = None
    max_attempts: Optional[int] = Field(None, ge=1, le=10, description="Draws of a segment that comes out wrong.")

    @field_validator("voice")
    @classmethod
    def _voice_is_no_path(cls, voice: Union[str, VoiceReference, None]) -> Optional[str]:
        if voice is None:
            return None
        return checked_voice(voice if isinstance(voice, str) else voice.id)

    def options(self) -> Dict[str, Any]:
        """Keywords of the façade; what was not asked for is left to its defaults."""
        chosen: Dict[str, Any] = style_of(self.instructions) if self.instructions else {}
        pairs = (
            ("seed", self.seed), ("temperature", self.temperature), ("top_P", self.top_p), ("top_K", self.top_k),
            ("refine", self.refine), ("oral", self.oral), ("laugh", self.laugh), ("break_", self.break_),
            ("speed_tag", self.speed_tag), ("sample_rate", self.sample_rate), ("language", self.lang),
            ("continuity", self.continuity), ("max_attempts", self.max_attempts),
        )  # fmt: skip
        chosen.update({name: value for name, value in pairs if value is not None})
        if self.speed != 1.0:
            chosen["speed"] = self.speed
        if not self.normalize:
            chosen["normalize"] = False
        return chosen


class SpeechRequest(SpeechFields):
    """Body of ``POST /v1/audio/speech``."""

    input: str = Field(min_length=1, max_length=_MAX_INPUT, description="The text to speak.")
    stream_format: Literal["audio", "sse"] = "audio"
    stream: Optional[bool] = Field(None, description="Send as it is made; none: always, but for short WAV and FLAC.")
    timestamps: Optional[Literal["segment"]] = Field(
        None, description="With stream_format sse: an event for each segment of the text as its sound begins."
    )


def checked_voice(spec: str) -> str:
    """A voice as the façade takes it, lower case; nothing that could be read as a path gets through.

    Raises:
        ValueError: not a name, a seed or a mix of those.
    """
    lowered = spec.strip().lower()
    if not _VOICE.fullmatch(lowered):
        raise ValueError("a voice is a name of GET /v1/audio/voices, a number as seed, or a mix such as a:0.7+b:0.3")
    return lowered


def checked_voice_name(name: str) -> str:
    """The id of a voice to be stored.

    Raises:
        ValueError: not lower-case letters, digits, ``_`` and ``-``.
    """
    if not re.fullmatch(_NAME, name, re.ASCII) or name.isdigit():
        raise ValueError("a voice name is 1 to 64 lower-case letters, digits, '_' or '-', and not only digits")
    return name
