"""Sound to bytes: one table of formats, one interface, encode and flush.

The library behind each format is the one whose bytes really flow: libsndfile's MP3 patches its header at the end and
reads back short when streamed, FFmpeg's Ogg holds 1.8 s back unless its pages are told to be short, and a FLAC or WAV
header states a length that a stream cannot know. Here a stream gets the header for unknown length, which every player
takes, and a file is patched when it is closed. A stream cut anywhere is playable up to the cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Dict, Iterable, List, Optional, Tuple, Union

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.encoders import (
    AacEncoder,
    Encoder,
    FlacEncoder,
    Mp3Encoder,
    OpusEncoder,
    PcmEncoder,
    WavEncoder,
)
from chattts_onnx.errors import InputError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class AudioFormat:
    """One way to write sound."""

    name: str
    media_type: str
    extension: str
    make: Callable[..., Encoder]
    package: Optional[str] = None
    """What must be installed for it (extra ``audio``), None: nothing."""
    bitrate: Optional[int] = None
    """Default, bits per second, where it can be chosen."""
    rates: Optional[Tuple[int, ...]] = None
    """Sample rates the codec knows; others are resampled to the next higher one by the encoder. None: any."""


_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)

FORMATS: Dict[str, AudioFormat] = {
    entry.name: entry
    for entry in (
        AudioFormat("wav", "audio/wav", ".wav", WavEncoder),
        AudioFormat("pcm", "audio/pcm", ".pcm", PcmEncoder),
        AudioFormat("flac", "audio/flac", ".flac", FlacEncoder, "av"),
        AudioFormat("mp3", "audio/mpeg", ".mp3", Mp3Encoder, "lameenc", 96_000, _MPEG_RATES),
        AudioFormat("opus", "audio/ogg", ".opus", OpusEncoder, "av", 48_000, (8000, 12000, 16000, 24000, 48000)),
        AudioFormat("aac", "audio/aac", ".aac", AacEncoder, "av", 96_000, _MPEG_RATES),
    )
}

_SUFFIXES = {entry.extension: name for name, entry in FORMATS.items()}
_SUFFIXES.update({".raw": "pcm", ".ogg": "opus", ".wave": "wav"})


def get_format(name: str) -> AudioFormat:
    """The format of that name.

    Raises:
        InputError: there is none.
    """
    entry = FORMATS.get(name.lower())
    if entry is None:
        raise InputError(f"unknown audio format {name[:32]!r}: use one of {', '.join(FORMATS)}")
    return entry


def format_of(path: Union[str, Path]) -> str:
    """The format a file name asks for by its suffix.

    Raises:
        InputError: no format has that suffix.
    """
    suffix = Path(path).suffix.lower()
    name = _SUFFIXES.get(suffix)
    if name is None:
        known = ", ".join(_SUFFIXES)
        raise InputError(f"no audio format has the suffix {suffix!r}: use one of {known}, or name the format")
    return name


def create_encoder(
    format: str,  # noqa: A002 - what users call it
    sample_rate: int,
    *,
    bitrate: Optional[int] = None,
    dither: bool = False,
    total_samples: Optional[int] = None,
) -> Encoder:
    """An encoder for mono sound.

    Args:
        format: A key of `FORMATS`.
        sample_rate: Of the samples to come, in Hz.
        bitrate: Bits per second of mp3, opus and aac; None: the format's default.
        dither: Triangular dither where samples become 16-bit integers.
        total_samples: If it is known, WAV and FLAC headers state it from the start.

    Raises:
        InputError: no such format, or a bit rate for a format without one.
        MissingExtraError: the package for it is not installed.
    """
    entry = get_format(format)
    if bitrate is not None:
        if entry.bitrate is None:
            raise InputError(f"{entry.name} has no bit rate: leave it out")
        if not 8_000 <= bitrate <= 512_000:
            raise InputError(f"bitrate must be from 8000 to 512000 bits per second, not {bitrate}")
    return entry.make(
        sample_rate,
        rates=entry.rates,
        bitrate=bitrate or entry.bitrate,
        dither=dither,
        total_samples=total_samples,
    )


def to_bytes(
    samples: FloatArray,
    sample_rate: int,
    *,
    format: str = "wav",  # noqa: A002
    bitrate: Optional[int] = None,
    dither: bool = False,
) -> bytes:
    """A whole signal as the bytes of a finished file, with the exact length in its header."""
    encoder = create_encoder(format, sample_rate, bitrate=bitrate, dither=dither, total_samples=len(samples))
    parts: List[bytes] = [encoder.encode(np.asarray(samples, np.float32)), encoder.flush()]
    data = b"".join(parts)
    for offset, patch in encoder.patches():
        data = data[:offset] + patch + data[offset + len(patch) :]
    return data


def write_file(
    path: Path,
    chunks: Iterable[FloatArray],
    sample_rate: int,
    *,
    format: Optional[str] = None,  # noqa: A002
    bitrate: Optional[int] = None,
    dither: bool = False,
) -> Path:
    """Write chunks to a file as they come; nothing is left under its name if that fails.

    Raises:
        InputError: no encoder for that suffix or format.
        MissingExtraError: the package for the format is not installed.
        OutputError: the file cannot be written.
    """
    from chattts_onnx.audio.sinks import FileSink

    encoder = create_encoder(format or format_of(path), sample_rate, bitrate=bitrate, dither=dither)
    with FileSink(path, encoder) as sink:
        for chunk in chunks:
            sink.write(chunk)
    return path
