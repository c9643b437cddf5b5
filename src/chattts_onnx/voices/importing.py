"""Voice files of every community, to a `Voice`: told apart by their content, never executed.

Users have thousands of voices in half a dozen formats, none of them named reliably (a ``.pt`` may hold a tensor or a
pickled string). So the content decides, the suffix only settles what content cannot: a number is a seed in no file.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import Any, Dict, List, Optional, Union

import numpy as np
import numpy.typing as npt

from chattts_onnx.errors import VoiceFormatError
from chattts_onnx.voices.strings import codes_from_string, embedding_from_string, is_codes_string
from chattts_onnx.voices.torch_file import MAX_FILE_BYTES, read_torch_file
from chattts_onnx.voices.voice import FORMAT, MAX_WIDTH, Voice, clone, is_voice_name

FloatArray = npt.NDArray[np.float32]

_MAX_TEXT_BYTES = 1024 * 1024


def read_voice_file(path: Path, *, name: Optional[str] = None, transcript: str = "") -> Voice:
    """Read a voice file; see `read_voice`. The path must come from somebody who may read any file.

    Raises:
        VoiceFormatError: no such file, too large, damaged or of no known format.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VoiceFormatError(f"the voice file {path} cannot be read ({reason}): check its name") from None
    return read_voice(data, name=name or name_from(path.name), transcript=transcript, origin=path.name)


def read_voice(data: bytes, *, name: str, transcript: str = "", origin: str = "") -> Voice:
    """Read a voice of any known format from bytes.

    Known: this project's JSON; ``.pt`` of PyTorch with a float tensor [H] or [1, H], or with a voice string; ``.csv``
    with one number a line; text with a ``spk_emb`` or ``spk_smp`` string; Speech-AI-Forge's ``.spkv1.json``.

    Args:
        data: The content of the file.
        name: What the voice is to be called.
        transcript: What is said in the recording, for a ``spk_smp`` string.
        origin: The file's name, for the record.

    Raises:
        VoiceFormatError: too large, damaged, hostile or of no known format.
    """
    if len(data) > MAX_FILE_BYTES:
        raise VoiceFormatError(f"the voice file is larger than {MAX_FILE_BYTES >> 20} MiB: it is no voice")
    provenance = f"imported from {origin}" if origin else "imported"
    if data[:4] == b"PK\x03\x04":
        content = read_torch_file(data)
        if isinstance(content, str):
            return _from_string(content, name, transcript, provenance)
        return Voice(name, content.reshape(-1) if content.ndim <= 2 else content, provenance=provenance)
    if data[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04"):
        raise VoiceFormatError(
            "this .pt file is of PyTorch before 1.6: open and save it with a newer PyTorch, or export it as .csv"
        )
    if len(data) > _MAX_TEXT_BYTES:
        raise VoiceFormatError("the voice file is larger than any voice: it is none")
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        raise VoiceFormatError(
            "the voice file is of no known format: use .json, .pt, .csv, .txt or .spkv1.json"
        ) from None
    if text.startswith("{"):
        return _from_json(text, name, provenance)
    numbers = _numbers(text)
    if numbers is not None:
        return Voice(name, numbers, provenance=provenance)
    return _from_string(text, name, transcript, provenance)


def name_from(file_name: str) -> str:
    """A voice name made from a file name."""
    stem = file_name.split(".", 1)[0].lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")[:64]
    if name.isdigit():
        name = f"voice-{name}"
    return name if is_voice_name(name) else "voice"


def to_csv(voice: Voice) -> str:
    """The embedding as ChatTTS-ui's CSV: one number a line.

    Raises:
        VoiceFormatError: the voice is only a recording.
    """
    if voice.embedding is None:
        raise VoiceFormatError(f"the voice {voice.name!r} has no embedding to export: export it as JSON")
    return "".join(f"{float(value)!r}\n" for value in voice.embedding)


def _from_string(text: str, name: str, transcript: str, provenance: str) -> Voice:
    text = text.strip().strip("\"'")
    if is_codes_string(text):
        codes = codes_from_string(text)
        if not transcript.strip():
            raise VoiceFormatError(
                "this is a spk_smp string, the codes of a recording: it also needs the words of that recording (--text)"
            )
        return clone(name, codes, transcript, provenance=provenance)
    return Voice(name, embedding_from_string(text), provenance=provenance)


def _numbers(text: str) -> Optional[FloatArray]:
    """The numbers of a CSV, None if it is something else."""
    fields = re.split(r"[\s,;]+", text, maxsplit=MAX_WIDTH + 1)
    if not 2 <= len(fields) <= MAX_WIDTH:
        return None
    try:
        return np.array([float(field) for field in fields if field], np.float32)
    except ValueError:
        return None


def _from_json(text: str, name: str, provenance: str) -> Voice:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise VoiceFormatError("the voice file is damaged (it begins as JSON and is none): export it again") from None
    if not isinstance(data, dict):
        raise VoiceFormatError("the voice file is not a JSON object: export it again")
    if data.get("format") == FORMAT:
        voice = Voice.from_dict(data)
        return voice.renamed(name)
    if isinstance(data.get("token"), list):
        return _from_forge(data, name, provenance)
    raise VoiceFormatError("this JSON is neither a voice of this project nor a .spkv1.json: import another file")


def _from_forge(data: Dict[str, Any], name: str, provenance: str) -> Voice:
    """Speech-AI-Forge: ``token[].tokens[].data`` is base64 of little-endian float32."""
    found: List[str] = []
    for token in data["token"]:
        if isinstance(token, dict) and token.get("model_id", "chat-tts") == "chat-tts":
            entries: Union[Any, List[Any]] = token.get("tokens", [])
            for entry in entries if isinstance(entries, list) else []:
                data_field = entry.get("data") if isinstance(entry, dict) else None
                found.extend([data_field] if isinstance(data_field, str) else [])
    if len(found) != 1:
        raise VoiceFormatError(
            f"the .spkv1.json holds {len(found)} ChatTTS speakers instead of one: it is for another model"
        )
    try:
        raw = base64.b64decode(found[0], validate=True)
    except (binascii.Error, ValueError):
        raise VoiceFormatError("the numbers in the .spkv1.json are not base64: download it again") from None
    if len(raw) % 4 or not 0 < len(raw) <= 4 * MAX_WIDTH:
        raise VoiceFormatError(f"the .spkv1.json has {len(raw)} bytes of numbers: download it again")
    meta = data.get("meta")
    meta = meta if isinstance(meta, dict) else {}
    author = meta.get("author")
    if isinstance(author, str) and author:
        provenance += f", by {author[:200]}"
    licence = meta.get("license") or meta.get("licence") or ""
    return Voice(
        name,
        np.frombuffer(raw, "<f4").astype(np.float32),
        licence=licence[:200] if isinstance(licence, str) else "",
        provenance=provenance,
    )
