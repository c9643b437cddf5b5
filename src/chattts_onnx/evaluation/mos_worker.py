"""Distill-MOS behind a pipe; run by a Python that has PyTorch and distillmos, not necessarily this package's.

It says ``ready`` or ``error: ...`` first; then one line in, the name of a `.npy` file with float32 [n] at 16 kHz, and
one line out, its score. This file imports nothing of chattts_onnx.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import types
from typing import Any


def main() -> None:
    """Answer until the input ends."""
    # Libraries print to standard output; the answers keep it for themselves.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        predict = _open()
    except ImportError as error:
        print(f"error: {error}", file=answers, flush=True)
        return
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        print(predict(line.strip()), file=answers, flush=True)


def _open() -> Any:
    import numpy as np
    import torch

    if importlib.util.find_spec("torchaudio") is None:
        # distillmos imports it for its command line only.
        sys.modules.setdefault("torchaudio", types.ModuleType("torchaudio"))
    import distillmos

    model = distillmos.ConvTransformerSQAModel()
    model.eval()

    def predict(path: str) -> float:
        with torch.no_grad():
            return float(model(torch.from_numpy(np.load(path))[None]))

    return predict


if __name__ == "__main__":
    main()
