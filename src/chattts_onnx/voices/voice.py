"""A voice as a frozen value, its own file format, mixing, and what turns a recording into one.

A voice is numbers and where they came from, never a torch seed: the same seed gives other numbers on another device,
which is the complaint users of the reference make most. The file is JSON, so that it can be read, diffed and carried by
hand, with the arrays as base64 of little-endian numbers, so that they come back bit for bit.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.errors import InputError, VoiceFormatError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

FORMAT = "chattts-onnx.voice"
VERSION = 1
MAX_FILE_BYTES = 256 * 1024
MAX_WIDTH = 8192
MAX_PROMPT_FRAMES = 1536
"""Code frames of a cloned voice: 30 s of the published model are 1407."""
NUM_CODEBOOKS = 4
MAX_CODE = 65535
MAX_TEXT = 2000

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}\Z")


def is_voice_name(name: str) -> bool:
    """Whether ``name`` may name a voice: ``[a-z0-9][a-z0-9_-]{0,63}``, which no path, flag or mix can be."""
    return _NAME.match(name) is not None


@dataclass(frozen=True, eq=False)
class Voice:
    """Who speaks."""

    name: str
    embedding: Optional[FloatArray] = None
    """Speaker vector, float32 [H]; the graph normalises its length."""
    prompt_codes: Optional[IntArray] = None
    """Codes of a recording, int64 [T, 4], for a cloned voice."""
    prompt_text: str = ""
    """What is said in that recording."""
    language: Tuple[str, ...] = ()
    """Languages it speaks well, ``zh`` and ``en``; empty: not known."""
    licence: str = ""
    provenance: str = ""
    """Where the numbers come from, in words."""

    def __post_init__(self) -> None:
        if self.embedding is None and self.prompt_codes is None:
            raise VoiceFormatError(
                f"the voice {self.name!r} has neither an embedding nor prompt codes: it says nothing"
            )
        if self.embedding is not None:
            object.__setattr__(self, "embedding", _checked_embedding(self.embedding))
        if self.prompt_codes is not None:
            object.__setattr__(self, "prompt_codes", _checked_codes(self.prompt_codes))
        object.__setattr__(self, "language", tuple(self.language))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Voice):
            return NotImplemented
        return self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash((self.name, None if self.embedding is None else self.embedding.tobytes()))

    @property
    def width(self) -> Optional[int]:
        """Numbers in the embedding, None without one."""
        return None if self.embedding is None else len(self.embedding)

    @property
    def is_cloned(self) -> bool:
        """Whether it carries a recording's codes."""
        return self.prompt_codes is not None

    def renamed(self, name: str) -> Voice:
        """The same voice by another name."""
        return replace(self, name=name)

    def to_dict(self) -> Dict[str, Any]:
        """The voice as a JSON object."""
        data: Dict[str, Any] = {"format": FORMAT, "version": VERSION, "name": self.name}
        if self.language:
            data["language"] = list(self.language)
        if self.embedding is not None:
            data["embedding"] = _base64(self.embedding.astype("<f4"))
        if self.prompt_codes is not None:
            codes = self.prompt_codes.astype("<u2")
            data["prompt_codes"] = {"shape": list(codes.shape), "data": _base64(codes)}
            data["prompt_text"] = self.prompt_text
        data["licence"] = self.licence
        data["provenance"] = self.provenance
        return data

    def to_json(self) -> str:
        """The content of a voice file."""
        return json.dumps(self.to_dict(), ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Voice:
        """Read a voice's JSON object.

        Raises:
            VoiceFormatError: it is not one, is of a later version, or its numbers are damaged.
        """
        if data.get("format") != FORMAT:
            raise VoiceFormatError(f"this JSON is not a voice (its format is not {FORMAT!r}): import another file")
        if data.get("version") != VERSION:
            raise VoiceFormatError(
                f"voice file of version {data.get('version')!r}, this program reads {VERSION}: update it"
            )
        name = _string(data, "name")
        if not is_voice_name(name):
            raise VoiceFormatError(f"{name[:70]!r} cannot name a voice: use a-z, 0-9, - and _, at most 64 characters")
        languages = data.get("language", [])
        if isinstance(languages, str):
            languages = [languages]
        if not isinstance(languages, list) or not all(isinstance(item, str) and len(item) <= 16 for item in languages):
            raise VoiceFormatError("the voice's language is not a list of codes such as ['zh', 'en']: correct the file")
        embedding: Optional[FloatArray] = None
        if data.get("embedding") is not None:
            embedding = np.frombuffer(_decoded(data["embedding"], 4, MAX_WIDTH), "<f4").astype(np.float32)
        codes: Optional[IntArray] = None
        if data.get("prompt_codes") is not None:
            codes = _codes_from(data["prompt_codes"])
        return cls(
            name=name,
            embedding=embedding,
            prompt_codes=codes,
            prompt_text=_string(data, "prompt_text"),
            language=tuple(languages),
            licence=_string(data, "licence"),
            provenance=_string(data, "provenance"),
        )

    @classmethod
    def from_json(cls, text: str) -> Voice:
        """Read the content of a voice file.

        Raises:
            VoiceFormatError: as `from_dict`; or longer than 256 KiB.
        """
        if len(text) > MAX_FILE_BYTES:
            raise VoiceFormatError(f"the voice file is larger than {MAX_FILE_BYTES // 1024} KiB: it is not a voice")
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            raise VoiceFormatError("the voice file is not JSON: export it again") from None
        if not isinstance(data, dict):
            raise VoiceFormatError("the voice file is not a JSON object: export it again")
        return cls.from_dict(data)


def mix(parts: Sequence[Tuple[Voice, float]], name: str = "mix") -> Voice:
    """A voice between voices: the weighted mean of their directions, at their mean length.

    Directions, because the model normalises the vector: a voice with a longer one would otherwise count for more.

    Raises:
        InputError: no positive weight, fewer than one voice, or voices of different models.
        VoiceFormatError: a voice has no embedding (a clone is a recording: it cannot be mixed).
    """
    if not parts:
        raise InputError("nothing to mix: name at least one voice, such as a:0.7+b:0.3")
    weights = np.array([weight for _, weight in parts], np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any() or weights.sum() <= 0:
        raise InputError("the weights of a mix must not be negative, and one must be more than 0: a:0.7+b:0.3")
    weights /= weights.sum()
    vectors: List[npt.NDArray[np.float64]] = []
    for voice, _ in parts:
        if voice.embedding is None:
            raise VoiceFormatError(
                f"the voice {voice.name!r} is only a recording and cannot be mixed: use one with an embedding"
            )
        if len(voice.embedding) != len(parts[0][0].embedding if parts[0][0].embedding is not None else ()):
            raise InputError(
                f"the voice {voice.name!r} is of another model than {parts[0][0].name!r}: mix voices of one"
            )
        vectors.append(voice.embedding.astype(np.float64))
    lengths = np.array([max(float(np.linalg.norm(vector)), 1e-12) for vector in vectors])
    direction = sum(weight * vector / length for weight, vector, length in zip(weights, vectors, lengths))
    norm = float(np.linalg.norm(direction))
    if norm < 1e-6:
        raise InputError("these voices cancel each other out: use other weights")
    blended = np.asarray(direction / norm * float(weights @ lengths), np.float32)
    recipe = " + ".join(f"{weight:.3g} {voice.name}" for (voice, _), weight in zip(parts, weights))
    shared = [set(voice.language) for voice, _ in parts]
    licences = sorted({voice.licence for voice, _ in parts if voice.licence})
    return Voice(
        name=name,
        embedding=blended,
        language=tuple(sorted(set.intersection(*shared))),
        licence="; ".join(licences),
        provenance=f"mix: {recipe}",
    )


def clone(
    name: str,
    codes: npt.ArrayLike,
    transcript: str,
    *,
    embedding: Optional[npt.ArrayLike] = None,
    language: Sequence[str] = (),
    licence: str = "",
    provenance: str = "cloned from a recording",
) -> Voice:
    """A voice from a recording's codes (`audio.PromptEncoder`) and what is said in it.

    Raises:
        InputError: no transcript, or a name that cannot be one.
        VoiceFormatError: the codes are not [T, 4], or longer than 30 s.
    """
    if not is_voice_name(name):
        raise InputError(f"{name[:70]!r} cannot name a voice: use a-z, 0-9, - and _, at most 64 characters")
    text = " ".join(transcript.split())
    if not text:
        raise InputError("cloning needs the exact words of the recording: give them with --text")
    if len(text) > MAX_TEXT:
        raise InputError(
            f"the transcript has {len(text)} characters for at most 30 s of speech: give only what is said"
        )
    vector = None if embedding is None else np.asarray(embedding, np.float32)
    return Voice(name, vector, np.asarray(codes), text, tuple(language), licence, provenance)


def _checked_embedding(values: npt.ArrayLike) -> FloatArray:
    vector = np.array(values, np.float32)
    if vector.ndim == 2 and vector.shape[0] == 1:
        vector = vector[0]
    if vector.ndim != 1 or not 0 < len(vector) <= MAX_WIDTH:
        raise VoiceFormatError(
            f"a speaker embedding of shape {vector.shape} is not a vector: use one of the model's width"
        )
    if not np.isfinite(vector).all() or not vector.any():
        raise VoiceFormatError(
            "the speaker embedding has values that are not numbers, or is all zero: the file is damaged"
        )
    vector.setflags(write=False)
    return vector


def _checked_codes(values: npt.ArrayLike) -> IntArray:
    codes = np.array(values)
    if codes.ndim != 2 or codes.shape[1] != NUM_CODEBOOKS or len(codes) == 0:
        raise VoiceFormatError(f"prompt codes of shape {codes.shape}: they must be [frames, {NUM_CODEBOOKS}]")
    if len(codes) > MAX_PROMPT_FRAMES:
        raise VoiceFormatError(
            f"prompt codes of {len(codes)} frames: at most {MAX_PROMPT_FRAMES} (30 s), use a shorter sample"
        )
    if not np.issubdtype(codes.dtype, np.integer) or codes.min() < 0 or codes.max() > MAX_CODE:
        raise VoiceFormatError("the prompt codes are not small whole numbers: the file is damaged")
    result = codes.astype(np.int64)
    result.setflags(write=False)
    return result


def _base64(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _decoded(text: Any, item_size: int, max_items: int) -> bytes:
    if not isinstance(text, str) or len(text) > 4 * max_items * item_size:
        raise VoiceFormatError("an array of the voice file is missing or too large: export it again")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise VoiceFormatError("an array of the voice file is not base64: export it again") from None
    if len(data) % item_size or not 0 < len(data) <= max_items * item_size:
        raise VoiceFormatError(f"an array of the voice file has {len(data)} bytes: export it again")
    return data


def _codes_from(entry: Any) -> IntArray:
    if not isinstance(entry, dict):
        raise VoiceFormatError("the voice's prompt_codes are not an object with shape and data: export it again")
    data = _decoded(entry.get("data"), 2, MAX_PROMPT_FRAMES * NUM_CODEBOOKS)
    codes = np.frombuffer(data, "<u2").astype(np.int64)
    shape = entry.get("shape")
    if shape != [len(codes) // NUM_CODEBOOKS, NUM_CODEBOOKS]:
        raise VoiceFormatError(
            f"the voice's prompt_codes have the shape {shape!r}, which their data have not: export it again"
        )
    return codes.reshape(-1, NUM_CODEBOOKS)


def _string(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key, "")
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise VoiceFormatError(f"the voice's {key} is not a short text: correct the file")
    return value
