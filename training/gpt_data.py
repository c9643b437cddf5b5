"""Batches for the GPT: symbols, codes, mels and which symbol is heard at every step."""

from __future__ import annotations

import copy
import os
import zlib
from pathlib import Path
from typing import Any, Dict, Iterator, List, Sequence

import numpy as np
import torch
from torch import Tensor

from chattts_onnx.text import mandarin, phonemes

from . import data
from .nets import EOS, MELS
from .teacher import FRAME, HIBARI_VOICE

FOCUS = os.environ.get("MINI_FOCUS", "")  # "zh": the last stretch, mostly Mandarin, which lags behind
SPEEDS = {0.8: 3, 0.9: 4, 1.0: 5, 1.1: 6, 1.25: 7}
NOBODY = -1  # the row of `GPT.voice_table` for speech whose voice is only heard, not given
READ_ON = 0.6  # of the rows that begin with other clips or with what was said before, as the template for that has it
NAMELESS = 0.4  # of those, as clones do
SIZES = (64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 640)
NOOPS = [
    t for t in phonemes.SPECIALS if t.startswith(("[laugh", "[oral_", "[break_", "[music", "[pure", "[undef", "[v_b"))
]


def share_matrix(vocab: Dict[str, int]) -> Tensor:
    """Which parts (final, tone) each Mandarin symbol is made of."""
    parts = [*mandarin.FINALS, *mandarin.TONES]
    out = torch.zeros(len(vocab), len(parts))
    for final in mandarin.FINALS:
        for tone in mandarin.TONES:
            row = vocab[final + tone]
            out[row, parts.index(final)] = out[row, parts.index(tone)] = 1.0
    return out


class Item:
    """One clip: prompt ids, codes, mel and the symbol span of every step."""

    def __init__(
        self, row: Dict[str, Any], codes: np.ndarray, mel: np.ndarray, vocab: Dict[str, int], voice: int
    ) -> None:
        self.voice, self.mel, self.name = voice, mel, str(row["id"])
        self.kind = (voice, row["speed"], row["lang"])  # clips that one reader could say in a row
        # compute is scarcer than data: a pass takes a part of the bulk English voice and of the joined clips
        english = 0.35 if row["lang"] == "en" and FOCUS == "zh" else 1.0
        bulk = 0.06 if FOCUS else 0.18
        self.share = bulk if row["voice"] == HIBARI_VOICE else 0.6 * english if self.name.startswith("cp") else english
        self.codes = codes.astype(np.int64).T  # [T, 4]
        unknown = vocab["[UNK]"]
        speed = f"[speed_{SPEEDS.get(row['speed'], 5)}]"
        names = ["[Stts]", "[spk_emb]", speed, *row["tokens"], "[Ptts]"]
        self.ids = np.array([vocab.get(n, unknown) for n in names], np.int64)
        ends = np.cumsum(row["frames"]) * FRAME  # lead, tokens..., tail: positions 2, 3.., last
        steps = np.arange(len(self.codes)) * data.STEP

        def find(at):
            return np.minimum(np.searchsorted(ends, at, side="right"), len(ends) - 1) + 2

        self.low, self.mid, self.high = find(steps), find(steps + data.STEP // 2), find(steps + data.STEP - 1)
        self.split = int(row.get("split", 0))
        self.commas = np.flatnonzero(self.ids[:-2] == vocab[","])

    def __len__(self) -> int:
        return len(self.ids) + len(self.codes)

    def followed_by(self, other: Item) -> Item:
        """Both in one breath, `other` behind this one: longer than any clip, and what reading on looks like."""
        both = copy.copy(self)
        both.codes, both.mel = np.concatenate((self.codes, other.codes)), np.concatenate((self.mel, other.mel), 1)
        both.ids = np.concatenate((self.ids[:-1], other.ids[3:]))
        added = len(self.ids) - 4
        both.split, both.commas = added + other.split, np.concatenate((self.commas, other.commas + added))
        mark = len(self.ids) - 2  # the last symbol before the seam takes the silence around it, as in compose
        spans = [
            np.concatenate((np.minimum(a, mark), np.where(b == 2, mark, b + added)))
            for a, b in ((self.low, other.low), (self.mid, other.mid), (self.high, other.high))
        ]
        both.low, both.mid, both.high = spans
        return both

    def up_to(self, mark: int) -> Item:
        """What is said until the symbol at `mark` of `ids` is over: a text that ends there."""
        part = copy.copy(self)
        steps = int(np.searchsorted(self.mid, mark, side="right"))
        part.codes, part.mel = self.codes[:steps], self.mel[:, : 2 * steps]
        part.ids = np.append(self.ids[: mark + 1], self.ids[-1])
        part.low, part.mid, part.high = (np.minimum(x[:steps], mark) for x in (self.low, self.mid, self.high))
        part.commas = self.commas[self.commas < mark]
        return part

    def read_on_from(self, mark: int) -> Item:
        """The same clip, of which everything until the symbol at `mark` of `ids` was said before."""
        part = copy.copy(self)
        part.split = mark - 2
        return part

    def continued(self, nameless: bool) -> Item:
        """The tag of pace between transcript and text, as in the published template; as in clones, nobody named."""
        cut = 3 + self.split
        out = copy.copy(self)
        out.ids = np.concatenate((self.ids[:2], self.ids[3:cut], self.ids[2:3], self.ids[cut:]))
        out.low, out.mid, out.high = (x - ((x >= 3) & (x < cut)) for x in (self.low, self.mid, self.high))
        out.voice = NOBODY if nameless else self.voice
        return out


Kinds = Dict[Any, List[Item]]


def by_kind(items: Sequence[Item]) -> Kinds:
    """Clips that may be read on from each other; those that are joined already stay out."""
    kinds: Kinds = {}
    for item in items:
        if not item.split:
            kinds.setdefault(item.kind, []).append(item)
    return kinds


def lengthened(item: Item, kinds: Kinds, rng: np.random.Generator) -> Item:
    """`item` behind others of its kind, as many as a length drawn evenly allows."""
    size = int(rng.integers(SIZES[3], SIZES[-1]))
    pool = kinds[item.kind]
    while True:
        before = pool[rng.integers(len(pool))]
        if len(before) + len(item) >= size:
            return item
        item = before.followed_by(item)


class Corpus:
    """Every clip, in the proportions of a pass.

    Args:
        joined: share of the clips that others of their kind are put in front of, drawn anew at every pass, so that the
            model reads long texts, and on from what was said, without a teacher that does.
        cut: share of the clips with a comma that end there, and as many again that are read on from there, as segments
            of long texts are.
    """

    def __init__(
        self, work: Path, voices: Sequence[str], vocab: Dict[str, int], joined: float = 0.0, cut: float = 0.0
    ) -> None:
        self.vocab, self.joined, self.cut = vocab, joined, cut
        self.items: List[Item] = []
        self.valid: List[Item] = []
        for row in data.rows(work):
            path = work / "codes" / f"{row['id']}.npy"
            if not path.exists() or row["voice"] not in voices or len(row["tokens"]) + 4 > 400:
                continue
            item = Item(row, np.load(path), data.load_mel(work, row).numpy(), vocab, list(voices).index(row["voice"]))
            if len(item) < SIZES[-1] and item.mel.shape[1] == 2 * len(item.codes):
                # One in a hundred that is no composite is held out for the loss curve: by its name, since clips that
                # are added later must not move others from one side to the other.
                held_out = zlib.crc32(item.name.encode()) % 100 == 7 and not item.name.startswith("cp")
                (self.valid if held_out else self.items).append(item)

    def batches(self, tokens: int, longest: int, rng: np.random.Generator) -> Iterator[List[Item]]:
        """One pass: shuffled, bucketed by padded size, about `tokens` positions a batch."""
        pool: Dict[int, List[Item]] = {}
        order = rng.permutation(len(self.items))
        ready: List[List[Item]] = []
        kinds = by_kind(self.items)
        for i in order:
            item = self.items[i]
            if rng.random() > item.share:
                continue
            whole = not item.split
            if whole and len(item.commas) and (fate := rng.random()) < 2 * self.cut:
                mark = int(rng.choice(item.commas))
                item = item.up_to(mark) if fate < self.cut else item.read_on_from(mark)
            if whole and longest > SIZES[-1] and rng.random() < self.joined:
                item = lengthened(item, kinds, rng)
            size = next(s for s in SIZES if s > len(item))
            if size > longest:
                continue
            bucket = pool.setdefault(size, [])
            bucket.append(item)
            if len(bucket) >= max(1, tokens // size):
                ready.append(bucket)
                pool[size] = []
        ready += [b for b in pool.values() if b]
        for i in rng.permutation(len(ready)):
            yield ready[i]


def collate(items: List[Item], vocab: Dict[str, int], rng: np.random.Generator, noise: float) -> Dict[str, Tensor]:
    """Pad to one size. Frame t of row b is predicted at position `at[b, t]`; step T predicts the end."""
    rows = len(items)
    longest = max(len(i) for i in items) + (1 if noise else 0)
    size = next(s for s in SIZES if s >= longest)
    frames = max(len(i.codes) for i in items) + 1
    ids = np.zeros((rows, size), np.int64)
    is_code = np.zeros((rows, size), bool)
    codes_in = np.zeros((rows, size, 4), np.int64)
    target = np.full((rows, frames, 4), -100, np.int64)
    at = np.zeros((rows, frames), np.int64)
    low, high = np.zeros((rows, frames), np.int64), np.zeros((rows, frames), np.int64)
    aux = np.full((rows, frames, 3), -100, np.int64)
    mel = np.zeros((rows, MELS, 2 * frames), np.float32)
    voice = np.zeros(rows, np.int64)
    for b, clip in enumerate(items):
        reads_on = noise and clip.split and rng.random() < READ_ON
        item = clip.continued(nameless=rng.random() < NAMELESS) if reads_on else clip
        prompt, lo, mid, hi = item.ids, item.low, item.mid, item.high
        if noise and rng.random() < 0.06:  # a tag that changes nothing must be heard as nothing
            k = int(rng.integers(3, len(prompt)))
            prompt = np.insert(prompt, k, vocab[NOOPS[rng.integers(len(NOOPS))]])
            lo, mid, hi = (x + (x >= k) for x in (lo, mid, hi))
        elif noise and rng.random() < 0.1 and prompt[-2] == vocab["."]:  # a sentence without its full stop
            last = len(prompt) - 2
            prompt = np.delete(prompt, last)
            lo, mid, hi = (np.minimum(x, last) for x in (lo, mid, hi))
        p, t = len(prompt), len(item.codes)
        ids[b, :p] = prompt
        is_code[b, p : p + t] = True
        given = item.codes
        if noise:
            given = given.copy()
            wrong = rng.random(given.shape) < noise
            given[wrong] = rng.integers(0, EOS, int(wrong.sum()))
            stale = np.flatnonzero(rng.random(t) < noise)
            given[stale] = item.codes[np.maximum(stale - 1, 0)]
        codes_in[b, p : p + t] = given
        target[b, :t], target[b, t] = item.codes, EOS
        at[b, : t + 1] = np.arange(p - 1, p + t)
        low[b, :t], high[b, :t] = lo, hi
        for k in range(3):
            aux[b, :t, k] = prompt[np.minimum(mid + k, p - 1)]
        mel[b, :, : 2 * t] = item.mel
        voice[b] = item.voice
    out = {
        "ids": ids,
        "is_code": is_code,
        "codes": codes_in,
        "target": target,
        "at": at,
        "low": low,
        "high": high,
        "aux": aux,
        "mel": mel,
        "voice": voice,
    }
    return {k: torch.from_numpy(v) for k, v in out.items()}
