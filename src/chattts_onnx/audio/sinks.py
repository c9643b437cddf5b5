"""Where encoded bytes go: a file that appears only when it is complete, a pipe, or memory.

A file is written as the sound is made, under a temporary name beside its own, and takes its own name when it is
closed: memory stays flat, and a failure never leaves half a file that looks whole.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Optional, Type

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.encoders import Encoder
from chattts_onnx.errors import OutputError

FloatArray = npt.NDArray[np.float32]


class FileSink:
    """An encoder into a file; a context manager that closes on success and discards on failure."""

    def __init__(self, path: Path, encoder: Encoder) -> None:
        """Open the temporary file.

        Raises:
            OutputError: the directory does not exist or may not be written, or the path is a directory.
        """
        self.path = Path(path)
        self._encoder = encoder
        try:
            # Through links, so that a link stays one.
            self._target = Path(os.path.realpath(self.path))
            if self._target.is_dir():
                raise OutputError(f"{self.path} is a directory: give the name of a file in it")
            # A device or a named pipe is written to: replacing /dev/null by a sound would be the end of it.
            special = self._target.exists() and not self._target.is_file()
            name = f".{self._target.name[:60]}.{secrets.token_hex(4)}.part"
            self._partial = None if special else self._target.parent / name
            self._file: BinaryIO = self._target.open("wb") if self._partial is None else self._partial.open("xb")
        except (OSError, ValueError) as error:
            if isinstance(error, OutputError):
                raise
            raise _output_error(self.path, error) from None

    def write(self, samples: FloatArray) -> None:
        """Encode and write.

        Raises:
            OutputError: the disk is full or gone; the partial file is removed.
        """
        self._put(self._encoder.encode(samples))

    def close(self) -> Path:
        """Finish the file, state its exact length in its header and give it its name.

        Raises:
            OutputError: as `write`.
        """
        if self._file.closed:
            return self.path
        self._put(self._encoder.flush())
        try:
            if self._partial is None:
                self._file.close()
                return self.path
            for offset, data in self._encoder.patches():
                self._file.seek(offset)
                self._file.write(data)
            self._file.close()
            self._partial.replace(self._target)
        except OSError as error:
            self.discard()
            raise _output_error(self.path, error) from None
        return self.path

    def discard(self) -> None:
        """Leave nothing behind."""
        with contextlib.suppress(OSError):
            self._file.close()
        if self._partial is not None:
            with contextlib.suppress(OSError):
                self._partial.unlink()

    def __enter__(self) -> FileSink:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            self.discard()
            raise _output_error(self.path, error) from None


class StreamSink:
    """An encoder into an open binary stream, standard output by default; each chunk is passed on at once."""

    def __init__(self, encoder: Encoder, stream: Optional[BinaryIO] = None) -> None:
        self._encoder = encoder
        self._stream = sys.stdout.buffer if stream is None else stream

    def write(self, samples: FloatArray) -> None:
        """Encode and write.

        Raises:
            OutputError: the reader has gone, or the disk is full.
        """
        self._put(self._encoder.encode(samples))

    def close(self) -> None:
        """Write the rest; the stream itself stays open."""
        self._put(self._encoder.flush())

    def __enter__(self) -> StreamSink:  # noqa: PYI034 - Self needs Python 3.11
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        # After a failure the stream is left without its ending: a reader must not take it for complete.
        if kind is None:
            self.close()

    def _put(self, data: bytes) -> None:
        if not data:
            return
        try:
            self._stream.write(data)
            self._stream.flush()
        except BrokenPipeError:
            raise OutputError("the program that read the sound has closed its input: nothing more is written") from None
        except (OSError, ValueError) as error:
            raise OutputError(f"the sound cannot be written ({error}): check where the output goes") from None


def _output_error(path: Path, error: Exception) -> OutputError:
    reason = getattr(error, "strerror", None) or str(error)
    return OutputError(f"{path} cannot be written ({reason}): choose a place that can be written and has room")
