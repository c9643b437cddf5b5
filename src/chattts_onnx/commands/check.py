"""``say --check``: a recogniser hears every segment when it is made, and the error rate is reported.

What was heard is compared with what was read: numbers in words, the lexicon applied, tags gone.
"""

from __future__ import annotations

from typing import List, Tuple

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
        self._pieces: List[NDArray[np.float32]] = []
        self._edits = {"zh": [0, 0], "en": [0, 0]}
        self._worst: Tuple[float, str, str] = (0.0, "", "")

    def hear(self, samples: NDArray[np.float32]) -> None:
        """Take the next samples of the segment being spoken, float32 [n]."""
        self._pieces.append(samples)

    def judge(self, spoken: str, sample_rate: int) -> None:
        """The segment is complete: compare what was heard since the last one with what it says."""
        from chattts_onnx.evaluation.scoring import score
        from chattts_onnx.evaluation.sentences import detect_language

        if not self._pieces:
            return
        samples = np.concatenate(self._pieces)
        self._pieces = []
        language = detect_language(spoken)
        heard = self._recognizer.transcribe(samples, sample_rate, language)
        try:
            errors = score(spoken, heard, language)["cer" if language == "zh" else "wer"]
        except InputError:
            return  # a segment of symbols only
        self._edits[language][0] += errors.edits
        self._edits[language][1] += errors.length
        if errors.edits / errors.length > self._worst[0]:
            self._worst = (errors.edits / errors.length, spoken, heard)

    def report(self) -> str:
        """One line: error rates of everything heard, and the worst segment."""
        rates = [
            f"{name} {edits / length:.1%} of {length}"
            for name, (edits, length) in (("characters", self._edits["zh"]), ("words", self._edits["en"]))
            if length
        ]
        share, text, heard = self._worst
        worst = f"; worst: {text!r} was heard as {heard!r}" if share else ""
        return f"check: error rate {', '.join(rates) or 'unknown, nothing to compare'}{worst}"
