"""The whole recipe on a toy corpus: every stage a few steps, and the export is one a converter can read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soundfile")
safetensors_numpy = pytest.importorskip("safetensors.numpy")

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
RATE = 24000
FRAME = 600


def _run(monkeypatch: pytest.MonkeyPatch, module: Any, *args: str) -> None:
    monkeypatch.setattr("sys.argv", [module.__name__, *args])
    module.main()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Twenty-four clips of tones: one pitch a symbol, in two voices."""
    import soundfile

    audio_dir = tmp_path / "corpus" / "audio"
    audio_dir.mkdir(parents=True)
    rng = np.random.default_rng(0)
    symbols = ["n-", "i2", "h-", "ao3", "ə", "l", "ˈ", "O", " ", ","]
    rows: List[str] = []
    for number in range(24):
        tokens = [symbols[i] for i in rng.integers(0, len(symbols), 16)] + ["."]
        frames = [2, *rng.integers(2, 5, len(tokens)).tolist(), 5]
        pieces = []
        for token, count in zip(["", *tokens, ""], frames):
            t = np.arange(count * FRAME) / RATE
            pieces.append(0.3 * np.sin(2 * np.pi * (200 + 40 * len(pieces)) * t) if token else 0 * t)
        name = f"toy{number:03d}"
        audio = np.concatenate(pieces)
        soundfile.write(audio_dir / f"{name}.flac", audio, RATE, subtype="PCM_16")
        row = {"id": name, "file": f"{name}.flac", "lang": "zh", "voice": ("heartbei", "micyunxi")[number % 2]}
        row.update(speed=1.0, text="toy", tokens=tokens, frames=frames, samples=len(audio))
        rows.append(json.dumps(row))
    (tmp_path / "corpus" / "toy.jsonl").write_text("\n".join(rows) + "\n", "utf-8")
    return tmp_path


def test_every_stage_runs_and_the_export_has_the_published_layout(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.tools import load_state

    from training import codec, compose, decoder, export, gpt, mix, postfilter, restore, text_head, vocoder

    common = ("--work", str(work))
    _run(monkeypatch, compose, *common, "--count", "4")
    _run(monkeypatch, codec, *common, "--steps", "3", "--batch", "2", "--frames", "64")
    _run(monkeypatch, gpt, *common, "--steps", "3", "--tokens", "512", "--short", "2")
    _run(monkeypatch, gpt, *common, "--steps", "4", "--tokens", "512", "--short", "2")  # resumed
    small = ("--steps", "2", "--batch", "2", "--frames", "24")
    _run(monkeypatch, vocoder, *common, *small, "--stft", "0")
    _run(monkeypatch, decoder, *common, *small, "--look-on", "1")
    shutil.copy(work / "ckpt" / "polish.pt", work / "before.pt")
    _run(monkeypatch, vocoder, *common, *small, "--polish", "--gan", "0.1", "--mel-gan", "0.1", "--look-on", "1")
    _run(monkeypatch, mix, *common, "--other", str(work / "before.pt"))
    shutil.copy(work / "ckpt" / "gpt.pt", work / "before_gpt.pt")
    _run(monkeypatch, gpt, *common, "--steps", "5", "--tokens", "512", "--short", "2", "--polished", "--joined", "0.7",
         "--cut", "0.4")  # fmt: skip
    before, after = (load_state(path)["ema"] for path in (work / "before_gpt.pt", work / "ckpt" / "gpt.pt"))
    _run(monkeypatch, mix, *common, "--stage", "gpt", "--other", str(work / "before_gpt.pt"), "--share", "0.25")
    mean, moved = load_state(work / "ckpt" / "gpt.pt")["ema"], 0.0
    for name in (n for n, value in mean.items() if value.is_floating_point()):
        moved = max(moved, (after[name] - before[name]).abs().max().item())
        assert torch.allclose(mean[name], 0.75 * after[name] + 0.25 * before[name], atol=1e-6), name
    assert moved > 1e-5
    _run(monkeypatch, gpt, *common, "--validate")
    printed = [line.split()[1] for line in capsys.readouterr().out.splitlines()]
    assert printed[-3:] == ["valid", "valid_joined", "valid_nameless"]
    _run(monkeypatch, text_head, *common, "--clips", "8", "--passes", "1")
    _run(monkeypatch, postfilter, *common)
    _run(monkeypatch, export, *common)

    assets = work / "export" / "asset"
    load = safetensors_numpy.load_file
    vocab = json.loads((assets / "tokenizer" / "tokenizer.json").read_text("utf-8"))["vocab"]
    config = json.loads((assets / "gpt" / "config.json").read_text("utf-8"))
    width = config["hidden_size"]
    embed = load(str(assets / "Embed.safetensors"))
    assert embed["emb_text.weight"].shape == (len(vocab), width)
    for book in range(4):
        assert embed[f"emb_code.{book}.weight"].shape == (626, width)
        assert embed[f"head_code.{book}.parametrizations.weight.original0"].shape == (626, 1)
    trunk = load(str(assets / "gpt" / "model.safetensors"))
    assert trunk[f"layers.{config['num_hidden_layers'] - 1}.mlp.down_proj.weight"].shape == (
        width,
        config["intermediate_size"],
    )
    acoustic = load(str(assets / "Decoder.safetensors"))
    assert acoustic["decoder.conv_in.0.weight"].shape[1] == width // 2
    assert "decoder.decoder_block.0.weight" in acoustic
    dvae = load(str(assets / "DVAE.safetensors"))
    assert dvae["vq_layer.quantizer.rvqs.1.project_in.weight"].shape[0] == 4
    vocos = load(str(assets / "Vocos.safetensors"))
    assert vocos["head.out.weight"].shape[0] == 1538
    assert "backbone.convnext.0.gamma" in vocos
    voices = sorted(p.stem for p in (assets / "voices").glob("*.json"))
    assert "heartbei" in voices
    assert len(voices) >= 4
    for tensors in (embed, trunk, acoustic, dvae, vocos):
        assert all(np.isfinite(v).all() for v in tensors.values())

    # What a converted model holds is enough to go on: what is restored from it converts to the same weights.
    import onnx

    from chattts_onnx.convert.package import convert

    again = work / "again"
    convert(work / "export", work / "model", "fp32")
    _run(monkeypatch, restore, "--work", str(again), "--model", str(work / "model"))
    _run(monkeypatch, export, "--work", str(again))
    convert(again / "export", work / "second", "fp32")
    for name in ("gpt", "text_head", "decoder", "dvae_decoder", "dvae_encoder", "vocos"):
        first, second = (onnx.load(str(work / folder / f"{name}.onnx")).graph for folder in ("model", "second"))
        for one, other in zip(first.initializer, second.initializer):
            a, b = onnx.numpy_helper.to_array(one), onnx.numpy_helper.to_array(other)
            assert one.name == other.name
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6, err_msg=f"{name} {one.name}")
    for folder in ("corpus", "codes"):
        shutil.copytree(work / folder, again / folder)
    _run(monkeypatch, gpt, "--work", str(again), "--steps", "6", "--tokens", "512", "--short", "2")


def test_two_ranks_meet_and_those_of_a_second_run_meet_anew(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.tools import load_state

    from training import codec

    _run(monkeypatch, codec, "--work", str(work), "--steps", "1", "--batch", "2", "--frames", "64")
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    stage = ["-m", "training.gpt", "--work", str(work), "--tokens", "512", "--short", "2", "--meet", "2"]
    for steps in (4, 6):
        subprocess.run([*ranks, *stage, "--steps", str(steps)], cwd=ROOT, check=True, timeout=120)
        assert load_state(work / "ckpt" / "gpt.pt")["step"] == steps


def test_clips_read_on_from_each_other_keep_the_symbol_of_every_step(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.gpt_data import Corpus, phonemes

    from training import codec

    _run(monkeypatch, codec, "--work", str(work), "--steps", "1", "--batch", "2", "--frames", "64")
    corpus = Corpus(work, ["heartbei", "micyunxi"], phonemes.vocabulary())
    first, second, third = [item for item in corpus.items if item.voice == 0][:3]
    joined = first.followed_by(second.followed_by(third))

    parts = [first, second, third]
    spoken = [part.ids[3:-1] for part in parts]
    assert joined.ids.tolist() == [*first.ids[:3], *np.concatenate(spoken), first.ids[-1]]
    assert joined.split == len(spoken[0]) + len(spoken[1])  # the last clip is the text, all before it the transcript
    for name in ("codes", "mel"):
        axis = 0 if name == "codes" else 1
        np.testing.assert_array_equal(getattr(joined, name), np.concatenate([getattr(p, name) for p in parts], axis))
    at, before = 0, None
    for part in parts:
        heard = part.ids[part.mid]
        now = joined.ids[joined.mid][at : at + len(heard)]
        lead, tail = part.mid == 2, part.mid == len(part.ids) - 1
        np.testing.assert_array_equal(now[~lead & ~tail], heard[~lead & ~tail])
        if before is not None:
            assert set(now[lead].tolist()) == {before}  # silence belongs to the mark that it follows
        if part is not third:
            assert set(now[tail].tolist()) == {int(part.ids[-2])}
        at, before = at + len(heard), int(part.ids[-2])


def test_clips_end_at_commas_and_are_read_on_from_there(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.gpt_data import NOBODY, Corpus, collate, phonemes

    from training import codec

    _run(monkeypatch, codec, "--work", str(work), "--steps", "1", "--batch", "2", "--frames", "64")
    vocab = phonemes.vocabulary()
    corpus = Corpus(work, ["heartbei", "micyunxi"], vocab)
    one, other = [item for item in corpus.items if item.voice == 1 and len(item.commas)][:2]
    mark = int(one.commas[-1])
    assert one.ids[mark] == vocab[","]

    part = one.up_to(mark)
    assert part.ids.tolist() == [*one.ids[: mark + 1], vocab["[Ptts]"]]
    steps = len(part.codes)
    assert 0 < steps < len(one.codes)
    assert one.mid[steps - 1] <= mark < one.mid[steps]  # all of the comma, and nothing after it
    np.testing.assert_array_equal(part.codes, one.codes[:steps])
    assert part.mel.shape[1] == 2 * steps
    assert max(part.high) == mark

    rest = one.read_on_from(mark)
    before = rest.ids[3 : 3 + rest.split]
    assert before.tolist() == one.ids[3 : mark + 1].tolist()
    longer = other.followed_by(rest)
    assert longer.ids[2 + longer.split] == vocab[","]
    assert longer.ids[3 + longer.split :].tolist() == one.ids[mark + 1 :].tolist()
    assert [longer.ids[k] for k in longer.commas] == [vocab[","]] * (len(other.commas) + len(one.commas))

    asked = longer.continued(nameless=True)
    tag = 2 + longer.split
    assert asked.ids[tag] == longer.ids[2] != longer.ids[tag]
    assert sorted(asked.ids) == sorted(longer.ids)
    np.testing.assert_array_equal(asked.ids[asked.mid][longer.mid > 2], longer.ids[longer.mid][longer.mid > 2])
    assert collate([asked, one], vocab, np.random.default_rng(0), 0.0)["voice"].tolist() == [NOBODY, 1]
    assert longer.continued(nameless=False).voice == 1
