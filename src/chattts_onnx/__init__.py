"""ChatTTS (conversational Mandarin and English text-to-speech) on ONNX Runtime, without PyTorch."""

__version__ = "0.1.0"
