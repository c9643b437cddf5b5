"""How alike two pieces of speech sound as speakers, for development only.

Resemblyzer's network (Apache-2.0), fed the way it was trained: an LSTM over mel frames of 1.6 s windows, 256 numbers a
window, their mean a speaker. The cosine of two pieces of one speaker is near 0.9, of two speakers 0.5 to 0.75. It also
hears the room and the codec, so a figure means something beside the same figure of another voice.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Callable, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import MissingExtraError
from chattts_onnx.evaluation.asr import SAMPLE_RATE, resampled

Samples = NDArray[np.float32]
Embed = Callable[[Samples, int], Optional[Samples]]

_PURPOSE = "speaker similarity (development only)"
_WINDOW, _HOP, _BANDS = 400, 160, 40
_FRAMES = 160
_STEP = 77
"""Frames from one window to the next: 1.3 a second."""
_LEVEL_DB = -30.0
_QUIET_DB = -35.0
"""Blocks this far below the loudest are left out: the network was trained without pauses."""


def encoder() -> Embed:
    """``embed(samples [n], sample_rate) -> [256]``, of length 1; None for less than half a second of sound.

    Raises:
        MissingExtraError: PyTorch or the package with the weights is not installed.
    """
    try:
        import torch
    except ImportError:
        raise MissingExtraError("torch", "eval", _PURPOSE) from None
    network, linear = _networks(torch)
    filters = _mel_filters()

    def embed(samples: Samples, sample_rate: int) -> Optional[Samples]:
        audio = _without_pauses(resampled(samples, sample_rate))
        if len(audio) < SAMPLE_RATE // 2:
            return None
        frames = _mel(audio, filters)
        if len(frames) < _FRAMES:
            frames = np.pad(frames, ((0, _FRAMES - len(frames)), (0, 0)))
        windows = np.stack([frames[start : start + _FRAMES] for start in range(0, len(frames) - _FRAMES + 1, _STEP)])
        with torch.no_grad():
            _, (hidden, _) = network(torch.from_numpy(windows))
            raw = torch.relu(linear(hidden[-1])).numpy()
        mean = (raw / np.linalg.norm(raw, axis=1, keepdims=True)).mean(axis=0)
        result: Samples = (mean / np.linalg.norm(mean)).astype(np.float32)
        return result

    return embed


def _networks(torch: Any) -> Tuple[Any, Any]:
    spec = importlib.util.find_spec("resemblyzer")
    if spec is None or spec.origin is None:
        raise MissingExtraError("resemblyzer", "eval", _PURPOSE)
    path = Path(spec.origin).parent / "pretrained.pt"
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    network = torch.nn.LSTM(_BANDS, 256, 3, batch_first=True)
    linear = torch.nn.Linear(256, 256)
    for module, prefix in ((network, "lstm."), (linear, "linear.")):
        module.load_state_dict({name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)})
    return network, linear


def _without_pauses(audio: Samples) -> Samples:
    """At a fixed level, without its pauses."""
    if not audio.size or not np.any(audio):
        return audio[:0]
    block = SAMPLE_RATE * 30 // 1000
    blocks = audio[: len(audio) // block * block].reshape(-1, block)
    power = np.mean(np.square(blocks), axis=1)
    if not len(power):
        return audio[:0]
    voiced = blocks[power > power.max() * 10 ** (_QUIET_DB / 10)].reshape(-1)
    level: Samples = voiced * np.float32(10 ** (_LEVEL_DB / 20) / np.sqrt(np.mean(np.square(voiced))))
    return level


def _mel(audio: Samples, filters: Samples) -> Samples:
    """Power mel frames [n, bands], centred, as librosa makes them."""
    padded = np.pad(audio, _WINDOW // 2)
    starts = np.arange(0, len(padded) - _WINDOW + 1, _HOP)
    frames = padded[starts[:, None] + np.arange(_WINDOW)]
    window = np.hanning(_WINDOW + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    result: Samples = (power @ filters.T).astype(np.float32)
    return result


def _mel_filters() -> Samples:
    """Slaney's triangles of equal area, [bands, bins]."""
    bins = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    top = _to_mel(SAMPLE_RATE / 2)
    edges = _to_hertz(np.linspace(0.0, top, _BANDS + 2))
    widths = np.diff(edges)
    slopes = edges[:, None] - bins
    rising, falling = -slopes[:-2] / widths[:-1, None], slopes[2:] / widths[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    result: Samples = (triangles * (2.0 / (edges[2:] - edges[:-2]))[:, None]).astype(np.float32)
    return result


def _to_mel(hertz: float) -> float:
    return 15 + 27 * float(np.log(hertz / 1000)) / float(np.log(6.4)) if hertz >= 1000 else 3 * hertz / 200


def _to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    result: NDArray[np.float64] = np.where(mel < 15, 200 * mel / 3, 1000 * 6.4 ** ((mel - 15) / 27))
    return result
