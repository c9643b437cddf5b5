"""A checkpoint becomes a whole model directory, or nothing at all."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

pytest.importorskip("onnx")
numpy_safetensors = pytest.importorskip("safetensors.numpy")

from chattts_onnx.config import Manifest  # noqa: E402
from chattts_onnx.convert.assets import decode_statistics, find_speaker_token  # noqa: E402
from chattts_onnx.convert.package import convert  # noqa: E402
from chattts_onnx.convert.random_checkpoint import (  # noqa: E402
    RandomDims,
    encode_base16384,
    synthetic_tokenizer,
    write_random_checkpoint,
)
from chattts_onnx.errors import CheckpointError, InputError, OutputError  # noqa: E402

FILES = ("Decoder", "DVAE", "Embed", "Vocos", "gpt/model")


@pytest.fixture
def checkpoint(tiny_checkpoint, tmp_path):
    """A copy that a test may damage."""
    shutil.copytree(str(tiny_checkpoint), str(tmp_path / "source"))
    return tmp_path / "source"


def tensors(checkpoint, name):
    return numpy_safetensors.load_file(str(checkpoint / "asset" / f"{name}.safetensors"))


def save(checkpoint, name, values):
    numpy_safetensors.save_file(values, str(checkpoint / "asset" / f"{name}.safetensors"))


def edit_model(checkpoint, **changes):
    path = checkpoint / "asset" / "model.json"
    data = {**json.loads(path.read_text(encoding="utf-8")), **changes}
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}), encoding="utf-8")


def fails(checkpoint, match, kind=CheckpointError):
    """Converting raises, with a message that says what and what next, and leaves nothing behind."""
    out = checkpoint.parent / "out"
    out.mkdir(exist_ok=True)
    with pytest.raises(kind, match=match) as caught:
        convert(checkpoint, out / "model", "fp32")
    assert list(out.iterdir()) == []
    return str(caught.value)


def test_manifest_describes_the_directory(tiny_model, tiny_checkpoint):
    manifest = Manifest.load(tiny_model)
    manifest.verify(tiny_model)
    files = {path.relative_to(tiny_model).as_posix() for path in tiny_model.rglob("*") if path.is_file()}
    assert files == {*manifest.files, "manifest.json"}
    assert set(manifest.graphs) == {"gpt", "text_head", "decoder", "vocos", "dvae_decoder", "dvae_encoder"}
    assert (manifest.name, manifest.precision, manifest.front_end) == ("random-tiny", "fp32", "bert")
    assert manifest.licence == "none: random numbers"
    assert manifest.recipe["name"] == "fp32"
    assert manifest.audio.sample_rate == 24000
    assert manifest.voice_statistics == "voice_statistics.npz"
    with np.load(tiny_model / "voice_statistics.npz") as statistics:
        assert statistics["mean"].shape == statistics["std"].shape == (128,)
        assert np.all(statistics["std"] > 0)


def test_graphs_are_for_the_oldest_runtime(tiny_model, tiny_model_int8):
    import onnx

    for directory in (tiny_model, tiny_model_int8):
        for path in directory.glob("*.onnx"):
            model = onnx.load(str(path), load_external_data=False)
            assert model.ir_version == 10
            assert {entry.domain: entry.version for entry in model.opset_import} == {"": 21, "com.microsoft": 1}


def test_inputs_and_outputs_are_the_contract(tiny_model):
    import onnx

    def names(role):
        graph = onnx.load(str(tiny_model / f"{role}.onnx"), load_external_data=False).graph
        return [value.name for value in graph.input], [value.name for value in graph.output]

    caches = [f"{kind}_{i}" for i in range(2) for kind in ("key", "value")]
    fixed = ["input_ids", "text_mask", "speaker_embedding", "seqlens_k", "total_sequence_length"]
    inputs, outputs = names("gpt")
    assert inputs == fixed + [f"past_{name}" for name in caches]
    assert outputs == ["hidden", "code_logits"] + [f"present_{name}" for name in caches]
    assert names("text_head") == (["hidden"], ["text_logits"])
    history = ["past", "settled"]
    assert names("decoder") == (["hidden", *history], ["mel", "present"])
    assert names("vocos") == (["mel", *history], ["real", "imag", "present"])
    assert names("dvae_decoder") == (["codes", *history], ["mel", "present"])
    assert (set(names("dvae_encoder")[0]), set(names("dvae_encoder")[1])) == ({"waveform"}, {"codes", "mel"})


@pytest.mark.parametrize("name", FILES)
def test_every_file_is_strict_both_ways(checkpoint, name):
    good = tensors(checkpoint, name)
    spare = {**good, "spare.weight": np.zeros(3, np.float32)}
    save(checkpoint, name, spare)
    assert f"{name}.safetensors" in fails(checkpoint, r"no place in the model: spare\.weight")
    victim = next(key for key in sorted(good) if key != "embed_tokens.weight" and "spectrogram" not in key)
    save(checkpoint, name, {key: value for key, value in good.items() if key != victim})
    fails(checkpoint, "missing|numbered")
    grown = dict(good)
    grown[victim] = np.zeros((*good[victim].shape[:-1], good[victim].shape[-1] + 1), np.float32)
    save(checkpoint, name, grown)
    assert victim.split(".")[0] in fails(checkpoint, r"has shape \[.*\] where \[")
    path = checkpoint / "asset" / f"{name}.safetensors"
    save(checkpoint, name, good)
    path.write_bytes(path.read_bytes()[:-100])
    assert path.name in fails(checkpoint, "damaged or truncated")
    path.unlink()
    assert path.name in fails(checkpoint, "is missing")


def test_a_postfilter_maps_every_frame_of_the_mel(checkpoint, tiny_model):
    import onnxruntime

    rng = np.random.default_rng(0)
    weight = np.eye(100, dtype=np.float32) + 0.1 * rng.standard_normal((100, 100)).astype(np.float32)
    bias = rng.standard_normal(100).astype(np.float32)
    for wrong in (
        {"weight": weight},
        {"weight": weight[:99], "bias": bias},
        {"weight": weight, "bias": bias, "x": bias},
    ):
        save(checkpoint, "Postfilter", wrong)
        assert "Postfilter.safetensors" in fails(checkpoint, "missing|has shape|no place")
    save(checkpoint, "Postfilter", {"weight": weight, "bias": bias})
    model = convert(checkpoint, checkpoint.parent / "filtered", "fp32")
    hidden = rng.standard_normal((1, 7, 128)).astype(np.float32)
    plain, filtered = (
        onnxruntime.InferenceSession(str(directory / "decoder.onnx"), providers=["CPUExecutionProvider"]).run(
            ["mel"], {"hidden": hidden}
        )[0][0]
        for directory in (tiny_model, model)
    )
    np.testing.assert_allclose(filtered, weight @ plain + bias[:, None], rtol=1e-4, atol=1e-4)


def test_every_tensor_matters(checkpoint):
    """Dropping any single tensor is an error, but for Llama's unused table and Vocos' training front end."""
    unused = {
        "embed_tokens.weight",
        "feature_extractor.mel_spec.spectrogram.window",
        "feature_extractor.mel_spec.mel_scale.fb",
    }
    from chattts_onnx.convert import dvae
    from chattts_onnx.convert.checkpoint import Checkpoint
    from chattts_onnx.convert.quantize import Quantizer, find_recipe
    from chattts_onnx.convert.vocos import build_vocos

    quantizer = Quantizer(find_recipe("fp32"))

    def build(name, path):
        if name == "Vocos":
            with Checkpoint(path) as file:
                build_vocos(file, 100, 1024, quantizer)
            return
        with Checkpoint(path) as file:
            dvae.ignore_encoder(file)
            dvae.build_dvae_decoder(file, 625, 4, quantizer)
        with Checkpoint(path) as file:
            dvae.ignore_decoder(file)
            dvae.build_dvae_encoder(file, 625, 4, 256, quantizer)

    for name in ("Vocos", "DVAE"):
        good = tensors(checkpoint, name)
        path = checkpoint / "asset" / f"{name}.safetensors"
        for victim in set(good) - unused:
            save(checkpoint, name, {key: value for key, value in good.items() if key != victim})
            with pytest.raises(CheckpointError):
                build(name, path)


def test_older_name_of_the_layer_scale(checkpoint, tiny_model, tmp_path):
    renamed = {
        key[: -len("weight")] + "gamma"
        if key.count(".") == 3 and key.startswith("decoder.decoder_block")
        else key: value
        for key, value in tensors(checkpoint, "Decoder").items()
    }
    assert any(key.endswith("gamma") for key in renamed)
    save(checkpoint, "Decoder", renamed)
    directory = convert(checkpoint, tmp_path / "model", "fp32")
    assert (directory / "decoder.onnx").read_bytes() == (tiny_model / "decoder.onnx").read_bytes()


def test_llamas_own_table_may_be_absent(checkpoint, tiny_model, tmp_path):
    values = tensors(checkpoint, "gpt/model")
    del values["embed_tokens.weight"]
    save(checkpoint, "gpt/model", values)
    directory = convert(checkpoint / "asset", tmp_path / "model", "fp32")  # the asset directory itself
    assert (directory / "gpt.onnx").read_bytes() == (tiny_model / "gpt.onnx").read_bytes()


def test_configuration_that_the_tensors_contradict(checkpoint):
    path = checkpoint / "asset" / "gpt" / "config.json"
    good = json.loads(path.read_text(encoding="utf-8"))
    for change, match in (
        ({"num_hidden_layers": 3}, r"layers\.2\.input_layernorm\.weight' is missing"),
        ({"num_hidden_layers": 1}, "no place in the model: layers.1"),
        ({"intermediate_size": 300}, r"\[256, 128\] where \[300, 128\]"),
        ({"hidden_size": 64}, r"where \[.*64\]"),
        ({"hidden_act": "gelu"}, "another activation than silu"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rotary positions of kind"),
        ({"num_attention_heads": "two"}, "config.json cannot be used"),
    ):
        path.write_text(json.dumps({**good, **change}), encoding="utf-8")
        fails(checkpoint, match)
    path.write_text(json.dumps({key: good[key] for key in good if key != "hidden_size"}), encoding="utf-8")
    fails(checkpoint, "has no field 'hidden_size'")


def test_description(checkpoint, tmp_path):
    edit_model(checkpoint, n_fft=1536)
    fails(checkpoint, r"n_fft 1536 and Vocos.safetensors has 1024")
    edit_model(checkpoint, n_fft=None, hop_length=0)
    fails(checkpoint, "hop_length is 0 where a positive number belongs")
    edit_model(checkpoint, hop_length=384, front_end="kana")
    fails(checkpoint, "front_end is 'kana'")
    edit_model(checkpoint, front_end="phonemes", sample_rate=16000, name="other", voice_statistics=None)
    manifest = Manifest.load(convert(checkpoint, tmp_path / "model", "fp32"))
    assert (manifest.name, manifest.front_end) == ("other", "phonemes")
    assert (manifest.audio.hop_length, manifest.audio.sample_rate, manifest.audio.n_fft) == (384, 16000, 1024)
    assert manifest.voice_statistics is None


def test_voices_travel(checkpoint, tmp_path):
    (checkpoint / "asset" / "voices").mkdir()
    (checkpoint / "asset" / "voices" / "mei.json").write_text('{"name": "mei"}', encoding="utf-8")
    directory = convert(checkpoint, tmp_path / "model", "fp32")
    assert json.loads((directory / "voices" / "mei.json").read_text(encoding="utf-8")) == {"name": "mei"}
    assert "voices/mei.json" in Manifest.load(directory).files
    (checkpoint / "asset" / "voices" / "mei.json").write_text("{", encoding="utf-8")
    fails(checkpoint, r"mei\.json cannot be read")


def test_tokenizer_of_another_model(checkpoint):
    path = checkpoint / "asset" / "tokenizer" / "tokenizer.json"
    path.write_text(json.dumps(synthetic_tokenizer(700)), encoding="utf-8")
    fails(checkpoint, "ids up to 699 and emb_text.weight has 640 rows")
    path.write_text(json.dumps({"kind": "phonemes", "vocab": {"a": 0}}), encoding="utf-8")
    fails(checkpoint, "spk_emb")
    path.unlink()
    fails(checkpoint, r"tokenizer\.json is missing")


def test_phoneme_vocabulary(checkpoint):
    from chattts_onnx.config import GPTConfig

    path = checkpoint / "tokenizer.json"
    path.write_text(json.dumps({"kind": "phonemes", "vocab": {"a": 0, "[spk_emb]": 7}}), encoding="utf-8")
    config = GPTConfig(128, 256, 2, 2, 2, 64, 4096, text_vocab_size=8, code_vocab_size=626, num_codebooks=4)
    assert find_speaker_token(path, config) == 7


def test_published_layout_without_a_description(tmp_path):
    dims = RandomDims("wide", hidden_size=768, intermediate_size=64, num_layers=1, num_heads=12)
    source = write_random_checkpoint(tmp_path / "source", dims)
    (source / "asset" / "model.json").unlink()
    directory = convert(source, tmp_path / "model", "int8")
    manifest = Manifest.load(directory)
    assert manifest.licence == "CC BY-NC 4.0"
    assert (manifest.audio.hop_length, manifest.audio.sample_rate, manifest.front_end) == (256, 24000, "bert")
    assert manifest.voice_statistics is not None
    with np.load(directory / manifest.voice_statistics) as statistics:
        # Figures of the published model (facts A13): mean -8.8 … 8.9, deviation 1.64 … 15.7.
        assert statistics["mean"].shape == (768,)
        assert 15.5 < float(statistics["std"].max()) < 15.8
        assert 1.6 < float(statistics["std"].min()) < 1.7


@pytest.mark.parametrize("size", range(1, 20))
def test_statistics_string(size):
    values = np.random.default_rng(size).standard_normal(2 * size).astype(np.float16)
    mean, std = decode_statistics(encode_base16384(values.tobytes()), size)
    np.testing.assert_array_equal(std, values[:size])
    np.testing.assert_array_equal(mean, values[size:])
    for text in ("abc", encode_base16384(values.tobytes()[:-2])):
        with pytest.raises(CheckpointError, match="voice_statistics"):
            decode_statistics(text, size)


def test_statistics_string_of_the_reference(golden):
    mean, std = decode_statistics(golden.text["spk_stat_string"], 128)
    assert mean.shape == std.shape == (128,)
    assert np.all(std > 0)


def test_destination_that_is_something_else(tiny_checkpoint, tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "diary.txt").write_text("dear diary")
    with pytest.raises(InputError, match="is not a model directory"):
        convert(tiny_checkpoint, tmp_path / "notes", "fp32")
    with pytest.raises(InputError, match="is no directory"):
        convert(tiny_checkpoint, tmp_path / "notes" / "diary.txt", "fp32")
    assert (tmp_path / "notes" / "diary.txt").read_text() == "dear diary"


def test_model_directory_is_replaced_whole(tiny_checkpoint, tmp_path):
    directory = convert(tiny_checkpoint, tmp_path / "model", "fp32")
    (directory / "left over").write_text("x")
    convert(tiny_checkpoint, directory, "int8")
    manifest = Manifest.load(directory)
    manifest.verify(directory)
    assert manifest.precision == "int8"
    assert not (directory / "left over").exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_empty_directory_and_new_parents_are_taken(tiny_checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    for destination in (tmp_path / "empty", tmp_path / "a" / "b" / "model"):
        Manifest.load(convert(tiny_checkpoint, destination, "fp32"))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_the_old_model(tiny_checkpoint, tmp_path, error):
    directory = convert(tiny_checkpoint, tmp_path / "model", "fp32")

    def interrupt(label, done, total):
        if label.startswith("checking"):
            raise error

    with pytest.raises(error):
        convert(tiny_checkpoint, directory, "int8", progress=interrupt)
    manifest = Manifest.load(directory)
    manifest.verify(directory)
    assert manifest.precision == "fp32"
    assert [entry.name for entry in tmp_path.iterdir()] == ["model"]


def test_progress_runs_from_nothing_to_all(tiny_checkpoint, tmp_path):
    seen = []
    convert(tiny_checkpoint, tmp_path / "model", "int8", progress=lambda *step: seen.append(step))
    labels, done, totals = zip(*seen)
    assert len(set(totals)) == 1
    assert list(done) == list(range(totals[0] + 1))
    assert labels[-1] == "done"


def test_a_full_disk_is_one_line(tiny_checkpoint, tmp_path, monkeypatch):
    import errno

    from chattts_onnx.convert.graph import GraphBuilder

    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(GraphBuilder, "save", full)
    with pytest.raises(OutputError, match="No space left on device"):
        convert(tiny_checkpoint, tmp_path / "model", "fp32")
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_a_file(tiny_checkpoint, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        convert(tiny_checkpoint, tmp_path / "file" / "model", "fp32")


def test_a_source_that_is_none(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        convert(tmp_path, tmp_path / "model", "fp32")


def test_the_same_checkpoint_gives_the_same_bytes(tiny_checkpoint, tiny_model, tmp_path):
    again = convert(tiny_checkpoint, tmp_path / "model", "fp32")
    assert Manifest.load(again).files == Manifest.load(tiny_model).files
