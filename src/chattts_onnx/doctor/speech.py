"""The proof of the pudding: the model's files are what was converted, and it speaks."""

from __future__ import annotations

import time
from typing import Optional, Sequence

from chattts_onnx.config import Manifest
from chattts_onnx.doctor.finding import Finding
from chattts_onnx.errors import ChatTTSError
from chattts_onnx.hub.resolve import resolve_model

_TEXT = "你好。Hello."
_SILENCE = 1e-4


def check_model(model: Optional[str], precision: Optional[str]) -> Sequence[Finding]:
    """Every file of the model against its size and sha256."""
    try:
        resolved = resolve_model(model, precision)
        manifest = Manifest.load(resolved.path)
        manifest.verify(resolved.path)
    except ChatTTSError as error:
        return [_broken("model", error)]
    size = sum(entry.size for entry in manifest.files.values()) / 1e6
    return [Finding("ok", "model", f"{resolved.description}, {len(manifest.files)} files, {size:.0f} MB, unchanged")]


def check_speech(
    model: Optional[str], precision: Optional[str], device: str, threads: Optional[int]
) -> Sequence[Finding]:
    """Load the model and speak a few words."""
    from chattts_onnx import ChatTTS

    begin = time.perf_counter()
    try:
        with ChatTTS.from_pretrained(model, precision=precision, device=device, threads=threads) as tts:
            loaded = time.perf_counter() - begin
            audio = tts.synthesize(_TEXT, seed=1)
    except ChatTTSError as error:
        return [_broken("speech", error)]
    loudest = float(abs(audio.samples).max()) if len(audio.samples) else 0.0
    if not loudest > _SILENCE:
        return [Finding("fix", "speech", "the model made no sound", "convert or pull it again, or try --device cpu")]
    detail = (
        f"loaded in {loaded:.1f} s, {audio.duration:.1f} s of speech in {audio.wall_seconds:.1f} s "
        f"(real-time factor {audio.real_time_factor:.2f})"
    )
    if audio.real_time_factor > 1:
        return [Finding("note", "speech", detail, "slower than real time: try --precision int8 or int4, or mini")]
    return [Finding("ok", "speech", detail)]


def _broken(what: str, error: ChatTTSError) -> Finding:
    problem, _, remedy = str(error).rpartition(": ")
    return Finding("fix", what, problem or str(error), remedy if problem else "")
