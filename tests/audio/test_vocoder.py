"""The vocoder against the reference, and the stream against the one shot."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any, List, Optional

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chattts_onnx.audio.istft import InverseSTFT
from chattts_onnx.audio.phase import consistent_phase
from chattts_onnx.audio.vocoder import Vocoder
from chattts_onnx.config import Manifest
from chattts_onnx.errors import ModelFormatError

ROUNDING = 5e-5
"""The phase of a quiet bin hangs on the last digits of what it is made of."""


@pytest.fixture(scope="module", params=(0, 3), ids=("as Vocos says", "three phase rounds"))
def vocoder(tiny_model: Path, request: pytest.FixtureRequest) -> Vocoder:
    manifest = Manifest.load(tiny_model)
    audio = replace(manifest.audio, phase_rounds=request.param)
    return Vocoder.open(tiny_model, replace(manifest, audio=audio), threads=1)


@pytest.fixture(scope="module")
def hidden(tiny_model: Path) -> np.ndarray:
    width = Manifest.load(tiny_model).gpt.hidden_size
    return np.random.default_rng(0).standard_normal((150, width)).astype(np.float32)


@pytest.fixture(scope="module")
def one_shot(vocoder: Vocoder, hidden: np.ndarray) -> np.ndarray:
    return whole(vocoder, hidden)


def whole(vocoder: Vocoder, hidden: np.ndarray) -> np.ndarray:
    """Everything in one call of each graph: what a window must not change."""
    mel = vocoder._decoder.run(["mel"], {"hidden": hidden[None]})[0]
    real, imag = vocoder._vocos.run(["real", "imag"], {"mel": mel})
    n_fft, hop = vocoder.config.n_fft, vocoder.config.hop_length
    inverse = InverseSTFT(n_fft, hop)
    spectrum = consistent_phase((real + 1j * imag)[0].astype(np.complex64), n_fft, hop, vocoder.config.phase_rounds)
    return np.concatenate((inverse.push(spectrum), inverse.finish()))


def watched(vocoder: Vocoder, monkeypatch: pytest.MonkeyPatch) -> List[int]:
    """Tokens that each run of the Decoder is given, from now on."""
    seen: List[int] = []
    inner = vocoder._mel_of_hidden

    def run(window: np.ndarray, past: Optional[np.ndarray], settled: int) -> Any:
        seen.append(len(window))
        return inner.run(window, past, settled)

    monkeypatch.setattr(vocoder, "_mel_of_hidden", replace(inner, run=run))
    return seen


def streamed(vocoder: Vocoder, hidden: np.ndarray, sizes: List[int], lookahead: Optional[int] = None) -> np.ndarray:
    stream = vocoder.stream(lookahead)
    parts, start = [], 0
    while start < len(hidden):
        size = sizes[len(parts) % len(sizes)]
        parts.append(stream.push(hidden[start : start + size]))
        start += size
    parts.append(stream.finish())
    return np.concatenate(parts)


def test_equals_the_reference(golden: Any, golden_model: Path) -> None:
    vocoder = Vocoder.open(golden_model, Manifest.load(golden_model), threads=1)
    hidden = golden.arrays["plain_greedy_hidden"][0]
    np.testing.assert_allclose(vocoder.decode(hidden), golden.arrays["vocos_wav"][0], atol=2e-4)
    codes = golden.arrays["plain_greedy_codes"][0]
    np.testing.assert_allclose(vocoder.decode_codes(codes), golden.arrays["dvae_codes_wav"][0], atol=2e-4)


def test_length_follows_from_the_tokens(vocoder: Vocoder, hidden: np.ndarray) -> None:
    for tokens in (1, 2, 37):
        samples = vocoder.decode(hidden[:tokens])
        assert samples.dtype == np.float32
        assert len(samples) == vocoder.samples(tokens) == 512 * tokens - 256


def test_nothing_gives_nothing(vocoder: Vocoder, hidden: np.ndarray) -> None:
    assert len(vocoder.decode(hidden[:0])) == vocoder.samples(0) == 0
    assert len(vocoder.stream(8).finish()) == 0


@given(sizes=st.lists(st.integers(1, 70), min_size=1, max_size=6))
@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_stream_equals_one_shot(vocoder: Vocoder, hidden: np.ndarray, one_shot: np.ndarray, sizes: List[int]) -> None:
    got = streamed(vocoder, hidden, sizes)
    assert len(got) == len(one_shot)
    np.testing.assert_allclose(got, one_shot, atol=ROUNDING)


@pytest.mark.parametrize("sizes", [[3], [50, 1], [150]])
def test_an_approximate_stream_does_not_depend_on_how_tokens_arrive(
    vocoder: Vocoder, hidden: np.ndarray, sizes: List[int]
) -> None:
    # A seed must give the same samples on a busy machine, where tokens come in lumps.
    expected = streamed(vocoder, hidden, [1], lookahead=8)
    np.testing.assert_array_equal(streamed(vocoder, hidden, sizes, lookahead=8), expected)


@pytest.mark.parametrize("tokens", [1, 3, 20, 54])
def test_short_streams_are_exact_too(vocoder: Vocoder, hidden: np.ndarray, tokens: int) -> None:
    got = streamed(vocoder, hidden[:tokens], [1])
    np.testing.assert_allclose(got, whole(vocoder, hidden[:tokens]), atol=ROUNDING)


def test_long_utterances_are_decoded_in_windows(
    vocoder: Vocoder, hidden: np.ndarray, one_shot: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chattts_onnx.audio.vocoder.WINDOW_TOKENS", 30)
    seen = watched(vocoder, monkeypatch)
    np.testing.assert_allclose(vocoder.decode(hidden), one_shot, atol=ROUNDING)
    assert len(seen) > 3
    assert max(seen) <= 30 + vocoder.exact_lookahead_tokens + 1


def test_stream_is_linear_in_length(vocoder: Vocoder, hidden: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    work = watched(vocoder, monkeypatch)

    def cost(tokens: int) -> int:
        work.clear()
        streamed(vocoder, np.resize(hidden, (tokens, hidden.shape[1])), [1], lookahead=8)
        return sum(work)

    assert cost(1200) < 2.2 * cost(600)
    assert max(work) <= 48 + 8


def test_short_lookahead_is_close_and_without_clicks(
    vocoder: Vocoder, hidden: np.ndarray, one_shot: np.ndarray
) -> None:
    errors = []
    for lookahead in (12, 8, 4):
        got = streamed(vocoder, hidden, [1], lookahead)
        assert len(got) == len(one_shot)
        errors.append(float(np.mean(np.square(got - one_shot))))
    assert errors[0] < errors[1] < errors[2]
    # Random weights react to the edge more than trained ones, which docs/audio.md has measured.
    assert errors[1] < 1e-2 * float(np.mean(np.square(one_shot)))


def test_first_audio_comes_early_and_chunks_grow(vocoder: Vocoder, hidden: np.ndarray) -> None:
    stream = vocoder.stream(8)
    chunks = []
    for index in range(len(hidden)):
        samples = stream.push(hidden[index : index + 1])
        if len(samples):
            chunks.append((index + 1, len(samples)))
    assert chunks[0][0] <= 12
    sizes = [size for _, size in chunks[1:]]
    assert sizes == sorted(sizes)
    assert sizes[-1] <= 49 * vocoder.config.samples_per_token


def test_buffers_of_the_caller_may_be_reused(vocoder: Vocoder, hidden: np.ndarray, one_shot: np.ndarray) -> None:
    stream = vocoder.stream(None)
    buffer = np.empty((1, hidden.shape[1]), np.float32)
    parts = []
    for row in hidden:
        buffer[0] = row
        parts.append(stream.push(buffer))
    parts.append(stream.finish())
    np.testing.assert_allclose(np.concatenate(parts), one_shot, atol=ROUNDING)


def test_a_finished_stream_says_so(vocoder: Vocoder, hidden: np.ndarray) -> None:
    stream = vocoder.stream(8)
    stream.push(hidden[:20])
    stream.finish()
    assert len(stream.finish()) == 0
    with pytest.raises(ValueError, match="finished"):
        stream.push(hidden[:1])


def test_streams_share_a_vocoder(vocoder: Vocoder, hidden: np.ndarray, one_shot: np.ndarray) -> None:
    results: List[np.ndarray] = []
    threads = [
        threading.Thread(target=lambda size=size: results.append(streamed(vocoder, hidden, [size])))
        for size in (3, 11, 29)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for result in results:
        np.testing.assert_allclose(result, one_shot, atol=ROUNDING)


def test_codes_need_their_graph(vocoder: Vocoder, tiny_model: Path) -> None:
    codes = np.zeros((3, 4), np.int64)
    assert len(Vocoder.open(tiny_model, Manifest.load(tiny_model), threads=1).decode_codes(codes)) == 1280
    without = Vocoder(vocoder.config, None, None)
    with pytest.raises(ModelFormatError, match="dvae_decoder"):
        without.decode_codes(codes)
