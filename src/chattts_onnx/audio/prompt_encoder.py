"""A recording to prompt codes: the DVAE encoder, for cloning a voice.

The mel filter bank is part of the graph, so that nothing here has to agree with a training script about windows and
edges; this file only brings the sound to the model's rate and to one channel, and bounds its length.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Optional

import numpy as np
import numpy.typing as npt

from chattts_onnx.audio.resample import resample
from chattts_onnx.config import AudioConfig, Manifest
from chattts_onnx.errors import InputError
from chattts_onnx.session import create_session

MAX_SECONDS = 30.0
MIN_SECONDS = 0.5


class PromptEncoder:
    """The DVAE encoder of a model."""

    def __init__(self, config: AudioConfig, session: Any) -> None:
        self.config = config
        self._session = session

    @classmethod
    def open(
        cls, directory: Path, manifest: Manifest, *, device: str = "cpu", threads: Optional[int] = None
    ) -> PromptEncoder:
        """Load the graph ``dvae_encoder``.

        Raises:
            ModelFormatError: the model has no such graph, or it is damaged.
        """
        session = create_session(manifest.path(directory, "dvae_encoder"), device=device, threads=threads)
        return cls(manifest.audio, session)

    def encode(self, waveform: npt.ArrayLike, sample_rate: int) -> npt.NDArray[np.int64]:
        """Encode a recording.

        Args:
            waveform: Samples in [-1, 1], [N] or [N, channels] (averaged), integers are scaled by their type.
            sample_rate: Of the waveform, in Hz.

        Returns:
            Codes int64 [T, Q], one frame per decode step of the model.

        Raises:
            InputError: empty, silent, not finite, shorter than 0.5 s or longer than 30 s.
        """
        raw = np.asarray(waveform)
        samples = np.asarray(raw, np.float32)
        if np.issubdtype(raw.dtype, np.integer):
            samples = samples / np.float32(np.iinfo(raw.dtype).max + 1.0)
        if samples.ndim == 2:
            samples = samples.mean(axis=1, dtype=np.float32)
        if samples.ndim != 1:
            raise InputError(f"the recording has the shape {samples.shape}: give [samples] or [samples, channels]")
        if sample_rate <= 0:
            raise InputError(f"the recording has the sample rate {sample_rate}: give a positive number of Hz")
        seconds = len(samples) / sample_rate
        if not MIN_SECONDS <= seconds <= MAX_SECONDS:
            raise InputError(
                f"the recording lasts {seconds:.1f} s: use {MIN_SECONDS:g} to {MAX_SECONDS:g} s of clear speech"
            )
        if not np.isfinite(samples).all():
            raise InputError("the recording contains values that are not numbers: export it again as a WAV file")
        if float(np.abs(samples).max()) < 1e-3:
            raise InputError("the recording is silent: use one in which somebody speaks")
        samples = resample(samples, sample_rate, self.config.sample_rate)
        codes: npt.NDArray[np.int64] = self._session.run(["codes"], {"waveform": samples[None]})[0][0]
        return codes
