"""ChatTTS (conversational Mandarin and English text-to-speech) on ONNX Runtime, without PyTorch.

    tts = ChatTTS.from_pretrained()
    tts.synthesize("你好，世界。Hello, world.").save("hello.wav")

Names are loaded when first used: importing the package costs nothing, and ``chattts --help`` needs no ONNX Runtime.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, List

if TYPE_CHECKING:
    from chattts_onnx.config import EngineConfig as EngineConfig
    from chattts_onnx.engine.sequence import SamplingParams as SamplingParams
    from chattts_onnx.errors import ChatTTSError as ChatTTSError
    from chattts_onnx.speech import Audio as Audio
    from chattts_onnx.speech import AudioChunk as AudioChunk
    from chattts_onnx.speech import SegmentReport as SegmentReport
    from chattts_onnx.speech import SpeechOptions as SpeechOptions
    from chattts_onnx.synthesizer import ChatTTS as ChatTTS
    from chattts_onnx.synthesizer import SpeechStream as SpeechStream
    from chattts_onnx.text.documents import read_document as read_document
    from chattts_onnx.voices import Voice as Voice

__version__ = "0.1.0"

_HOMES = {
    "Audio": "speech",
    "AudioChunk": "speech",
    "ChatTTS": "synthesizer",
    "ChatTTSError": "errors",
    "EngineConfig": "config",
    "SamplingParams": "engine.sequence",
    "SegmentReport": "speech",
    "SpeechOptions": "speech",
    "SpeechStream": "synthesizer",
    "Voice": "voices",
    "read_document": "text.documents",
}

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604 - strings, but a checker cannot see it


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


def __dir__() -> List[str]:
    return [*globals(), *_HOMES]
