"""Checkpoints of random numbers in the published layout, for tests and benchmarks.

The published weights can neither be shipped nor always be reached, and speed does not depend on what they say: a model
of the same shapes costs the same steps. Scales are chosen so that hidden states stay near one through all layers, which
is what makes the cosine of a quantised model mean something. The tokenizer is synthetic: same kind and same control
tags as the published one, own vocabulary.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Union

import numpy as np
from numpy.typing import NDArray

from chattts_onnx.errors import InputError, MissingExtraError

_PLAIN_TAGS = (
    "[Sasr] [Pasr] [Easr] [Stts] [Ptts] [Etts] [Sbreak] [Pbreak] [Ebreak] [uv_break] [v_break] [lbreak] [llbreak] "
    "[undefine] [laugh] [spk_emb] [empty_spk] [music] [pure]"
)
_NUMBERED_TAGS = (("break", 8), ("laugh", 3), ("oral", 10), ("speed", 10))
TAGS = _PLAIN_TAGS.split() + [f"[{name}_{i}]" for name, count in _NUMBERED_TAGS for i in range(count)]
"""Control tags in the published order; they are the last ids of the vocabulary (facts A4)."""
_COMMON = (
    "的一是不了在人有我他这中大来上个国到说们为子和你地出道也时年得就那要下以生会自着去之过家学对可里后小么心"
    "多天而能好都然没日于起还发成事只作当想看文无开手用主行方又如前所本见经头面公同三已老从动两长知民样现分将"
    "外但身些与高意进把法此实回二理美点月明其种声全工己话儿者向情部正名定女问力机给等几很业最间新什打便位因重"
    "被走电四第门相次东政海口使教西再平真听世气信北少关并内加化由却代军产入先山五太水万市眼体别处总才场师书比"
    "住员九笑性通目华报立马命张活难神数件安表原车白应路期叫死常提感金何更反合放做系计或司利受光王果亲界及今京"
    "务制解各任至清物台象记边共风战干接它许八特觉望直服毛林题建南度统色字请交爱让认算论百吃义科怎元社术结六功"
    "指思非流每青管夫连远资队跟带花快条院变联权往展该领传近留红治决周保达办运武半候七必城父强步完革深区即求品"
    "士转量空甚众技轻程告江语英基派满式李息写呢识极令黄德收脸钱党倒未持取设始版双历越史商千片容研像找友孩站广"
    "改议形委早房音火际则首单据导影失拿网香似斯专石若兵弟谁校读志飞观争究包组造落视济喜离虽坏兴弱晚播散园川辣"
    "味闻择选食"
)
_PUNCTUATION = "，。、！？；：“”,.?!'-"


@dataclass(frozen=True)
class RandomDims:
    """Dims of a checkpoint to make; those not here are as published (4 codebooks of 626, 100 mel bands, 24 kHz)."""

    name: str
    hidden_size: int = 128
    intermediate_size: int = 256
    num_layers: int = 2
    num_heads: int = 2
    text_vocab_size: int = 640
    llama_vocab_size: int = 8
    decoder_width: int = 64
    dvae_width: int = 64
    bottleneck: int = 32
    dvae_feature_size: int = 128
    """Width of the quantised features, both groups together."""
    acoustic_layers: int = 2
    vocos_width: int = 64
    vocos_inner: int = 128
    vocos_layers: int = 2
    n_fft: int = 1024
    hop_length: int = 256


PRESETS: Mapping[str, RandomDims] = {
    "tiny": RandomDims("random-tiny"),
    "full": RandomDims(
        "random-full",
        hidden_size=768,
        intermediate_size=3072,
        num_layers=20,
        num_heads=12,
        text_vocab_size=21178,
        llama_vocab_size=32000,
        decoder_width=512,
        dvae_width=256,
        bottleneck=128,
        dvae_feature_size=1024,
        acoustic_layers=12,
        vocos_width=512,
        vocos_inner=1536,
        vocos_layers=8,
    ),
}
_CODEBOOKS, _CODES, _MELS, _GROUPS = 4, 626, 100, 2
_RATE = 24000

FloatArray = NDArray[np.float32]
Tensors = Dict[str, FloatArray]


def write_random_checkpoint(directory: Path, preset: Union[str, RandomDims] = "tiny", seed: int = 0) -> Path:
    """Write a checkpoint.

    Args:
        directory: where; it gets ``asset/``. The full one takes 1.2 GB.
        preset: ``tiny``, ``full``, or dims.
        seed: same seed, same bytes.

    Returns:
        ``directory``.

    Raises:
        InputError: unknown preset.
        MissingExtraError: the package ``safetensors`` is not installed.
    """
    try:
        from safetensors.numpy import save_file
    except ImportError:
        raise MissingExtraError("safetensors", "convert", "writing a checkpoint") from None
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InputError(f"unknown preset {preset!r}: use one of {', '.join(PRESETS)}")
        preset = PRESETS[preset]
    rng = np.random.default_rng(seed)
    assets = Path(directory) / "asset"
    (assets / "gpt").mkdir(parents=True, exist_ok=True)
    (assets / "tokenizer").mkdir(exist_ok=True)
    for name, make in (
        ("Decoder", _decoder),
        ("DVAE", _dvae),
        ("Embed", _embed),
        ("Vocos", _vocos),
        ("gpt/model", _gpt),
    ):
        save_file(make(_Random(rng), preset), str(assets / f"{name}.safetensors"))
    _write_json(assets / "gpt" / "config.json", _gpt_config(preset))
    _write_json(assets / "tokenizer" / "tokenizer.json", synthetic_tokenizer(preset.text_vocab_size))
    std = rng.uniform(1.5, 6.0, preset.hidden_size).astype(np.float16)
    mean = rng.uniform(-4.0, 4.0, preset.hidden_size).astype(np.float16)
    model = {
        "name": preset.name,
        "licence": "none: random numbers",
        "n_fft": preset.n_fft,
        "hop_length": preset.hop_length,
        "source": f"chattts_onnx.convert.random_checkpoint, seed {seed}",
        "voice_statistics": encode_base16384(std.tobytes() + mean.tobytes()),
    }
    _write_json(assets / "model.json", model)
    return Path(directory)


def synthetic_tokenizer(size: int) -> Dict[str, Any]:
    """A WordPiece ``tokenizer.json`` of ``size`` ids: characters of our own choice, then the published control tags."""
    pieces: List[str] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_PUNCTUATION]
    for alphabet in ("abcdefghijklmnopqrstuvwxyz", "0123456789"):
        pieces += [*alphabet, *(f"##{letter}" for letter in alphabet)]
    pieces += dict.fromkeys([*_COMMON, *map(chr, range(0x4E00, 0xA000))])
    plain = size - len(TAGS)
    pieces = list(dict.fromkeys(pieces))[:plain]
    pieces += [f"[unused{i}]" for i in range(plain - len(pieces))]
    special = {0: "[PAD]", 1: "[UNK]", 2: "[CLS]", 3: "[SEP]", 4: "[MASK]"}
    special.update((plain + i, tag) for i, tag in enumerate(TAGS))
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {
        "version": "1.0",
        # The published file bakes these two in; a reader must switch them off, so the synthetic one has them too.
        "truncation": {"direction": "Right", "max_length": 256, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 256},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [{"id": number, "content": content, **flags} for number, content in special.items()],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": None,
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {piece: number for number, piece in enumerate(pieces)},
        },
    }


def encode_base16384(data: bytes) -> str:
    """Bytes as 14-bit characters from U+4E00, the reference's text form of binary data (facts A13)."""
    bits = "".join(f"{byte:08b}" for byte in data)
    bits += "0" * (-len(bits) % 14)
    text = "".join(chr(0x4E00 + int(bits[i : i + 14], 2)) for i in range(0, len(bits), 14))
    return text + (chr(0x3D00 + len(data) % 7) if len(data) % 7 else "")


class _Random:
    """Tensors of the kinds a network is made of."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def matrix(self, *shape: int, gain: float = 1.0) -> FloatArray:
        """Normal, with ``gain`` standard deviations over the root of what one output sums."""
        values = self.rng.standard_normal(shape, dtype=np.float32)
        return np.asarray(values * np.float32(gain / np.sqrt(np.prod(shape[1:]))), np.float32)

    def bias(self, size: int) -> FloatArray:
        return np.asarray(self.rng.standard_normal(size, dtype=np.float32) * np.float32(0.1), np.float32)

    def scale(self, *shape: int, low: float = 0.5, high: float = 1.5) -> FloatArray:
        return np.asarray(self.rng.uniform(low, high, shape), np.float32)

    def conv(self, name: str, *shape: int) -> Tensors:
        return {f"{name}.weight": self.matrix(*shape, gain=1.3), f"{name}.bias": self.bias(shape[0])}

    def convnext(self, prefix: str, width: int, inner: int, scale: str) -> Tensors:
        return {
            **self.conv(f"{prefix}.dwconv", width, 1, 7),
            f"{prefix}.norm.weight": self.scale(width),
            f"{prefix}.norm.bias": self.bias(width),
            **self.conv(f"{prefix}.pwconv1", inner, width),
            **self.conv(f"{prefix}.pwconv2", width, inner),
            f"{prefix}.{scale}": self.scale(width, low=0.2, high=0.8),
        }

    def trunk(self, prefix: str, width_in: int, out: int, width: int, d: RandomDims) -> Tensors:
        tensors = {
            **self.conv(f"{prefix}.conv_in.0", d.bottleneck, width_in, 3),
            **self.conv(f"{prefix}.conv_in.2", width, d.bottleneck, 3),
        }
        for i in range(d.acoustic_layers):
            tensors.update(self.convnext(f"{prefix}.decoder_block.{i}", width, 4 * width, "weight"))
        tensors[f"{prefix}.conv_out.weight"] = self.matrix(out, width, 1)
        return tensors


def _decoder(r: _Random, d: RandomDims) -> Tensors:
    half = d.hidden_size // 2
    return {
        "coef": r.scale(1, _MELS, 1, low=0.1, high=1.0),
        **r.trunk("decoder", half, half, d.decoder_width, d),
        "out_conv.weight": r.matrix(_MELS, half, 3),
    }


def _dvae(r: _Random, d: RandomDims) -> Tensors:
    half = d.dvae_feature_size // _GROUPS
    tensors = {
        "coef": r.scale(1, _MELS, 1, low=0.1, high=1.0),
        **r.conv("downsample_conv.0", half, _MELS, 3),
        **r.conv("downsample_conv.2", half, half, 4),
        **r.trunk("encoder", half, d.dvae_feature_size, d.dvae_width, d),
        **r.trunk("decoder", half, half, d.dvae_width, d),
        "out_conv.weight": r.matrix(_MELS, half, 3),
        **_mel_buffers("preprocessor_mel.mel_spec", d.n_fft),
    }
    for group in range(_GROUPS):
        prefix = f"vq_layer.quantizer.rvqs.{group}"
        tensors.update({**r.conv(f"{prefix}.project_in", 4, half), **r.conv(f"{prefix}.project_out", half, 4)})
    return tensors


def _embed(r: _Random, d: RandomDims) -> Tensors:
    width = d.hidden_size
    tables = {"emb_text": d.text_vocab_size, **{f"emb_code.{i}": _CODES for i in range(_CODEBOOKS)}}
    tensors = {f"{name}.weight": r.matrix(rows, width, gain=0.5 * width**0.5) for name, rows in tables.items()}
    heads = {"head_text": d.text_vocab_size, **{f"head_code.{i}": _CODES for i in range(_CODEBOOKS)}}
    for name, rows in heads.items():
        prefix = f"{name}.parametrizations.weight.original"
        tensors[prefix + "0"] = r.scale(rows, 1, low=2.0, high=4.0) * np.float32((128 / width) ** 0.5)
        tensors[prefix + "1"] = r.matrix(rows, width)
    return tensors


def _vocos(r: _Random, d: RandomDims) -> Tensors:
    width = d.vocos_width
    tensors = {
        **_mel_buffers("feature_extractor.mel_spec", d.n_fft),
        **r.conv("backbone.embed", width, _MELS, 7),
        "head.istft.window": _hann(d.n_fft),
        **r.conv("head.out", d.n_fft + 2, width),
    }
    for name in ("norm", "final_layer_norm"):
        tensors[f"backbone.{name}.weight"] = r.scale(width)
        tensors[f"backbone.{name}.bias"] = r.bias(width)
    for i in range(d.vocos_layers):
        tensors.update(r.convnext(f"backbone.convnext.{i}", width, d.vocos_inner, "gamma"))
    return tensors


def _gpt(r: _Random, d: RandomDims) -> Tensors:
    width, inner = d.hidden_size, d.intermediate_size
    tensors = {"embed_tokens.weight": r.matrix(d.llama_vocab_size, width), "norm.weight": r.scale(width)}
    for i in range(d.num_layers):
        prefix = f"layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}{name}.weight"] = r.scale(width)
        for name in "qkvo":
            tensors[f"{prefix}self_attn.{name}_proj.weight"] = r.matrix(width, width)
        for name in ("gate", "up"):
            tensors[f"{prefix}mlp.{name}_proj.weight"] = r.matrix(inner, width)
        tensors[f"{prefix}mlp.down_proj.weight"] = r.matrix(width, inner)
    return tensors


def _gpt_config(d: RandomDims) -> Dict[str, Any]:
    return {
        "architectures": ["LlamaModel"],
        "attention_bias": False,
        "hidden_act": "silu",
        "hidden_size": d.hidden_size,
        "intermediate_size": d.intermediate_size,
        "max_position_embeddings": 4096,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": d.num_heads,
        "num_hidden_layers": d.num_layers,
        "num_key_value_heads": d.num_heads,
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
    }


def _mel_buffers(prefix: str, n_fft: int) -> Tensors:
    """Window and HTK filter bank of a 100-band mel spectrogram up to half the rate (facts A12)."""
    edges = np.linspace(0.0, 2595.0 * np.log10(1.0 + _RATE / 2 / 700.0), _MELS + 2)
    points = 700.0 * (10.0 ** (edges / 2595.0) - 1.0)
    slopes = points[None, :] - np.linspace(0.0, _RATE / 2, n_fft // 2 + 1)[:, None]
    widths = np.diff(points)
    rising, falling = -slopes[:, :-2] / widths[:-1], slopes[:, 2:] / widths[1:]
    bank = np.maximum(0.0, np.minimum(rising, falling)).astype(np.float32)
    return {f"{prefix}.spectrogram.window": _hann(n_fft), f"{prefix}.mel_scale.fb": bank}


def _hann(size: int) -> FloatArray:
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype(np.float32)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
