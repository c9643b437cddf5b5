"""Hidden states (or codes) to waveform: the Decoder and Vocos graphs with the inverse STFT beside them.

One shot and stream are one code path: `Vocoder.decode` is a `VocoderStream` with large windows. The networks are
convolutional with a receptive field that the manifest states: a window that knows the layers before it and that much of
what comes after gives the very frames the whole utterance would give, and memory stays bounded whatever the length.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Callable, Dict, Optional, Tuple

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.istft import ComplexArray
from chattts_onnx.audio.stream import Stage, VocoderStream, exact_lookahead_tokens
from chattts_onnx.config import AudioConfig, Manifest
from chattts_onnx.errors import ModelFormatError
from chattts_onnx.session import create_session

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

WINDOW_TOKENS = 512
"""Tokens that one call of the graphs covers at most, their context aside: 11 s of the published model."""
FIRST_CHUNK_SECONDS = 0.09
"""Sound in the first chunk of a stream at most: 4 tokens of the published model, 2 of ``mini``. Behind 2 tokens of the
published model the next chunks could not be longer, and each of them is decoded with its look-ahead."""


class Vocoder:
    """The acoustic half of a model; safe to share between threads, each stream has its own state."""

    def __init__(
        self, config: AudioConfig, decoder: Any, vocos: Any, open_dvae_decoder: Optional[Callable[[], Any]] = None
    ) -> None:
        self.config = config
        self._mel_of_hidden = Stage(self._run_decoder, config.decoder_context)
        self._spectrum = Stage(self._run_vocos, config.vocos_context)
        self._decoder = decoder
        self._vocos = vocos
        self._open_dvae_decoder = open_dvae_decoder
        self._dvae_decoder: Any = None
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, *, device: str = "cpu", threads: Optional[int] = None
    ) -> Vocoder:
        """Load the graphs ``decoder`` and ``vocos``; ``dvae_decoder`` is loaded when codes are first decoded.

        Raises:
            ModelFormatError: a graph is missing or damaged.
        """

        def load(role: str) -> Any:
            return create_session(manifest.path(directory, role), device=device, threads=threads)

        return cls(manifest.audio, load("decoder"), load("vocos"), lambda: load("dvae_decoder"))

    @property
    def exact_lookahead_tokens(self) -> int:
        """Tokens of future context with which a stream equals the one-shot waveform."""
        return exact_lookahead_tokens(self.config, self._mel_of_hidden, self._spectrum)

    def samples(self, tokens: int) -> int:
        """Samples that ``tokens`` decode steps give: ``hop * (frames - 1)``."""
        return max(0, self.config.hop_length * (self.config.frames_per_token * tokens - 1))

    def decode(self, hidden: FloatArray) -> FloatArray:
        """Hidden states [n, H] to the waveform, float32 [hop * (2n - 1)] in the published dims, not clipped."""
        return self._whole(self._mel_of_hidden, hidden)

    def decode_codes(self, codes: IntArray) -> FloatArray:
        """Codes [n, Q] to the waveform through the DVAE decoder, as `decode`."""
        context = self.config.dvae_decoder_context
        if context <= 0:
            raise ModelFormatError("the manifest states no dvae_decoder_context: convert the model again")
        return self._whole(Stage(self._run_dvae_decoder, context), codes)

    def stream(
        self,
        lookahead_tokens: Optional[int] = None,
        *,
        first_lookahead_tokens: int = 9,
        first_chunk_tokens: Optional[int] = None,
        max_chunk_tokens: int = 48,
    ) -> VocoderStream:
        """Decode an utterance while it is being made.

        Args:
            lookahead_tokens: Tokens of future context that each sample waits for. None: the whole receptive field,
                and the chunks joined equal `decode` to float rounding. Smaller is sooner and approximate.
            first_lookahead_tokens: The first chunk waits for no more than this, so that speech begins sooner; the
                look-ahead then grows to ``lookahead_tokens`` while the chunks before are being played.
            first_chunk_tokens: Tokens of sound in the first chunk. None: `FIRST_CHUNK_SECONDS`.
            max_chunk_tokens: Chunks grow by half up to this: the look-ahead is decoded again with each.
        """
        return self._stream(
            self._mel_of_hidden,
            lookahead_tokens,
            first_lookahead_tokens,
            first_chunk_tokens or max(1, int(FIRST_CHUNK_SECONDS * self.config.tokens_per_second)),
            max_chunk_tokens,
        )

    def _whole(self, mel: Stage, tokens: npt.NDArray[Any]) -> FloatArray:
        stream = self._stream(mel, None, 0, WINDOW_TOKENS, WINDOW_TOKENS)
        return np.concatenate((stream.push(tokens), stream.finish()))

    def _stream(
        self,
        mel: Stage,
        lookahead_tokens: Optional[int],
        first_lookahead_tokens: int,
        first_chunk_tokens: int,
        max_chunk_tokens: int,
    ) -> VocoderStream:
        return VocoderStream(
            self.config,
            mel,
            self._spectrum,
            lookahead_tokens=lookahead_tokens,
            first_lookahead_tokens=first_lookahead_tokens,
            first_chunk_tokens=first_chunk_tokens,
            max_chunk_tokens=max_chunk_tokens,
        )

    def _run_decoder(
        self, hidden: npt.NDArray[Any], past: Optional[FloatArray], settled: int
    ) -> Tuple[FloatArray, FloatArray]:
        feed = {"hidden": np.ascontiguousarray(hidden[None], np.float32), **_history(past, settled)}
        mel, present = self._decoder.run(["mel", "present"], feed)
        return mel[0], present

    def _run_dvae_decoder(
        self, codes: npt.NDArray[Any], past: Optional[FloatArray], settled: int
    ) -> Tuple[FloatArray, FloatArray]:
        with self._lock:
            if self._dvae_decoder is None:
                if self._open_dvae_decoder is None:
                    raise ModelFormatError("the model has no dvae_decoder graph: convert it again from its checkpoint")
                self._dvae_decoder = self._open_dvae_decoder()
        feed = {"codes": np.ascontiguousarray(codes[None], np.int64), **_history(past, settled)}
        mel, present = self._dvae_decoder.run(["mel", "present"], feed)
        return mel[0], present

    def _run_vocos(
        self, mel: npt.NDArray[Any], past: Optional[FloatArray], settled: int
    ) -> Tuple[ComplexArray, FloatArray]:
        feed = {"mel": np.ascontiguousarray(mel[None]), **_history(past, settled)}
        real, imag, present = self._vocos.run(["real", "imag", "present"], feed)
        spectrum = np.empty(real.shape[1:], np.complex64)
        spectrum.real = real[0]
        spectrum.imag = imag[0]
        return spectrum, present


def _history(past: Optional[FloatArray], settled: int) -> Dict[str, npt.NDArray[Any]]:
    feed: Dict[str, npt.NDArray[Any]] = {"settled": np.array([settled], np.int64)}
    return feed if past is None else {"past": past, **feed}
