"""Hidden states of the trained GPT as input for the last stage: Decoder and Vocos learn to read them."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator, List, Tuple

import numpy as np
import torch
from torch import Tensor

from . import data
from .gpt import VOICES, build
from .gpt_data import Corpus, collate, phonemes
from .gpt_model import rope
from .nets import HOP
from .tools import autocast, device, load_state


class HiddenBatches:
    """Teacher-forced hidden states, cached in memory, decoded on the fly by a trainable Decoder."""

    def __init__(self, work: Path, size: int, frames: int, rng: np.random.Generator, clips: int = 2000) -> None:
        self.size, self.frames, self.rng = size, frames, rng
        dev = device()
        model = build()
        model.load_state_dict(load_state(work / "ckpt" / "gpt.pt")["ema"])
        model.eval().to(dev)
        self.decoder = model.decoder
        vocab = phonemes.vocabulary()
        rows = {r["id"]: r for r in data.rows(work)}
        corpus = Corpus(work, VOICES, vocab)
        picks = [i for i in rng.permutation(len(corpus.items)) if rng.random() < corpus.items[i].share][:clips]
        items = sorted((corpus.items[i] for i in picks), key=len)
        self.store: List[Tuple[Tensor, Tensor, np.ndarray]] = []
        for i in range(0, len(items), 16):
            part = items[i : i + 16]
            batch = {k: v.to(dev) for k, v in collate(part, vocab, rng, 0.03).items()}
            with torch.no_grad(), autocast(dev):
                text = model.gpt.embed_text(batch["ids"], batch["voice"], vocab["[spk_emb]"])
                x = torch.where(batch["is_code"][..., None], model.gpt.embed_codes(batch["codes"]), text)
                cos, sin = (r.to(dev) for r in rope(x.shape[1]))
                last, _, _ = model.gpt.trunk(x, cos, sin)
            for b, item in enumerate(part):
                length = len(item.codes)
                hidden = last[b][batch["at"][b, :length]].T.to(torch.bfloat16).cpu()
                if length * 2 > frames + 16:
                    self.store.append((hidden, torch.from_numpy(item.mel), data.load_audio(work, rows[item.name])))

    def __iter__(self) -> Iterator[Tuple[Tensor, Tensor, Tensor]]:
        """(Decoder's log-mel [B, 100, frames], audio [B, (frames-1)*HOP], the real log-mel) of slices."""
        dev = device()
        tokens, edge = self.frames // 2, 6  # context tokens on each side for Decoder, cut before the vocoder
        while True:
            hidden, mels, audio = [], [], []
            for i in self.rng.integers(0, len(self.store), self.size):
                h, m, a = self.store[i]
                at = int(self.rng.integers(0, h.shape[1] - tokens + 1))
                low, high = max(0, at - edge), min(h.shape[1], at + tokens + edge)
                pad = (low - (at - edge), at + tokens + edge - high)
                hidden.append(torch.nn.functional.pad(h[:, low:high].float(), pad))
                mels.append(m[:, 2 * at : 2 * (at + tokens)].float())
                audio.append(
                    torch.from_numpy(a[2 * at * HOP : (2 * (at + tokens) - 1) * HOP].astype(np.float32) / 32768)
                )
            with autocast(dev):
                out = self.decoder(torch.stack(hidden).to(dev))
            out = out[:, :, 2 * edge : -2 * edge].float()
            yield out, torch.stack(audio).to(dev), torch.stack(mels).to(dev)
