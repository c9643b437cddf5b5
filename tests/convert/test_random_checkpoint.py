"""Random checkpoints: same seed, same bytes; other dims, still a model."""

from __future__ import annotations

import numpy as np
import pytest
from graph_running import LanguageModel, open_graph

pytest.importorskip("onnx")
pytest.importorskip("safetensors")

from chattts_onnx.config import Manifest
from chattts_onnx.convert.package import convert
from chattts_onnx.convert.random_checkpoint import (
    TAGS,
    RandomDims,
    synthetic_tokenizer,
    write_random_checkpoint,
)
from chattts_onnx.errors import InputError


def contents(directory):
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


def test_same_seed_same_bytes(tiny_checkpoint, tmp_path):
    again = contents(write_random_checkpoint(tmp_path / "a", "tiny", seed=0))
    assert again == contents(tiny_checkpoint)
    other = contents(write_random_checkpoint(tmp_path / "b", "tiny", seed=1))
    assert set(other) == set(again)
    assert other["asset/gpt/model.safetensors"] != again["asset/gpt/model.safetensors"]


def test_unknown_preset(tmp_path):
    with pytest.raises(InputError, match="unknown preset 'huge': use one of tiny, full"):
        write_random_checkpoint(tmp_path, "huge")


def test_tokenizer(tiny_model):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    assert len(TAGS) == 50
    assert tokenizer.get_vocab_size() == 640
    assert [tokenizer.token_to_id(tag) for tag in TAGS] == list(range(590, 640))
    encoded = tokenizer.encode("[Stts][spk_emb][speed_5]四川美食 hello[uv_break]7[Ptts]", add_special_tokens=False)
    assert encoded.tokens[:4] == ["[Stts]", "[spk_emb]", "[speed_5]", "四"]
    assert "[UNK]" not in encoded.tokens


def test_full_size_vocabulary_has_distinct_pieces():
    vocabulary = synthetic_tokenizer(21178)["model"]["vocab"]
    assert len(vocabulary) == 21178 - 50
    assert sorted(vocabulary.values()) == list(range(21128))


def test_states_are_well_behaved(tiny_model):
    model = LanguageModel(tiny_model)
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 590, (1, 30, 1)).repeat(4, 2)
    hidden, logits = model.step(
        ids, np.ones((1, 30), bool), rng.standard_normal((1, 128)), [30], model.empty_cache(1, 30)
    )
    assert 0.3 < hidden.std() < 3
    assert 1 < logits.std() < 10


def test_other_dims_convert(tmp_path):
    """Odd sizes everywhere, a FFT that is no power of two, a hop that is no quarter of 1024."""
    dims = RandomDims(
        "odd",
        hidden_size=192,
        intermediate_size=200,
        num_layers=1,
        num_heads=3,
        text_vocab_size=300,
        decoder_width=40,
        dvae_width=24,
        bottleneck=12,
        dvae_feature_size=96,
        acoustic_layers=1,
        vocos_width=56,
        vocos_inner=72,
        vocos_layers=1,
        n_fft=1536,
        hop_length=384,
    )
    source = write_random_checkpoint(tmp_path / "source", dims, seed=4)
    for precision in ("fp32", "int8", "int4"):
        directory = convert(source, tmp_path / precision, precision)
        manifest = Manifest.load(directory)
        assert (manifest.audio.n_fft, manifest.audio.hop_length, manifest.gpt.num_heads) == (1536, 384, 3)
        model = LanguageModel(directory)
        hidden, logits = model.step(
            np.ones((2, 5, 4)), np.ones((2, 5), bool), np.ones((2, 192)), [5, 5], model.empty_cache(2, 8)
        )
        assert hidden.shape == (2, 5, 192)
        assert logits.shape == (2, 4, 626)
        (mel,) = open_graph(directory, "decoder").run(["mel"], {"hidden": hidden})
        assert mel.shape == (2, 100, 10)
        real, imag = open_graph(directory, "vocos").run(["real", "imag"], {"mel": mel})
        assert real.shape == imag.shape == (2, 10, 769)
        codes, mel = open_graph(directory, "dvae_encoder").run(["codes", "mel"], {"waveform": wave(2, 9000)})
        assert codes.shape == (2, (1 + 9000 // 384) // 2, 4)
        assert codes.min() >= 0
        assert codes.max() <= 624
        (mel,) = open_graph(directory, "dvae_decoder").run(["mel"], {"codes": codes})
        assert np.all(np.isfinite(mel))


def wave(batch, samples):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (batch, samples)).astype(np.float32)


def test_mel_front_end_with_a_fft_that_is_no_power_of_two(tmp_path):
    from safetensors.numpy import load_file

    dims = RandomDims("x", num_layers=1, acoustic_layers=1, vocos_layers=1, n_fft=1536, hop_length=384)
    source = write_random_checkpoint(tmp_path / "source", dims)
    directory = convert(source, tmp_path / "model", "fp32")
    samples = wave(1, 12000)
    (mel,) = open_graph(directory, "dvae_encoder").run(["mel"], {"waveform": samples})
    stored = load_file(str(source / "asset" / "DVAE.safetensors"))
    window = stored["preprocessor_mel.mel_spec.spectrogram.window"].astype(np.float64)
    padded = np.pad(samples[0].astype(np.float64), 768, mode="reflect")
    frames = np.stack([padded[i * 384 : i * 384 + 1536] * window for i in range(1 + 12000 // 384)])
    bands = np.abs(np.fft.rfft(frames)) @ stored["preprocessor_mel.mel_spec.mel_scale.fb"]
    # ONNX Runtime goes through a longer, power-of-two transform in float32 here, and loses a digit to it.
    np.testing.assert_allclose(mel[0], np.log(np.maximum(bands, 1e-5)).T, atol=1e-3)
