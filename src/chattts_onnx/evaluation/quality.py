"""Predicted listening scores, for development only.

Two predictors carried by packages. Distill-MOS follows how natural speech sounds (and needs PyTorch); DNSMOS does not,
it only notices noise. Neither hears a wrong tone, so a score is always read beside an error rate.
"""

from __future__ import annotations

import contextlib
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import MissingExtraError

SAMPLE_RATE = 16000
Predictor = Callable[[NDArray[np.float32]], Dict[str, float]]

_DNSMOS_SECONDS = 9.01
# Polynomials from raw network outputs to scores, published with DNSMOS P.835 (microsoft/DNS-Challenge).
_DNSMOS_FITS: Tuple[Tuple[str, Tuple[float, ...]], ...] = (
    ("dnsmos_speech", (-0.08397278, 1.22083953, 0.0052439)),
    ("dnsmos_background", (-0.13166888, 1.60915514, -0.39604546)),
    ("dnsmos_overall", (-0.06766283, 1.11546468, 0.04602535)),
)


@contextlib.contextmanager
def distill_mos(python: Optional[str] = None) -> Iterator[Predictor]:
    """Distill-MOS in a process of its own: float32 [n] at 16 kHz -> ``{"distill_mos": 1 to 5}``.

    Args:
        python: an interpreter that has PyTorch and distillmos; None: this one.

    Raises:
        MissingExtraError: distillmos or PyTorch is not installed there.
    """
    command = [python or sys.executable, str(Path(__file__).with_name("mos_worker.py"))]
    with subprocess.Popen(  # noqa: S603 - our own interpreter, or the one the user named
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding="utf-8"
    ) as worker, tempfile.TemporaryDirectory() as folder:
        assert worker.stdin is not None
        assert worker.stdout is not None
        requests, answers = worker.stdin, worker.stdout
        if answers.readline().strip() != "ready":
            purpose = "Distill-MOS (development only; with PyTorch, here or where --quality-python says)"
            raise MissingExtraError("distillmos", "eval", purpose)

        def predict(samples: NDArray[np.float32]) -> Dict[str, float]:
            path = Path(folder) / "samples.npy"
            np.save(path, samples.astype(np.float32))
            requests.write(f"{path}\n")
            requests.flush()
            return {"distill_mos": float(answers.readline())}

        yield predict


def dnsmos() -> Predictor:
    """DNSMOS P.835: float32 [n] at 16 kHz -> ``dnsmos_speech``, ``dnsmos_background``, ``dnsmos_overall``.

    Raises:
        MissingExtraError: speechmos, which carries the network, is not installed.
    """
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = InferenceSession(str(_dnsmos_file()), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    window = int(_DNSMOS_SECONDS * SAMPLE_RATE)

    def predict(samples: NDArray[np.float32]) -> Dict[str, float]:
        # Short clips are repeated until they fill the window, as the published script does.
        audio = np.tile(samples, -(-window // max(1, len(samples))))[:window]
        raw = session.run(None, {name: audio[None].astype(np.float32)})[0][0]
        return {key: float(np.polyval(fit, value)) for (key, fit), value in zip(_DNSMOS_FITS, raw)}

    return predict


def _dnsmos_file() -> Path:
    spec = importlib.util.find_spec("speechmos")
    if spec is not None and spec.origin is not None:
        for path in sorted(Path(spec.origin).parent.rglob("sig_bak_ovr.onnx")):
            return path
    raise MissingExtraError("speechmos", "eval", "DNSMOS (development only)")
