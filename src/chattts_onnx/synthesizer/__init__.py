"""The façade: the only room that knows the whole chain from text to sound."""

from chattts_onnx.synthesizer.facade import ChatTTS, SpeechStream

__all__ = ["ChatTTS", "SpeechStream"]
