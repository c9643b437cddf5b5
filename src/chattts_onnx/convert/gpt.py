"""The language model: a Llama whose tokens are text ids or four audio codes at once (facts A3, A6).

Embeddings, the speaker's vector and the code heads are part of the graph, so a decode step takes four integers a row
and gives four rows of logits; keys and values stay in buffers that GroupQueryAttention updates in place. The text head
is a graph of its own: it is larger than six layers, and only refinement needs it.
"""

from __future__ import annotations

from typing import Any, List, Mapping, Tuple

import numpy as np

from chattts_onnx.config import GPTConfig
from chattts_onnx.convert.checkpoint import Checkpoint, FloatArray
from chattts_onnx.convert.graph import Dim, GraphBuilder
from chattts_onnx.convert.layers import rms_norm, skip_rms_norm, transposed
from chattts_onnx.convert.quantize import Quantizer
from chattts_onnx.errors import CheckpointError


def read_gpt_config(data: Mapping[str, Any], embed: Checkpoint) -> GPTConfig:
    """Dims from ``gpt/config.json`` (a Llama configuration) and the shapes in ``Embed.safetensors``.

    Raises:
        CheckpointError: a field is missing, or asks for what this graph does not do.
    """
    source = "gpt/config.json"
    try:
        hidden = int(data["hidden_size"])
        heads = int(data["num_attention_heads"])
        rope = data.get("rope_parameters") or {}
        scaling = data.get("rope_scaling") or {}
        codebooks = sum(1 for name in embed.names() if name.startswith("emb_code."))
        config = GPTConfig(
            hidden_size=hidden,
            intermediate_size=int(data["intermediate_size"]),
            num_layers=int(data["num_hidden_layers"]),
            num_heads=heads,
            num_kv_heads=int(data.get("num_key_value_heads") or heads),
            head_size=int(data.get("head_dim") or hidden // heads),
            max_positions=int(data.get("max_position_embeddings", 4096)),
            text_vocab_size=embed.shape("emb_text.weight")[0],
            code_vocab_size=embed.shape("emb_code.0.weight")[0],
            num_codebooks=codebooks,
            rope_theta=float(data.get("rope_theta") or rope.get("rope_theta") or 10000.0),
            norm_eps=float(data.get("rms_norm_eps", 1e-6)),
        )
    except KeyError as error:
        raise CheckpointError(f"{source} has no field {error}: download it again") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{source} cannot be used ({error}): download it again") from None
    kinds = {str(part.get(key)) for part in (rope, scaling) for key in ("rope_type", "type") if part.get(key)}
    if kinds - {"default"}:
        raise CheckpointError(f"{source} asks for rotary positions of kind {sorted(kinds)}: only the default is built")
    if data.get("hidden_act", "silu") != "silu" or data.get("attention_bias") or data.get("mlp_bias"):
        raise CheckpointError(
            f"{source} asks for another activation than silu, or for biases: only the published form is built"
        )
    return config


def build_gpt(gpt: Checkpoint, embed: Checkpoint, c: GPTConfig, speaker_id: int, q: Quantizer) -> GraphBuilder:
    """The graph ``gpt`` of docs/design.md.

    Args:
        gpt: ``gpt/model.safetensors``.
        embed: ``Embed.safetensors``.
        c: dims.
        speaker_id: text id whose embedding is replaced by the speaker's vector.
        q: how matrices are stored.
    """
    g = GraphBuilder("gpt")
    gpt.ignore("embed_tokens.weight")  # Llama's own table, which ChatTTS never looks into
    ids = g.input("input_ids", np.int64, ["B", "T", c.num_codebooks])
    text_mask = g.input("text_mask", np.bool_, ["B", "T"])
    speaker = g.input("speaker_embedding", np.float32, ["B", c.hidden_size])
    seqlens = g.input("seqlens_k", np.int32, ["B"])
    total = g.input("total_sequence_length", np.int32, [])
    embedding = _embedding(g, embed, c, ids, text_mask, speaker, speaker_id, q)  # [B, T, H]

    cos, sin = _rotary_tables(c)
    rotary = (g.weight("cos_cache", q.activations(cos)), g.weight("sin_cache", q.activations(sin)))
    residual = embedding
    normed = ""
    caches: List[Tuple[str, str]] = []
    for i in range(c.num_layers):
        with g.scope(f"layers.{i}"):
            prefix = f"layers.{i}."
            weight = gpt.take(prefix + "input_layernorm.weight", (c.hidden_size,))
            if i == 0:
                normed = rms_norm(g, residual, q.activations(weight), c.norm_eps, "input_layernorm")
            else:
                normed, residual = skip_rms_norm(
                    g, normed, residual, q.activations(weight), c.norm_eps, "input_layernorm"
                )
            attended, cache = _attention(g, gpt, c, i, normed, seqlens, total, rotary, q)
            caches.append(cache)
            weight = gpt.take(prefix + "post_attention_layernorm.weight", (c.hidden_size,))
            normed, residual = skip_rms_norm(
                g, attended, residual, q.activations(weight), c.norm_eps, "post_attention_layernorm"
            )
            normed = _mlp(g, gpt, c, i, normed, q)
    weight = gpt.take("norm.weight", (c.hidden_size,))
    hidden, _ = skip_rms_norm(g, normed, residual, q.activations(weight), c.norm_eps, "norm")
    hidden = q.to_float32(g, hidden)  # [B, T, H]
    # Only the last position is ever sampled from: a prompt of 100 tokens does not pay for 99 unused heads.
    last = g.op.Gather(hidden, g.constant(-1, np.int64), axis=1)  # [B, H]
    heads = [
        embed.take_weight_norm(f"head_code.{i}", (c.code_vocab_size, c.hidden_size)) for i in range(c.num_codebooks)
    ]
    logits = q.matmul(g, q.from_float32(g, last), transposed(np.concatenate(heads)), "head_code")
    logits = g.op.Reshape(q.to_float32(g, logits), g.ints(-1, c.num_codebooks, c.code_vocab_size))

    g.output(hidden, "hidden", np.float32, ["B", "T", c.hidden_size])
    g.output(logits, "code_logits", np.float32, ["B", c.num_codebooks, c.code_vocab_size])
    for i, (key, value) in enumerate(caches):
        shape: List[Dim] = ["B", c.num_kv_heads, "capacity", c.head_size]
        g.output(key, f"present_key_{i}", q.activation_dtype, shape)
        g.output(value, f"present_value_{i}", q.activation_dtype, shape)
    return g


def build_text_head(embed: Checkpoint, c: GPTConfig, q: Quantizer) -> GraphBuilder:
    """The graph ``text_head`` of docs/design.md."""
    g = GraphBuilder("text_head")
    hidden = g.input("hidden", np.float32, ["B", c.hidden_size])
    weight = embed.take_weight_norm("head_text", (c.text_vocab_size, c.hidden_size))
    logits = q.matmul(g, q.from_float32(g, hidden), transposed(weight), "head_text")
    g.output(q.to_float32(g, logits), "text_logits", np.float32, ["B", c.text_vocab_size])
    return g


def _embedding(
    g: GraphBuilder,
    embed: Checkpoint,
    c: GPTConfig,
    ids: str,
    text_mask: str,
    speaker: str,
    speaker_id: int,
    q: Quantizer,
) -> str:
    with g.scope("embed"):
        zero = g.constant(0, np.int64)
        mask = g.op.Unsqueeze(text_mask, g.ints(-1))  # [B, T, 1]
        # Each lookup sees 0 where the id belongs to the other table, so none is out of range.
        text_ids = g.op.Where(text_mask, g.op.Gather(ids, zero, axis=2), zero)  # [B, T]
        code_ids = g.op.Where(mask, zero, ids)  # [B, T, Q]
        text_table = embed.take("emb_text.weight", (c.text_vocab_size, c.hidden_size))
        code_tables = [
            embed.take(f"emb_code.{i}.weight", (c.code_vocab_size, c.hidden_size)) for i in range(c.num_codebooks)
        ]
        text = q.lookup(g, text_table, text_ids, "emb_text")  # [B, T, H]
        offsets = g.ints(*(i * c.code_vocab_size for i in range(c.num_codebooks)))
        codes = q.lookup(g, np.concatenate(code_tables), g.op.Add(code_ids, offsets), "emb_code")  # [B, T, Q, H]
        codes = g.op.ReduceSum(codes, g.ints(2), keepdims=0)
        # The reference normalises the float16 vector that a voice string holds in float16; so does this, to the bit.
        norm = _through_float16(g, g.op.ReduceL2(speaker, g.ints(1), keepdims=1))
        unit = _through_float16(g, g.op.Div(speaker, g.op.Max(norm, g.scalar(1e-12))))
        is_speaker = g.op.Unsqueeze(g.op.Equal(text_ids, g.constant(speaker_id, np.int64)), g.ints(-1))
        voice = g.op.Unsqueeze(unit, g.ints(1))  # [B, 1, H]
        embedding = g.op.Where(is_speaker, voice, g.op.Where(mask, text, codes), name="embedding")
        return q.from_float32(g, embedding)


def _through_float16(g: GraphBuilder, x: str) -> str:
    return g.op.Cast(g.op.Cast(x, to=g.dtype(np.float16)), to=g.dtype(np.float32))


def _attention(
    g: GraphBuilder,
    gpt: Checkpoint,
    c: GPTConfig,
    i: int,
    x: str,
    seqlens: str,
    total: str,
    rotary: Tuple[str, str],
    q: Quantizer,
) -> Tuple[str, Tuple[str, str]]:
    prefix = f"layers.{i}.self_attn."
    wide, narrow = c.num_heads * c.head_size, c.num_kv_heads * c.head_size
    packed = np.concatenate(
        [
            gpt.take(prefix + "q_proj.weight", (wide, c.hidden_size)),
            gpt.take(prefix + "k_proj.weight", (narrow, c.hidden_size)),
            gpt.take(prefix + "v_proj.weight", (narrow, c.hidden_size)),
        ]
    )
    shape: List[Dim] = ["B", c.num_kv_heads, "capacity", c.head_size]
    past_key = g.input(f"past_key_{i}", q.activation_dtype, shape)
    past_value = g.input(f"past_value_{i}", q.activation_dtype, shape)
    qkv = q.matmul(g, x, transposed(packed), "qkv_proj")  # [B, T, (heads + 2 kv_heads) * D]
    attended, key, value = g.node(
        "GroupQueryAttention",
        qkv,
        None,
        None,
        past_key,
        past_value,
        seqlens,
        total,
        *rotary,
        outputs=3,
        num_heads=c.num_heads,
        kv_num_heads=c.num_kv_heads,
        do_rotary=1,
        scale=1.0 / float(np.sqrt(c.head_size)),
    )
    out = gpt.take(prefix + "o_proj.weight", (c.hidden_size, wide))
    return q.matmul(g, attended, transposed(out), "o_proj"), (key, value)


def _mlp(g: GraphBuilder, gpt: Checkpoint, c: GPTConfig, i: int, x: str, q: Quantizer) -> str:
    prefix = f"layers.{i}.mlp."
    packed = np.concatenate(
        [gpt.take(prefix + f"{name}_proj.weight", (c.intermediate_size, c.hidden_size)) for name in ("gate", "up")]
    )
    both = q.matmul(g, x, transposed(packed), "gate_up_proj")  # [B, T, 2 * inner]
    gate, up = g.node("Split", both, outputs=2, axis=-1, num_outputs=2)
    # QuickGelu(x) = x * sigmoid(alpha * x): with alpha 1 it is SiLU in one pass.
    inner = g.op.Mul(g.op.QuickGelu(gate, alpha=1.0), up)
    down = gpt.take(prefix + "down_proj.weight", (c.hidden_size, c.intermediate_size))
    return q.matmul(g, inner, transposed(down), "down_proj")


def _rotary_tables(c: GPTConfig) -> Tuple[FloatArray, FloatArray]:
    """Cosines and sines [max_positions, head_size / 2] of angle position * theta ** (-2 d / head_size)."""
    half = c.head_size // 2
    frequencies = 1.0 / c.rope_theta ** (np.arange(half, dtype=np.float32) * 2.0 / c.head_size).astype(np.float32)
    angles = np.arange(c.max_positions, dtype=np.float32)[:, None] * frequencies.astype(np.float32)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
