"""What lies beside the tensors of a checkpoint: its description, tokenizer and voice statistics."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping, Tuple

import numpy as np

from chattts_onnx.config import GPTConfig
from chattts_onnx.convert.checkpoint import read_json
from chattts_onnx.errors import CheckpointError

SPEAKER_TOKEN = "[spk_emb]"  # noqa: S105 - a token of a vocabulary
PUBLISHED: Mapping[str, Any] = {
    "name": "chattts",
    "sample_rate": 24000,
    "hop_length": 256,
    "front_end": "bert",
    "licence": "CC BY-NC 4.0",
    "source": "https://huggingface.co/2Noise/ChatTTS",
    "refines": True,
    "aligns": False,
    "segment_seconds": 12.0,
    "clause_slack": 1.0,
    "context_seconds": 24.0,
    "continuity": "carry",
}
"""What a checkpoint without ``asset/model.json`` is."""
_OPTIONAL = ("n_fft", "voice_statistics", "default_voice", "phase_rounds")
_MOST_PHASE_ROUNDS = 32


def find_assets(source: Path) -> Path:
    """The directory with the published files: ``source/asset``, or ``source`` itself.

    Raises:
        CheckpointError: neither is one.
    """
    for candidate in (source / "asset", source):
        if (candidate / "gpt").is_dir() or (candidate / "Embed.safetensors").is_file():
            return candidate
    raise CheckpointError(
        f"{source} holds no checkpoint (no asset/Embed.safetensors, no asset/gpt/): "
        "give the directory of the published files, or fetch them with `chattts pull`"
    )


def read_description(assets: Path) -> Mapping[str, Any]:
    """``asset/model.json`` over the published values; ``published`` is in it where there is no such file.

    Raises:
        CheckpointError: a value cannot be used.
    """
    path = assets / "model.json"
    if not path.is_file():
        return {**PUBLISHED, "published": True}
    data = read_json(path)
    model = {**PUBLISHED, **{key: data[key] for key in (*PUBLISHED, *_OPTIONAL) if data.get(key) is not None}}
    for key in ("sample_rate", "hop_length", "n_fft"):
        value = model.get(key, 1)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise CheckpointError(f"{path}: {key} is {value!r} where a positive number belongs: correct it")
    rounds = model.get("phase_rounds", 0)
    if isinstance(rounds, bool) or not isinstance(rounds, int) or not 0 <= rounds <= _MOST_PHASE_ROUNDS:
        raise CheckpointError(
            f"{path}: phase_rounds is {rounds!r} where a number from 0 to {_MOST_PHASE_ROUNDS} belongs: correct it"
        )
    if model["front_end"] not in {"bert", "phonemes"}:
        raise CheckpointError(f"{path}: front_end is {model['front_end']!r} where bert or phonemes belongs: correct it")
    if model["continuity"] not in {"carry", "anchor", "none"}:
        raise CheckpointError(f"{path}: continuity is {model['continuity']!r}, not carry, anchor or none: correct it")
    return model


def find_tokenizer(assets: Path) -> Path:
    """The tokenizer's file.

    Raises:
        CheckpointError: there is none.
    """
    for path in (assets / "tokenizer" / "tokenizer.json", assets / "tokenizer.json"):
        if path.is_file():
            return path
    raise CheckpointError(f"{assets / 'tokenizer' / 'tokenizer.json'} is missing: download it again")


def find_speaker_token(path: Path, config: GPTConfig) -> int:
    """The id of the speaker token, after checking that every id has an embedding.

    Raises:
        CheckpointError: there is no such token, or the vocabulary is larger than the embedding table.
    """
    data = read_json(path)
    try:
        if data.get("kind") == "phonemes":
            vocabulary = dict(data["vocab"])
        else:
            vocabulary = {**data["model"]["vocab"], **{token["content"]: token["id"] for token in data["added_tokens"]}}
        largest = max(int(number) for number in vocabulary.values())
        speaker_id = int(vocabulary[SPEAKER_TOKEN])
    except KeyError as error:
        raise CheckpointError(f"{path} has no {error}: it is not the tokenizer of a ChatTTS model") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be used ({error}): download it again") from None
    if largest >= config.text_vocab_size:
        raise CheckpointError(
            f"{path} has ids up to {largest} and emb_text.weight has {config.text_vocab_size} rows: "
            "the tokenizer is of another model"
        )
    return speaker_id


def decode_statistics(text: str, hidden_size: int) -> Tuple[Any, Any]:
    """Mean and std [H] from the reference's string: base16384 of float16 std, then mean (facts A13)."""
    bits = []
    tail = 0
    for character in text:
        code = ord(character)
        if 0x3D00 < code < 0x3D07:
            tail = code - 0x3D00
        elif 0x4E00 <= code < 0x8E00:
            bits.append(f"{code - 0x4E00:014b}")
        else:
            raise CheckpointError(
                f"voice_statistics in model.json has the character {character!r}: it is not base16384"
            )
    joined = "".join(bits)
    size = (
        len(joined) // 56 * 7 if not tail else (len(bits) - {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4}[tail]) // 4 * 7 + tail
    )
    values = np.frombuffer(int(joined[: 8 * size] or "0", 2).to_bytes(size, "big"), dtype=np.float16)
    if values.size != 2 * hidden_size or not np.all(np.isfinite(values)):
        raise CheckpointError(
            f"voice_statistics in model.json holds {values.size} numbers where {2 * hidden_size} belong: "
            "it is of another model"
        )
    return values[hidden_size:], values[:hidden_size]
