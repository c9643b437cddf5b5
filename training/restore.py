"""Go on from a shipped model: `python -m training.restore --work DIR [--model DIR]`.

Checkpoints are large and stay where they were made; what the package ships holds all that is needed to go on. This
turns a converted model of `training.export` back into DIR/ckpt: 8-bit matrices times their scales, folded factors taken
out again. The optimisers start anew, and so do the auxiliary heads, at zero, so that they disturb nothing before they
have learnt something; only what the text head knows is put back.
"""

from __future__ import annotations

import argparse
import base64
import json
from pathlib import Path
from typing import Any, Dict, Tuple

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from .gpt import VOICES, build
from .nets import BOOKS, DVAE, DVAEConfig, Vocos
from .tools import save

SHIPPED = Path(__file__).resolve().parent.parent / "src" / "chattts_onnx" / "models" / "mini"


class Graph:
    """The weights of one graph by the names that conversion gave them."""

    def __init__(self, path: Path) -> None:
        model = onnx.load(str(path))
        self.arrays = {t.name: numpy_helper.to_array(t).astype(np.float32) for t in model.graph.initializer}

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(np.array(self.arrays[name]))

    def linear(self, name: str) -> Tensor:
        """A matrix as PyTorch has it, [out, in]; an 8-bit one times its scales."""
        weight, scale = self[name + "/matmul.weight"], self.arrays.get(name + "/matmul.scale")
        return (weight if scale is None else weight * torch.from_numpy(np.array(scale))).t().contiguous()


def blocks(graph: Graph, source: str, modules: nn.ModuleList, target: str) -> Dict[str, Tensor]:
    """ConvNeXt blocks: the layer scale, folded into the last matrix at conversion, gets its first value back."""
    out: Dict[str, Tensor] = {}
    for i, block in enumerate(modules):
        at, to = f"{source}.{i}/", f"{target}.{i}."
        scale = getattr(block, block.scale_name).detach()
        for name in ("dwconv.weight", "dwconv.bias", "norm.weight", "norm.bias", "pwconv1.bias"):
            out[to + name] = graph[at + name]
        out[to + "pwconv1.weight"] = graph.linear(at + "pwconv1")
        out[to + "pwconv2.weight"] = graph.linear(at + "pwconv2") / scale[:, None]
        out[to + "pwconv2.bias"] = graph[at + "pwconv2.bias"] / scale
        out[to + block.scale_name] = scale.clone()
    return out


def stack(graph: Graph, scope: str, module: Any) -> Dict[str, Tensor]:
    """A `ConvStack`, under its own name."""
    out = {
        f"{scope}.conv_in.{i}.{kind}": graph[f"{scope}/conv_in.{i}.{kind}"]
        for i in (0, 2)
        for kind in ("weight", "bias")
    }
    out.update(blocks(graph, f"{scope}/blocks", module.decoder_block, f"{scope}.decoder_block"))
    out[f"{scope}.conv_out.weight"] = graph.linear(f"{scope}/conv_out")[:, :, None]
    return out


def restore_dvae(model: Path) -> Dict[str, Tensor]:
    encoder, decoder = Graph(model / "dvae_encoder.onnx"), Graph(model / "dvae_decoder.onnx")
    net = DVAE(DVAEConfig())
    state = {"coef": encoder["coef"]}
    for i in (0, 2):
        for kind in ("weight", "bias"):
            state[f"downsample_conv.{i}.{kind}"] = encoder[f"downsample_conv.{i}.{kind}"]
    state.update(stack(encoder, "encoder", net.encoder))
    state.update(stack(decoder, "decoder", net.decoder))
    state["out_conv.weight"] = decoder["out_conv.weight"] / state["coef"].reshape(-1, 1, 1)
    for group in range(2):
        prefix = f"vq_layer.quantizer.rvqs.{group}."
        # export halves the input projection, against the second bound of the published encoder
        state[prefix + "project_in.weight"] = encoder[f"quantizer/{group}.weight"].t() * 2
        state[prefix + "project_in.bias"] = encoder[f"quantizer/{group}.bias"] * 2
        state[prefix + "project_out.weight"] = decoder[f"quantizer/{group}.weight"].t()
        state[prefix + "project_out.bias"] = decoder[f"quantizer/{group}.bias"]
    net.load_state_dict(state)
    return net.state_dict()


def restore_vocos(model: Path) -> Dict[str, Tensor]:
    graph = Graph(model / "vocos.onnx")
    inter, dim = graph.linear("blocks.0/pwconv1").shape
    net = Vocos(dim, inter, sum(name.startswith("blocks.") and name.endswith("/norm.weight") for name in graph.arrays))
    state = {f"backbone.embed.{kind}": graph[f"embed.{kind}"] for kind in ("weight", "bias")}
    for name in ("norm", "final_layer_norm"):
        for kind in ("weight", "bias"):
            state[f"backbone.{name}.{kind}"] = graph[f"{name}.{kind}"]
    state.update(blocks(graph, "blocks", net.backbone.convnext, "backbone.convnext"))
    state.update({"head.out.weight": graph.linear("head"), "head.out.bias": graph["head.bias"]})
    net.load_state_dict({**state, "head.window": net.head.window})
    return net.state_dict()


def restore_gpt(model: Path, coef: Tensor) -> Dict[str, Tensor]:
    graph, decoder = Graph(model / "gpt.onnx"), Graph(model / "decoder.onnx")
    net = build()
    state = {k: v.clone() for k, v in net.state_dict().items()}
    gpt: Dict[str, Tensor] = {"emb_own": graph["embed/emb_text"], "emb_parts": torch.zeros_like(net.gpt.emb_parts)}
    for book, table in enumerate(graph["embed/emb_code"].chunk(BOOKS)):
        gpt[f"emb_code.{book}.weight"] = table
    voices = [json.loads((model / "voices" / f"{name}.json").read_text("utf-8"))["embedding"] for name in VOICES]
    gpt["voice.weight"] = torch.stack(
        [torch.from_numpy(np.frombuffer(base64.b64decode(v), "<f4").copy()) for v in voices]
    )
    for i in range(net.gpt.cfg.layers):
        at, to = f"layers.{i}/", f"layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            gpt[f"{to}{name}.weight"] = graph[at + name]
        for name, part in zip("qkv", graph.linear(at + "qkv_proj").chunk(3)):
            gpt[f"{to}self_attn.{name}_proj.weight"] = part
        gpt[f"{to}self_attn.o_proj.weight"] = graph.linear(at + "o_proj")
        for name, part in zip(("gate", "up"), graph.linear(at + "gate_up_proj").chunk(2)):
            gpt[f"{to}mlp.{name}_proj.weight"] = part
        gpt[f"{to}mlp.down_proj.weight"] = graph.linear(at + "down_proj")
    gpt.update({"norm.weight": graph["norm"], "head_code.weight": graph.linear("head_code")})
    for name in ("aux_mid", "aux_last"):
        for kind in ("weight", "bias"):
            gpt[f"{name}.{kind}"] = torch.zeros_like(state[f"gpt.{name}.{kind}"])
    # The text head was fitted to what the last auxiliary head names first: the symbol that is spoken now.
    gpt["aux_last.weight"][: net.gpt.cfg.vocab] = Graph(model / "text_head.onnx").linear("head_text")
    acoustic = stack(decoder, "decoder", net.decoder.decoder)
    acoustic.update({"coef": coef, "out_conv.weight": decoder["out_conv.weight"] / coef.reshape(-1, 1, 1)})
    state.update({f"gpt.{k}": v for k, v in gpt.items()})
    state.update({f"decoder.{k}": v for k, v in acoustic.items()})
    net.load_state_dict(state)
    return net.state_dict()


def restore(model: Path, work: Path) -> Tuple[int, Path]:
    """Write DIR/ckpt/*.pt of every stage; returns the step they were trained to, and the folder."""
    source = json.loads((model / "manifest.json").read_text("utf-8"))["source"]
    step = int(source.rsplit(" steps", 1)[0].rsplit(" ", 1)[-1])
    dvae, vocos = restore_dvae(model), restore_vocos(model)
    gpt = restore_gpt(model, dvae["coef"])
    save(work / "ckpt" / "dvae.pt", model=dvae, step=0)
    save(work / "ckpt" / "vocos.pt", model=vocos, ema=vocos, step=0, spent=0.0)
    save(work / "ckpt" / "gpt.pt", model=gpt, ema=gpt, step=step, spent=0.0)
    decoder = Graph(model / "decoder.onnx")
    postfilter = {kind: decoder[f"postfilter.{kind}"] for kind in ("weight", "bias")}
    save(work / "ckpt" / "postfilter.pt", weight=postfilter["weight"][:, :, 0], bias=postfilter["bias"])
    save(work / "ckpt" / "text_head.pt", weight=Graph(model / "text_head.onnx").linear("head_text"))
    return step, work / "ckpt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--model", type=Path, default=SHIPPED, help="default: the shipped one")
    args = parser.parse_args()
    step, where = restore(args.model, args.work)
    print(f"{where}: step {step}; go on with training.gpt and training.vocoder")


if __name__ == "__main__":
    main()
