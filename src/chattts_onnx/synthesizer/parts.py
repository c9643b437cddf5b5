"""What a loaded model consists of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from chattts_onnx.audio.vocoder import Vocoder
from chattts_onnx.config import Manifest
from chattts_onnx.engine.worker import EngineWorker
from chattts_onnx.synthesizer.alignment import Aligner
from chattts_onnx.text.tokenizer import Tokenizer
from chattts_onnx.voices import VoiceLibrary


@dataclass(frozen=True)
class Parts:
    """What a narration is played on; shared by all narrations of a model."""

    manifest: Manifest
    tokenizer: Tokenizer
    worker: EngineWorker
    vocoder: Vocoder
    voices: VoiceLibrary
    aligner: Optional[Aligner] = None
    """None: the model cannot tell what it spoke."""
