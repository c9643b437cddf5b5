"""The graphs against what the reference implementation computes with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
from graph_running import LanguageModel, inverse_stft, open_graph

pytest.importorskip("onnx")
KINDS = ("plain", "cloned")


@pytest.fixture(scope="module")
def model(golden_model):
    return LanguageModel(golden_model)


def row(golden, kind, b):
    """Row ``b`` without its left padding."""
    real = golden.arrays[f"{kind}_attention_mask"][b] > 0
    return golden.arrays[f"{kind}_input_ids"][b][real], golden.arrays[f"{kind}_text_mask"][b][real], real


@pytest.mark.parametrize("kind", KINDS)
def test_embedding(golden, golden_model, tmp_path, kind):
    import onnx

    from chattts_onnx.session import create_session

    graph = onnx.load(str(golden_model / "gpt.onnx"))
    graph.graph.output.append(onnx.helper.make_tensor_value_info("embedding", onnx.TensorProto.FLOAT, None))
    onnx.save(graph, str(tmp_path / "gpt.onnx"))
    model = LanguageModel(golden_model, create_session(tmp_path / "gpt.onnx", threads=1, arena=True))
    speaker = golden.arrays["speaker_embedding"].astype(np.float32)
    for b in range(3):
        ids, mask, real = row(golden, kind, b)
        found = model.step(
            ids[None], mask[None], speaker[None], [len(ids)], model.empty_cache(1, len(ids)), "embedding"
        )
        np.testing.assert_allclose(found[2][0], golden.arrays[f"{kind}_embeds"][b][real], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("b", range(3))
def test_row_alone_decodes_as_the_reference_does_in_a_padded_batch(golden, model, kind, b):
    ids, mask, real = row(golden, kind, b)
    speaker = golden.arrays["speaker_embedding"].astype(np.float32)
    codes = golden.arrays[f"{kind}_greedy_codes"][b]
    found = model.decode(ids, mask, speaker, codes)
    np.testing.assert_allclose(found["prefill"], golden.arrays[f"{kind}_prefill_hidden"][b][real], atol=2e-4, rtol=0)
    np.testing.assert_allclose(found["hidden"], golden.arrays[f"{kind}_greedy_hidden"][b], atol=2e-4, rtol=0)
    np.testing.assert_allclose(found["logits"], golden.arrays[f"{kind}_greedy_logits"][b], atol=1e-3, rtol=0)
    # The codes fed back are the reference's; equal argmax at every step makes the free-running loop equal too.
    np.testing.assert_array_equal(found["logits"][:, :, :-1].argmax(-1), codes)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_different_length_decode_together_as_alone(golden, model, kind):
    """Ragged decode: prefilled row by row, stepped together, greedy codes fed back."""
    rows = [row(golden, kind, b)[:2] for b in range(3)]
    speaker = np.repeat(golden.arrays["speaker_embedding"].astype(np.float32)[None], 3, 0)
    steps = 48
    capacity = max(len(ids) for ids, _ in rows) + steps
    caches, logits = [], []
    for ids, mask in rows:
        cache = model.empty_cache(1, capacity)
        logits.append(model.step(ids[None], mask[None], speaker[:1], [len(ids)], cache)[1])
        caches.append(cache)
    cache = {name: np.concatenate([one[name] for one in caches]) for name in model.names}
    lengths = np.array([len(ids) for ids, _ in rows])
    current = np.concatenate(logits)
    for step in range(steps):
        codes = current[:, :, :-1].argmax(-1)
        np.testing.assert_array_equal(codes, golden.arrays[f"{kind}_greedy_codes"][:, step])
        lengths += 1
        hidden, current = model.step(codes[:, None], np.zeros((3, 1), bool), speaker, lengths.tolist(), cache)
        if step + 1 < steps:
            expected = golden.arrays[f"{kind}_greedy_hidden"][:, step + 1]
            np.testing.assert_allclose(hidden[:, 0], expected, atol=2e-4, rtol=0)


def test_refine_logits(golden, golden_model, model):
    ids = golden.arrays["refine_input_ids"]
    length = ids.shape[1]
    speaker = np.zeros((1, model.config["hidden_size"]), np.float32)
    hidden, _ = model.step(ids, np.ones((1, length), bool), speaker, [length], model.empty_cache(1, length))
    (logits,) = open_graph(golden_model, "text_head").run(None, {"hidden": hidden[:, -1]})
    np.testing.assert_allclose(logits, golden.arrays["refine_logits_last"], atol=1e-3, rtol=0)


def test_acoustic_half(golden, golden_model):
    vocos = open_graph(golden_model, "vocos")
    for role, name, values, prefix in (
        ("decoder", "hidden", golden.arrays["plain_greedy_hidden"][:1], "decoder_mel vocos_wav"),
        ("dvae_decoder", "codes", golden.arrays["plain_greedy_codes"][:1], "dvae_codes_mel dvae_codes_wav"),
    ):
        (mel,) = open_graph(golden_model, role).run(["mel"], {name: values})
        mel_name, wav_name = prefix.split()
        np.testing.assert_allclose(mel, golden.arrays[mel_name], atol=2e-3, rtol=0)
        real, imag = vocos.run(["real", "imag"], {"mel": mel})
        waveform = inverse_stft(real[0], imag[0], 256)
        assert waveform.shape == (512 * values.shape[1] - 256,)
        np.testing.assert_allclose(waveform[None], golden.arrays[wav_name], atol=2e-4, rtol=0)


def test_encoder(golden, golden_model):
    encoder = open_graph(golden_model, "dvae_encoder")
    codes, mel = encoder.run(["codes", "mel"], {"waveform": golden.arrays["encode_wav"][None]})
    np.testing.assert_allclose(mel[0], golden.arrays["encode_mel"], atol=1e-4, rtol=0)
    assert codes.shape == (1, 94, 4)
    assert np.mean(golden.arrays["encode_codes"] == codes[0].T) >= 0.99


def test_encoder_is_bit_exact_in_a_batch(golden, golden_model):
    encoder = open_graph(golden_model, "dvae_encoder")
    waves = np.stack([golden.arrays["encode_wav"], golden.arrays["encode_wav"][::-1]])
    together = encoder.run(["mel"], {"waveform": waves})[0]
    alone = encoder.run(["mel"], {"waveform": waves[:1]})[0]
    np.testing.assert_allclose(together[:1], alone, atol=1e-6, rtol=0)


def test_dims_of_the_manifest(golden, golden_model):
    from chattts_onnx.config import Manifest

    manifest = Manifest.load(golden_model)
    manifest.verify(golden_model)
    assert (manifest.gpt.hidden_size, manifest.gpt.num_layers, manifest.gpt.num_heads) == (128, 3, 2)
    assert (manifest.gpt.text_vocab_size, manifest.gpt.code_vocab_size, manifest.gpt.num_codebooks) == (219, 626, 4)
    assert (manifest.audio.n_fft, manifest.audio.n_mels, manifest.audio.hop_length) == (1024, 100, 256)
    # +-1 each convolution of width 3, +-6 each dilated block of width 7; Vocos +-3 each.
    assert (manifest.audio.decoder_context, manifest.audio.vocos_context) == (1 + 1 + 3 * 6 + 1, 3 + 2 * 3)
    assert manifest.audio.dvae_decoder_context == 21
