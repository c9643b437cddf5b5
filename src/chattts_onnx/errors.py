"""Every error this package raises on purpose.

Each class subclasses the domain base *and* the builtin it behaves like, so callers may catch either, and each
message ends with what to do next. ``exit_code`` is what the command line exits with: 2 for input that must change,
3 for a model that is missing or damaged, 4 for work that failed.

    ChatTTSError
    ├── InputError (ValueError)                     the text, an option or a request is not usable
    │   ├── EmptyTextError                          nothing speakable is left
    │   ├── TextTooLongError                        over the stated limit
    │   ├── UnknownVoiceError                       no voice of that name
    │   └── VoiceFormatError                        a voice file or string cannot be read
    ├── MissingExtraError (ImportError)             an optional package is needed
    ├── OutputError (OSError)                       the sound cannot be written
    ├── ModelError
    │   ├── ModelNotFoundError (FileNotFoundError)  no such model here
    │   ├── ModelFormatError (ValueError)           the model directory is damaged or of another version
    │   ├── CheckpointError (ValueError)            the source checkpoint does not fit
    │   └── DownloadError (OSError)                 a hub could not be reached or sent something else
    ├── EngineError (RuntimeError)
    │   ├── EngineOverloadedError                   the queue is full: try again later
    │   ├── EngineStoppedError                      the engine was closed or died
    │   └── RequestAbortedError                     the request was cancelled
    └── SynthesisError (RuntimeError)               generation failed for this text
"""

from __future__ import annotations

from typing import ClassVar


class ChatTTSError(Exception):
    """Base of all errors raised on purpose by this package."""

    exit_code: ClassVar[int] = 4


class InputError(ChatTTSError, ValueError):
    """The text, an option or a request cannot be used as given."""

    exit_code: ClassVar[int] = 2


class EmptyTextError(InputError):
    """Nothing speakable is left of the text."""

    def __init__(self, detail: str = "the text has nothing that can be spoken") -> None:
        super().__init__(f"{detail}: give at least one word, Chinese character or number")


class TextTooLongError(InputError):
    """The text is longer than the stated limit."""

    def __init__(self, length: int, limit: int) -> None:
        super().__init__(f"the text has {length} characters and the limit is {limit}: split it or raise the limit")
        self.length = length
        self.limit = limit


class UnknownVoiceError(InputError):
    """No voice of that name."""

    def __init__(self, name: str, known: list[str]) -> None:
        names = ", ".join(known) if known else "none"
        super().__init__(f"unknown voice {name!r}: use a number as seed or one of: {names} (see `chattts voices`)")
        self.name = name


class VoiceFormatError(InputError):
    """A voice file or string cannot be read."""


class MissingExtraError(ChatTTSError, ImportError):
    """An optional package is needed for what was asked."""

    exit_code: ClassVar[int] = 2

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{purpose} needs the package {package!r}: pip install 'chattts-onnx[{extra}]'")
        self.package = package
        self.extra = extra


class OutputError(ChatTTSError, OSError):
    """The sound cannot be written where it was asked to go."""


class ModelError(ChatTTSError):
    """Something is wrong with a model's files."""

    exit_code: ClassVar[int] = 3


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No such model here."""


class ModelFormatError(ModelError, ValueError):
    """The model directory is damaged, incomplete or of another format version."""


class CheckpointError(ModelError, ValueError):
    """The source checkpoint does not fit: a tensor is missing, unused, misshapen, or a file is damaged."""


class DownloadError(ModelError, OSError):
    """A hub could not be reached, or sent something other than the pinned file."""


class EngineError(ChatTTSError, RuntimeError):
    """The engine refused or lost a request."""


class EngineOverloadedError(EngineError):
    """The queue is full."""

    def __init__(self, queued: int, limit: int) -> None:
        super().__init__(f"the engine's queue is full ({queued} of {limit} waiting): try again in a moment")
        self.queued = queued
        self.limit = limit


class EngineStoppedError(EngineError):
    """The engine was closed, or its thread died."""


class RequestAbortedError(EngineError):
    """The request was cancelled before it ended."""


class SynthesisError(ChatTTSError, RuntimeError):
    """Generation failed for this text."""
