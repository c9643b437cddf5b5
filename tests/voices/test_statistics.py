"""Voices by seed: fixed numbers, the right distribution, every seed another voice."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chattts_onnx.errors import InputError, ModelFormatError
from chattts_onnx.voices import Voice, VoiceStatistics
from chattts_onnx.voices.statistics import MAX_SEED, sample_between, standard_normal, torch_normal

EXPECTED_0 = [0.1585338, 2.9828794, -1.925692, -0.8249255]
EXPECTED_2222 = [-0.6510419, -2.354718, -0.8982876, 0.8241339]
TORCH_2222 = [
    -0.444102,
    1.499952,
    -1.795485,
    0.36464,
    0.965966,
    -0.286776,
    -0.517414,
    -1.155425,
    -0.399023,
    0.287684,
    2.15149,
    0.505004,
    -0.657077,
    -1.433809,
    0.072233,
    0.295637,
]


def test_the_numbers_of_a_seed_never_change() -> None:
    # Written down once: a change here gives every user's seeds another voice.
    np.testing.assert_allclose(standard_normal(0, 4), EXPECTED_0, rtol=1e-6)
    np.testing.assert_allclose(standard_normal(2222, 4), EXPECTED_2222, rtol=1e-6)
    np.testing.assert_array_equal(standard_normal(7, 5), standard_normal(7, 768)[:5])


def test_seeds_of_the_reference_give_its_voices() -> None:
    # torch.manual_seed(2222); torch.randn(16) of PyTorch 2.13 on a CPU.
    np.testing.assert_allclose(torch_normal(2222, 16), TORCH_2222, atol=1e-6)
    np.testing.assert_array_equal(torch_normal(2222 + 2**32, 32), torch_normal(2222, 32))
    torch = pytest.importorskip("torch")
    torch.manual_seed(7869)
    np.testing.assert_allclose(torch_normal(7869, 768), torch.randn(768).numpy(), atol=1e-6)


def test_lengths_that_pytorch_draws_otherwise_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 16"):
        torch_normal(0, 100)


def test_the_draw_is_standard_normal() -> None:
    values = standard_normal(1, 200_001).astype(np.float64)
    assert abs(values.mean()) < 0.01
    assert abs(values.std() - 1) < 0.01
    assert abs((values**3).mean()) < 0.03
    assert abs((values**4).mean() - 3) < 0.08
    assert abs(np.corrcoef(values[:-1:2], values[1::2])[0, 1]) < 0.01


def test_seeds_are_independent() -> None:
    drawn = np.stack([standard_normal(seed, 768) for seed in (0, 1, 2, 2**32, 2**62, MAX_SEED)])
    cosines = np.corrcoef(drawn) - np.eye(len(drawn))
    assert float(np.abs(cosines).max()) < 0.15


def test_statistics_shape_the_voice(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mean, std = rng.standard_normal(32), rng.random(32) + 0.5
    path = tmp_path / "voice_statistics.npz"
    np.savez(path, mean=mean.astype(np.float16), std=std.astype(np.float16))
    statistics = VoiceStatistics.load(path)
    drawn = np.stack([statistics.sample(seed).embedding for seed in range(400)])
    np.testing.assert_allclose(drawn.mean(axis=0), mean, atol=0.3)
    np.testing.assert_allclose(drawn.std(axis=0), std, rtol=0.2)
    assert statistics.sample(5) == statistics.sample(5)
    assert statistics.sample(5).name == "seed-5"


def test_damaged_statistics_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    with pytest.raises(ModelFormatError):
        VoiceStatistics.load(path)
    path.write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ModelFormatError):
        VoiceStatistics.load(path)
    for arrays in ({"mean": np.ones(3)}, {"mean": np.ones(3), "std": np.ones(4)},
                   {"mean": np.ones((2, 2)), "std": np.ones((2, 2))},
                   {"mean": np.full(3, np.nan), "std": np.ones(3)},
                   {"mean": np.array([{}]), "std": np.ones(1)}):  # fmt: skip
        np.savez(path, **arrays)
        with pytest.raises(ModelFormatError):
            VoiceStatistics.load(path)


def test_without_statistics_presets_are_mixed() -> None:
    presets = [Voice(f"p{index}", standard_normal(100 + index, 64)) for index in range(6)]
    drawn = [sample_between(presets, seed) for seed in range(60)]
    assert sample_between(list(reversed(presets)), 3) == drawn[3], "the order of presets must not matter"
    directions = np.stack([voice.embedding / np.linalg.norm(voice.embedding) for voice in drawn])
    cosines = directions @ directions.T - 2 * np.eye(60)
    assert float(cosines.max()) < 0.99999
    assert float(np.median(cosines[cosines > -1])) < 0.9, "voices must differ"
    # Convex: nothing outside the span of the presets.
    basis = np.stack([preset.embedding for preset in presets]).astype(np.float64)
    weights = np.linalg.lstsq(basis.T, directions.T, rcond=None)[0]
    assert float(weights.min()) > -1e-5
    assert sample_between(presets[:1], 9).name == "seed-9"
    with pytest.raises(InputError, match="neither"):
        sample_between([], 1)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_seeds_out_of_range(seed: int) -> None:
    with pytest.raises(InputError, match="from 0 to"):
        standard_normal(seed, 4)
