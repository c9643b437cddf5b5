"""Who speaks: voice values, files and strings of every community format, and the library that finds them."""

from chattts_onnx.voices.importing import name_from, read_voice, read_voice_file, to_csv
from chattts_onnx.voices.library import VoiceLibrary, VoiceSpec, user_voice_directory
from chattts_onnx.voices.statistics import VoiceStatistics
from chattts_onnx.voices.strings import embedding_to_string
from chattts_onnx.voices.voice import Voice, clone, is_voice_name, mix

__all__ = [
    "Voice",
    "VoiceLibrary",
    "VoiceSpec",
    "VoiceStatistics",
    "clone",
    "embedding_to_string",
    "is_voice_name",
    "mix",
    "name_from",
    "read_voice",
    "read_voice_file",
    "to_csv",
    "user_voice_directory",
]
