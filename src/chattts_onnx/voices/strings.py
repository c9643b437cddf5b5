"""The reference implementation's voice strings, read and written.

Two kinds are passed around as plain text and are often mistaken for each other: ``spk_emb`` (a speaker embedding) and
``spk_smp`` (the codes of a recording). Both are base16384 over raw LZMA2; their first character tells them apart, so
the wrong one is named instead of failing inside a decompressor. Decompression is bounded: the dictionary is no larger
than the largest legal output, so a few hostile characters cannot claim memory.
"""

from __future__ import annotations

import lzma
from typing import List, Optional, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.errors import VoiceFormatError
from chattts_onnx.voices.voice import MAX_PROMPT_FRAMES, NUM_CODEBOOKS

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

MAX_EMBEDDING_BYTES = 4 * 1024
MAX_CODES_BYTES = 1024 * 1024
MAX_STRING = 64 * 1024
"""Characters of a string that is looked at at all."""

CODES_HEAD = "\u4f00"
"""First character of every ``spk_smp`` string: the two bytes that state its four rows."""

_FIRST = 0x4E00
_LAST = _FIRST + (1 << 14) - 1
_TAIL = 0x3D00
_CHARACTERS = (0, 1, 2, 2, 3, 3, 4)
"""Characters that hold a remainder of so many bytes."""


def b14_encode(data: bytes) -> str:
    """base16384: 14 bits a character from U+4E00, seven bytes in four; a last character states the remainder."""
    remainder = len(data) % 7
    padded = data + bytes((7 - remainder) % 7)
    characters: List[str] = []
    for start in range(0, len(padded), 7):
        group = int.from_bytes(padded[start : start + 7], "big")
        characters.extend(chr(_FIRST + (group >> shift & 0x3FFF)) for shift in (42, 28, 14, 0))
    if remainder:
        del characters[len(characters) - 4 + _CHARACTERS[remainder] :]
        characters.append(chr(_TAIL + remainder))
    return "".join(characters)


def b14_decode(text: str) -> bytes:
    """The inverse of `b14_encode`.

    Raises:
        VoiceFormatError: a character or the length is not of base16384.
    """
    remainder = 0
    if text and _TAIL < ord(text[-1]) <= _TAIL + 6:
        remainder = ord(text[-1]) - _TAIL
        text = text[:-1]
    values = [ord(character) - _FIRST for character in text]
    if any(not 0 <= value <= _LAST - _FIRST for value in values):
        raise VoiceFormatError(
            "the voice string has characters that none has: copy it again without changes, or give a file of a known "
            "format (.json, .pt, .csv, .txt or .spkv1.json)"
        )
    if len(text) % 4 != _CHARACTERS[remainder] % 4 or (remainder and not text):
        raise VoiceFormatError("the voice string has the wrong length: copy all of it, to the last character")
    values.extend([0] * (-len(values) % 4))
    groups = (
        (values[index] << 42 | values[index + 1] << 28 | values[index + 2] << 14 | values[index + 3]).to_bytes(7, "big")
        for index in range(0, len(values), 4)
    )
    data = b"".join(groups)
    return data[: len(data) - 7 + remainder] if remainder else data


def looks_like_voice_string(text: str) -> bool:
    """Whether ``text`` could be a string of either kind: long, and nothing but base16384."""
    head = text[:64]
    return len(text) >= 20 and all(_FIRST <= ord(character) <= _LAST for character in head[:-1])


def is_codes_string(text: str) -> bool:
    """Whether a voice string is of the kind ``spk_smp``."""
    return text.startswith(CODES_HEAD)


def embedding_to_string(embedding: FloatArray) -> str:
    """A ``spk_emb`` string: float16, raw LZMA2, base16384. It keeps 11 bits of each number."""
    return b14_encode(_compressed(embedding.astype("<f2").tobytes()))


def embedding_from_string(text: str) -> FloatArray:
    """The speaker embedding float32 [H] in a ``spk_emb`` string.

    Raises:
        VoiceFormatError: it is a string of the other kind, incomplete or damaged.
    """
    text = _cleaned(text)
    if is_codes_string(text):
        raise VoiceFormatError(
            "this is a spk_smp string (the codes of a recording), not a spk_emb: import it with the words of the "
            'recording, `chattts voices add NAME FILE --text "..."`'
        )
    data = _decompressed(b14_decode(text), MAX_EMBEDDING_BYTES)
    if len(data) % 2 or not data:
        raise VoiceFormatError("the voice string does not hold an embedding: copy all of it again")
    return np.frombuffer(data, "<f2").astype(np.float32)


def codes_to_string(codes: IntArray) -> str:
    """A ``spk_smp`` string of codes [T, Q]: rows, columns, raw LZMA2 of uint16 [Q, T], base16384."""
    table = np.ascontiguousarray(codes.T).astype("<u2")
    header = np.array(table.shape, "<u2").tobytes()
    return b14_encode(header + _compressed(table.tobytes()))


def codes_from_string(text: str, *, code_limit: Optional[int] = None) -> IntArray:
    """The codes int64 [T, 4] in a ``spk_smp`` string.

    Args:
        text: The string.
        code_limit: Codes must be below this, where the model is known.

    Raises:
        VoiceFormatError: it is a string of the other kind, incomplete or damaged.
    """
    text = _cleaned(text)
    if not is_codes_string(text):
        raise VoiceFormatError(
            "this is not a spk_smp string (those start with 伀): a spk_emb string is a voice by itself, without words"
        )
    raw = b14_decode(text)
    rows, columns = (int(value) for value in np.frombuffer(raw[:4], "<u2"))
    if rows != NUM_CODEBOOKS or not 0 < columns <= MAX_PROMPT_FRAMES:
        raise VoiceFormatError(f"the voice string states {rows} x {columns} codes: it is damaged or longer than 30 s")
    data = _decompressed(raw[4:], MAX_CODES_BYTES)
    if len(data) != 2 * rows * columns:
        raise VoiceFormatError("the voice string has fewer or more codes than it states: copy all of it again")
    codes = np.frombuffer(data, "<u2").reshape(rows, columns).T.astype(np.int64)
    if code_limit is not None and int(codes.max()) >= code_limit:
        raise VoiceFormatError(f"the voice string has codes of {code_limit} and above: it is of another model")
    return np.ascontiguousarray(codes)


def statistics_from_string(text: str) -> Tuple[FloatArray, FloatArray]:
    """Mean and std, float32 [H] each, of a voice space in the reference's ``spk_stat`` string (std comes first)."""
    values = np.frombuffer(b14_decode(_cleaned(text)), "<f2").astype(np.float32)
    if len(values) == 0 or len(values) % 2 or not np.isfinite(values).all():
        raise VoiceFormatError("the statistics string is incomplete: copy all of it again")
    half = len(values) // 2
    return values[half:], values[:half]


def _cleaned(text: str) -> str:
    if len(text) > MAX_STRING:
        raise VoiceFormatError(f"the voice string is longer than {MAX_STRING} characters: it is none")
    return "".join(text.split())


def _compressed(data: bytes) -> bytes:
    # The reference's preset with a smaller dictionary: the bytes are the same, 64 MiB need not be claimed.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": MAX_CODES_BYTES}]
    return lzma.compress(data, lzma.FORMAT_RAW, filters=filters)


def _decompressed(data: bytes, limit: int) -> bytes:
    # Matches reach no further back than what was written, so a dictionary of the output's limit is always enough.
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": max(limit, 4096)}]
    try:
        decompressor = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=filters)
        result = decompressor.decompress(data, limit + 1)
    except lzma.LZMAError:
        raise VoiceFormatError("the voice string is damaged: copy all of it again") from None
    if len(result) > limit or not decompressor.eof:
        raise VoiceFormatError("the voice string is incomplete or too large: copy all of it again")
    return result
