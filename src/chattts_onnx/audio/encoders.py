"""One encoder per format: float32 chunks in, bytes out, nothing buffered that the codec does not need."""

from __future__ import annotations

import struct
from typing import Any, ClassVar, Dict, List, Optional, Protocol, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.pcm import Dither, Int16Array, to_int16
from chattts_onnx.audio.resample import create_resampler
from chattts_onnx.errors import MissingExtraError, OutputError

FloatArray = npt.NDArray[np.float32]
Patches = List[Tuple[int, bytes]]

UNKNOWN_SIZE = 0xFFFFFFFF
"""What a WAV header states for a stream; players read on to the end."""


class Encoder(Protocol):
    """Mono sound to bytes."""

    sample_rate: int
    """Of the encoded sound, in Hz."""

    def encode(self, samples: FloatArray) -> bytes:
        """Add float samples in [-1, 1]; returns the bytes that are ready, the header before the first."""

    def flush(self) -> bytes:
        """The rest; the encoder is then spent."""

    def patches(self) -> Patches:
        """After `flush`: (offset, bytes) to overwrite where the output can be rewound, to state exact lengths."""


def wav_header(sample_rate: int, samples: Optional[int]) -> bytes:
    """The 44 bytes before 16-bit mono samples; None: of unknown number."""
    size = UNKNOWN_SIZE if samples is None or 2 * samples + 36 >= UNKNOWN_SIZE else 2 * samples
    riff = UNKNOWN_SIZE if size == UNKNOWN_SIZE else size + 36
    layout = struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    return b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + layout + b"data" + struct.pack("<I", size)


class _Base:
    """Brings the samples to a rate the codec knows and counts them."""

    def __init__(
        self,
        sample_rate: int,
        *,
        rates: Optional[Tuple[int, ...]] = None,
        bitrate: Optional[int] = None,
        dither: bool = False,
        total_samples: Optional[int] = None,
    ) -> None:
        if sample_rate <= 0:
            raise ValueError(f"the sample rate must be positive, not {sample_rate}")
        target = sample_rate
        if rates is not None and sample_rate not in rates:
            target = min((rate for rate in rates if rate > sample_rate), default=max(rates))
        self.sample_rate = target
        self._bitrate = bitrate or 0
        self._resampler = create_resampler(sample_rate, target)
        self._dither = Dither() if dither else None
        self._total = total_samples if target == sample_rate else None
        self._count = 0
        self._flushed = False

    def encode(self, samples: FloatArray) -> bytes:
        """See `Encoder`."""
        if self._flushed:
            raise ValueError("the encoder is finished: open another one for the next sound")
        return self._encode(self._int16(self._resampler.push(np.asarray(samples, np.float32))))

    def flush(self) -> bytes:
        """See `Encoder`."""
        if self._flushed:
            return b""
        last = self._encode(self._int16(self._resampler.flush()))
        self._flushed = True
        return last + self._close()

    def patches(self) -> Patches:
        """See `Encoder`."""
        return []

    def _int16(self, samples: FloatArray) -> Int16Array:
        self._count += len(samples)
        return to_int16(samples, self._dither)

    def _encode(self, samples: Int16Array) -> bytes:
        raise NotImplementedError

    def _close(self) -> bytes:
        return b""


class PcmEncoder(_Base):
    """Raw 16-bit little-endian samples."""

    def _encode(self, samples: Int16Array) -> bytes:
        return samples.astype("<i2", copy=False).tobytes()


class WavEncoder(_Base):
    """16-bit PCM WAV with its own 44-byte header."""

    _started = False

    def _encode(self, samples: Int16Array) -> bytes:
        data = samples.astype("<i2", copy=False).tobytes()
        return self._header() + data

    def _close(self) -> bytes:
        return self._header()

    def patches(self) -> Patches:
        """The header with the exact sizes."""
        return [(0, wav_header(self.sample_rate, self._count))]

    def _header(self) -> bytes:
        if self._started:
            return b""
        self._started = True
        return wav_header(self.sample_rate, self._total)


class Mp3Encoder(_Base):
    """MP3 at a constant bit rate by LAME: every frame stands alone and no header has to be patched."""

    def __init__(self, sample_rate: int, **options: Any) -> None:
        super().__init__(sample_rate, **options)
        try:
            import lameenc
        except ImportError:
            raise MissingExtraError("lameenc", "audio", "writing MP3") from None
        self._lame = lameenc.Encoder()
        self._lame.silence()
        self._lame.set_channels(1)
        self._lame.set_in_sample_rate(self.sample_rate)
        self._lame.set_out_sample_rate(self.sample_rate)
        self._lame.set_bit_rate(_mp3_kilobits(self._bitrate, self.sample_rate))
        self._lame.set_quality(5)
        self._fed = False

    def _encode(self, samples: Int16Array) -> bytes:
        if len(samples) == 0:
            return b""
        self._fed = True
        return bytes(self._lame.encode(samples.astype("<i2", copy=False).tobytes()))

    def _close(self) -> bytes:
        if not self._fed:
            # LAME refuses to end what never began: an empty sound is one frame of silence.
            self._lame.encode(bytes(2))
        return bytes(self._lame.flush())


def _mp3_kilobits(bitrate: int, sample_rate: int) -> int:
    """The nearest bit rate that the MPEG version of this sample rate has."""
    table: Tuple[int, ...]
    if sample_rate >= 32000:
        table = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
    elif sample_rate >= 16000:
        table = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
    else:
        table = (8, 16, 24, 32, 40, 48, 56, 64)
    return min(table, key=lambda kilobits: abs(1000 * kilobits - bitrate))


class _Pipe:
    """What FFmpeg writes to: it cannot seek, so the container is made for streaming."""

    def __init__(self) -> None:
        self._parts: List[bytes] = []

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class _AvEncoder(_Base):
    """A codec and container of FFmpeg through PyAV."""

    codec = ""
    container = ""
    sample_format = "s16"
    container_options: ClassVar[Dict[str, str]] = {}

    def __init__(self, sample_rate: int, **options: Any) -> None:
        super().__init__(sample_rate, **options)
        try:
            import av
        except ImportError:
            raise MissingExtraError("av", "audio", f"writing {type(self).__name__[:-7]}") from None
        self._av = av
        self._pipe = _Pipe()
        self._output = av.open(self._pipe, "w", format=self.container, options=self.container_options)
        self._stream = self._output.add_stream(self.codec, rate=self.sample_rate)
        self._stream.codec_context.layout = "mono"
        self._stream.codec_context.format = self.sample_format
        if self._bitrate:
            self._stream.codec_context.bit_rate = self._bitrate
        self._pending = np.zeros(0, np.int16)
        self._pts = 0

    def _encode(self, samples: Int16Array) -> bytes:
        # Frames of the codec's own size, so that no fifo of the library comes between; the last may be short.
        self._pending = np.concatenate((self._pending, samples))
        size = self._frame_size()
        whole = len(self._pending) - len(self._pending) % size
        for start in range(0, whole, size):
            self._send(self._pending[start : start + size])
        self._pending = self._pending[whole:]
        return self._pipe.take()

    def _close(self) -> bytes:
        if len(self._pending) or self._pts == 0:
            self._send(self._pending if len(self._pending) else np.zeros(1, np.int16))
        try:
            for packet in self._stream.encode(None):
                self._output.mux(packet)
            self._output.close()
        except self._av.FFmpegError as error:
            raise OutputError(f"the {self.codec} encoder failed ({error}): try another format") from error
        return self._pipe.take()

    def _frame_size(self) -> int:
        context = self._stream.codec_context
        if not context.is_open:
            context.open()
        return int(context.frame_size) or 1152

    def _send(self, samples: Int16Array) -> None:
        if self.sample_format == "s16":
            frame = self._av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), "s16", "mono")
        else:
            floats = samples.astype(np.float32) / np.float32(32768.0)
            frame = self._av.AudioFrame.from_ndarray(floats[None], self.sample_format, "mono")
        frame.sample_rate = self.sample_rate
        frame.pts = self._pts
        self._pts += len(samples)
        try:
            for packet in self._stream.encode(frame):
                self._output.mux(packet)
        except self._av.FFmpegError as error:
            raise OutputError(f"the {self.codec} encoder failed ({error}): try another format") from error


class FlacEncoder(_AvEncoder):
    """FLAC; a stream's header states an unknown length, which the format permits."""

    codec = "flac"
    container = "flac"

    def patches(self) -> Patches:
        """The number of samples in STREAMINFO."""
        # STREAMINFO: 20 bits sample rate, 3 channels - 1, 5 bits per sample - 1, 36 bits number of samples.
        packed = (self.sample_rate << 44) | (0 << 41) | (15 << 36) | min(self._count, (1 << 36) - 1)
        return [(18, struct.pack(">Q", packed))]


class OpusEncoder(_AvEncoder):
    """Opus in Ogg, a page every 200 ms so that a stream flows."""

    codec = "libopus"
    container = "ogg"
    container_options: ClassVar[Dict[str, str]] = {"page_duration": "200000", "fflags": "+bitexact"}


class AacEncoder(_AvEncoder):
    """AAC-LC in ADTS frames, each of which stands alone."""

    codec = "aac"
    container = "adts"
    sample_format = "fltp"
