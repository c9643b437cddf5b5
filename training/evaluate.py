"""What a checkpoint sounds like to whisper: `python -m training.evaluate --work DIR --sentences 16`.

Sampled as at run time (temperature 0.3, top P 0.7, top K 20), Decoder on the hidden states, Vocos,
whisper-base; toneless pinyin errors for Mandarin, word errors for English, on the unseen sentences.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Dict, List

import numpy as np
import soundfile
import torch

from . import gpt_data
from .asr import Ear, error_rate
from .gpt import VOICES, load_model
from .gpt_data import phonemes
from .gpt_model import generate
from .tools import Log
from .vocoder import load_vocos

SENTENCES = Path(gpt_data.__file__).resolve().parent.parent / "src" / "chattts_onnx" / "evaluation"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--sentences", type=int, default=16, help="per language")
    parser.add_argument("--temperature", type=float, default=0.3)
    parser.add_argument("--checkpoint", default="ema", choices=("ema", "model"))
    parser.add_argument(
        "--decoder", default="polished", choices=("polished", "gpt"), help="gpt: as the GPT stage left it"
    )
    args = parser.parse_args()
    torch.set_num_threads(1)
    work = args.work
    model, step, minutes = load_model(work, weights=args.checkpoint, polished=args.decoder == "polished")
    vocos = load_vocos(work)
    tokenizer = phonemes.PhonemeTokenizer(phonemes.vocabulary())
    out = work / "eval"
    out.mkdir(exist_ok=True)
    voices = [VOICES.index(v) for v in ("heartbei", "micyunxi", "emxiao", "geojian")]
    ear = Ear(work)
    result: Dict[str, float] = {}
    for lang in ("zh", "en"):
        lines = (SENTENCES / f"sentences_{lang}.txt").read_text("utf-8").split("\n")
        lines = [line for line in lines if line][:: 64 // args.sentences][: args.sentences]
        used = [*voices, VOICES.index("heart")] if lang == "en" else voices
        who = [used[i % len(used)] for i in range(len(lines))]
        prompts: List[List[int]] = [tokenizer.encode(f"[Stts][spk_emb][speed_5]{line}[Ptts]") for line in lines]
        began = time.time()
        rows = generate(model.gpt, prompts, who, tokenizer.vocab["[spk_emb]"], args.temperature)
        pairs = []
        seconds = 0.0
        for i, (line, (hidden, _)) in enumerate(zip(lines, rows)):
            if len(hidden) < 3:
                pairs.append((line, ""))
                continue
            with torch.no_grad():
                audio = vocos(model.decoder(hidden.T[None]))[0].numpy()
            seconds += len(audio) / 24000
            soundfile.write(out / f"{lang}{i:02d}.wav", np.clip(audio, -1, 1), 24000)
            heard = ear.hear(audio, 24000, lang)
            pairs.append((line, heard))
            print(f"{VOICES[who[i]]:9s} {len(audio) / 24000:5.2f} s  {line} | {heard}", flush=True)
        result[lang] = error_rate(pairs, lang)
        result[lang + "_s"] = seconds / len(lines)
        print(lang, result[lang], f"{time.time() - began:.0f} s")
    Log(work / "log" / "evaluate.jsonl").write(step=step, min=minutes, temperature=args.temperature, **result)


if __name__ == "__main__":
    main()
