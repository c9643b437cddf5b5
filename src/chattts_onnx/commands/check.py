"""``say --check``: a recogniser hears every segment while it is made, and the error rate is reported."""

from __future__ import annotations

from typing import List, Optional, Tuple

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import InputError


class Listener:
    """Hears segments; only the one being spoken is held in memory.

    Raises:
        MissingExtraError: the extra ``eval`` is not installed.
    """

    def __init__(self) -> None:
        from chattts_onnx.evaluation.asr import Recognizer

        self._recognizer = Recognizer()
        self._segment: Optional[int] = None
        self._text = ""
        self._rate = 0
        self._pieces: List[NDArray[np.float32]] = []
        self._edits = {"zh": [0, 0], "en": [0, 0]}
        self._worst: Tuple[float, str, str] = (0.0, "", "")

    def hear(self, text: str, samples: NDArray[np.float32], sample_rate: int, segment: int) -> None:
        """Take the next samples of a segment, float32 [n]."""
        if segment != self._segment or text != self._text:
            self._listen()
            self._segment, self._text, self._rate = segment, text, sample_rate
        self._pieces.append(samples)

    def report(self) -> str:
        """One line: error rates of everything heard, and the worst segment."""
        self._listen()
        rates = [
            f"{name} {edits / length:.1%} of {length}"
            for name, (edits, length) in (("characters", self._edits["zh"]), ("words", self._edits["en"]))
            if length
        ]
        share, text, heard = self._worst
        worst = f"; worst: {text!r} was heard as {heard!r}" if share else ""
        return f"check: error rate {', '.join(rates) or 'unknown, nothing to compare'}{worst}"

    def _listen(self) -> None:
        from chattts_onnx.evaluation.scoring import score

        if not self._pieces:
            return
        samples = np.concatenate(self._pieces)
        self._pieces = []
        language = "zh" if any("\u4e00" <= character <= "\u9fff" for character in self._text) else "en"
        heard = self._recognizer.transcribe(samples, self._rate, language)
        try:
            errors = score(self._text, heard, language)["cer" if language == "zh" else "wer"]
        except InputError:
            return  # a segment of symbols only
        self._edits[language][0] += errors.edits
        self._edits[language][1] += errors.length
        if errors.edits / errors.length > self._worst[0]:
            self._worst = (errors.edits / errors.length, self._text, heard)
