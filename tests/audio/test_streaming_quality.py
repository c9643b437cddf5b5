"""What the short look-ahead costs on a trained model: figures for docs/audio.md (`pytest -rP` prints them)."""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

import numpy as np
import pytest

from chattts_onnx.audio.vocoder import Vocoder
from chattts_onnx.errors import ModelNotFoundError
from chattts_onnx.speech import SpeechOptions

TEXTS = (
    ("今天天气很好，我们一起去公园散步吧。", 1),
    ("请问现在几点了？我想去火车站。", 2),
    ("The quick brown fox jumps over the lazy dog.", 3),
    ("She sells sea shells by the sea shore.", 4),
    ("老板正在把热气腾腾的包子端出来。", 5),
    ("他昨天买了三本书，都还没有看。", 6),
    ("We were late, and nobody had waited.", 7),
    ("How much does the blue one cost?", 8),
)

Utterances = Tuple[Vocoder, List[np.ndarray]]


@pytest.fixture(scope="module")
def spoken() -> Iterator[Utterances]:
    """The vocoder of the shipped model, and hidden states of a few utterances."""
    pytest.importorskip("chattts_onnx.synthesizer")
    from chattts_onnx import ChatTTS

    try:
        tts = ChatTTS.from_pretrained("mini", threads=1)
    except ModelNotFoundError:
        pytest.skip("the shipped model is not in this tree")
    vocoder = tts._parts.vocoder
    collected: List[np.ndarray] = []
    decode = vocoder.decode

    def collecting(hidden: np.ndarray) -> np.ndarray:
        collected.append(np.array(hidden))
        return decode(hidden)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocoder, "decode", collecting)
        for text, seed in TEXTS:
            tts.synthesize(text, seed=seed)
    yield vocoder, collected
    tts.close()


def chunks(vocoder: Vocoder, hidden: np.ndarray, lookahead: Optional[int]) -> Tuple[List[np.ndarray], int]:
    """The chunks of a stream fed token by token, and the tokens before the first."""
    stream = vocoder.stream(lookahead)
    found, first = [], 0
    for index in range(len(hidden)):
        samples = stream.push(hidden[index : index + 1])
        if len(samples):
            first = first or index + 1
            found.append(samples)
    return [*found, stream.finish()], first


def snr(reference: np.ndarray, got: np.ndarray) -> float:
    error = float(np.sum(np.square(got - reference, dtype=np.float64)))
    return 10 * float(np.log10(float(np.sum(np.square(reference, dtype=np.float64))) / max(error, 1e-20)))


def test_the_default_lookahead_is_within_40_db(spoken: Utterances) -> None:
    vocoder, utterances = spoken
    for lookahead in (9, 10, 12, 14, None):
        figures = []
        for hidden in utterances:
            parts, first = chunks(vocoder, hidden, lookahead)
            figures.append(snr(vocoder.decode(hidden), np.concatenate(parts)))
        seconds = first / vocoder.config.tokens_per_second
        print(f"look-ahead {lookahead}: first audio after {seconds:.2f} s, SNR {min(figures):.0f} dB and more")
        if lookahead == SpeechOptions().lookahead_tokens:
            assert min(figures) >= 40
            assert seconds <= 0.36
        if lookahead is None:
            assert min(figures) >= 60  # float rounding: about 120, unless a model quantises what the Decoder computes


def test_nothing_is_heard_at_the_joins(spoken: Utterances) -> None:
    vocoder, utterances = spoken
    size = 512
    window = np.hanning(size)
    for hidden in utterances:
        parts, _ = chunks(vocoder, hidden, SpeechOptions().lookahead_tokens)
        streamed, reference = np.concatenate(parts), vocoder.decode(hidden)
        floor = 1e-3 * float(np.abs(np.fft.rfft(reference)).max()) / len(reference) * size
        for join in np.cumsum([len(part) for part in parts])[:-1]:
            start = max(0, int(join) - size // 2)
            pair = [
                np.abs(np.fft.rfft(signal[start : start + size] * window)) + floor for signal in (streamed, reference)
            ]
            # A click is broad: every band would be louder than in the one shot.
            bands = [20 * np.log10(part.mean()) for part in np.split((pair[0] / pair[1])[1:], 8)]
            assert max(bands) < 3.0, (join, bands)
            assert float(np.mean(bands)) < 1.0, (join, bands)
