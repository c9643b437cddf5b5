"""Write the checkpoint in the published layout: `python -m training.export --work DIR`.

DIR/export/asset/ then looks like a download of ChatTTS (A2 of the facts), only narrower, plus
`model.json` and the voices; `chattts convert DIR/export -o MODEL` does the rest.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Dict

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from . import codec
from .gpt import VOICES, load_model
from .gpt_data import NOBODY, phonemes
from .gpt_model import GPT
from .nets import BOOKS, HOP, N_FFT, RATE, SHIPPED_PHASE_ROUNDS, MelSpectrogram
from .postfilter import load_postfilter
from .teacher import BLENDS
from .text_head import load_text_head
from .vocoder import load_vocos

Tensors = Dict[str, Tensor]
PROVENANCE = "trained by the project on speech of Kokoro-82M v1.0 (Apache-2.0), {}; see MODEL_CARD.md"


def mel_buffers(prefix: str) -> Tensors:
    mel = MelSpectrogram()
    return {prefix + "spectrogram.window": mel.window, prefix + "mel_scale.fb": mel.fb}


def text_rows(gpt: GPT, vocab: Dict[str, int]) -> Tensor:
    """The folded table. Speeds that no clip had take the nearest trained one; other untrained tags are silent zeros."""
    table = gpt.text_table().detach().clone()
    for missing, nearest in ((0, 3), (1, 3), (2, 3), (7, 7), (8, 7), (9, 7)):
        table[vocab[f"[speed_{missing}]"]] = table[vocab[f"[speed_{nearest}]"]]
    table[vocab["[empty_spk]"]] = gpt.voice_table().detach()[NOBODY]
    for name in ("[PAD]", "[UNK]", "[Etts]"):
        table[vocab[name]] = 0.0
    return table


def export(work: Path, out: Path, decoder: str = "polished") -> None:
    vocab = phonemes.vocabulary()
    model, step, _ = load_model(work, polished=decoder == "polished")
    gpt = model.gpt
    (out / "gpt").mkdir(parents=True, exist_ok=True)
    (out / "tokenizer").mkdir(exist_ok=True)
    (out / "voices").mkdir(exist_ok=True)

    def write(tensors: Tensors, name: str) -> None:
        save_file({k: v.detach().float().contiguous().clone() for k, v in tensors.items()}, str(out / name))

    trunk = {k: v for k, v in gpt.state_dict().items() if k.startswith("layers.") or k == "norm.weight"}
    write(trunk, "gpt/model.safetensors")
    embed: Tensors = {"emb_text.weight": text_rows(gpt, vocab)}
    prefix = "parametrizations.weight.original"
    for q in range(BOOKS):
        embed[f"emb_code.{q}.weight"] = gpt.emb_code[q].weight
        head = gpt.head_code.weight.view(BOOKS, -1, gpt.cfg.width)[q]
        embed[f"head_code.{q}.{prefix}0"] = head.norm(dim=1, keepdim=True)
        embed[f"head_code.{q}.{prefix}1"] = head
    # The layout's head for refining, which this model does not do: it names what is being spoken.
    head_text = load_text_head(work)
    embed[f"head_text.{prefix}0"] = head_text.norm(dim=1, keepdim=True)
    embed[f"head_text.{prefix}1"] = head_text
    write(embed, "Embed.safetensors")
    write(dict(model.decoder.state_dict()), "Decoder.safetensors")
    write(load_postfilter(work), "Postfilter.safetensors")
    dvae = dict(codec.load(work).state_dict())
    for name, value in list(dvae.items()):
        if ".project_in." in name:
            # The published encoder bounds its input once more (2.002 tanh) before the first stage; trained without,
            # half the input gives the same values to first order.
            dvae[name] = value * 0.5
    write({**dvae, **mel_buffers("preprocessor_mel.mel_spec.")}, "DVAE.safetensors")
    vocos = {k.replace("head.window", "head.istft.window"): v for k, v in load_vocos(work).state_dict().items()}
    write({**vocos, **mel_buffers("feature_extractor.mel_spec.")}, "Vocos.safetensors")
    cfg = gpt.cfg
    (out / "gpt" / "config.json").write_text(json.dumps({
        "architectures": ["LlamaModel"], "hidden_size": cfg.width, "intermediate_size": cfg.inter,
        "num_hidden_layers": cfg.layers, "num_attention_heads": cfg.width // 64, "num_key_value_heads": cfg.width // 64,
        "head_dim": 64, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu", "attention_bias": False,
        "mlp_bias": False, "max_position_embeddings": 4096, "vocab_size": len(vocab), "use_cache": True,
    }, indent=2) + "\n")  # fmt: skip
    (out / "tokenizer" / "tokenizer.json").write_text(
        json.dumps({"kind": "phonemes", "vocab": vocab}, ensure_ascii=False, indent=0) + "\n", "utf-8"
    )
    (out / "model.json").write_text(json.dumps({
        "name": "mini", "sample_rate": RATE, "hop_length": HOP, "n_fft": N_FFT,
        "front_end": "phonemes", "default_voice": "heartbei", "refines": False, "aligns": True,
        "continuity": "none",
        "phase_rounds": SHIPPED_PHASE_ROUNDS, "segment_seconds": 5.0, "clause_slack": 1.2,
        "context_seconds": 8.0, "licence": "Apache-2.0",
        "source": f"trained by the project (training/README.md), {step} steps",
    }, indent=2) + "\n")  # fmt: skip
    for name, vector in zip(VOICES, torch.nn.functional.normalize(gpt.voice.weight.detach().float(), dim=-1)):
        blend = (
            " + ".join(f"{w:g} {p}" for p, w in BLENDS[name])
            if name in BLENDS
            else "its student hibari-tts (Apache-2.0)"
        )
        (out / "voices" / f"{name}.json").write_text(json.dumps({
            "format": "chattts-onnx.voice", "version": 1, "name": name,
            "language": ["zh", "en"] if name in BLENDS else ["en"],
            "embedding": base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode("ascii"),
            "licence": "Apache-2.0", "provenance": PROVENANCE.format(blend),
        }, indent=2) + "\n")  # fmt: skip
    numbers = [np.prod(v.shape) for v in {**trunk, **embed}.values()]
    print(f"exported {step} steps to {out}: GPT and tables {sum(numbers) / 1e6:.2f} M")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--out", type=Path, help="default WORK/export/asset")
    parser.add_argument(
        "--decoder", default="polished", choices=("polished", "gpt"), help="gpt: as the GPT stage left it"
    )
    args = parser.parse_args()
    export(args.work, args.out or args.work / "export" / "asset", args.decoder)


if __name__ == "__main__":
    main()
