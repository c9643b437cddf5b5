"""Train Vocos, then polish Decoder and Vocos together: `python -m training.vocoder --work DIR`.

Stage 1: log-mel of real audio -> waveform; distances of the head's spectrum, and of the waveform's (--stft).
Stage 2 (--polish): hidden states of the frozen GPT -> Decoder -> mel -> Vocos -> waveform, same losses
plus the mel's own, so the vocoder hears what it will be given; --gan adds discriminators to either.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from . import data
from .discriminators import Jury, judges_of_mels, judges_of_waveforms
from .distances import EDGE, SpectralLoss, spectrum_loss
from .nets import HOP, Vocos
from .tools import Averages, Log, Muon, Peers, autocast, cosine, descend, device, load_state, save, seed_all

Batch = Tuple[Tensor, Tensor, Tensor]
"""Log-mel that Vocos is given [B, 100, frames], audio [B, (frames - 1) * HOP], and the log-mel of that audio."""
VOCOS = {"dim": 224, "inter": 672, "blocks": 6}


def load_vocos(work: Path) -> Vocos:
    path = work / "ckpt" / "polish.pt"
    path = path if path.exists() else work / "ckpt" / "vocos.pt"
    return Vocos.of(load_state(path)["ema"]).eval()


def real_batches(work: Path, size: int, frames: int, rng: np.random.Generator) -> Iterator[Batch]:
    """Slices of real clips, mels with their true context."""
    rows = [r for r in data.rows(work) if r["samples"] > frames * HOP + 2 * HOP]
    dev = device()
    audio = [data.load_audio(work, r) for r in rows]
    mels = [data.load_mel(work, r) for r in rows]
    while True:
        m, a = [], []
        for i in rng.integers(0, len(rows), size):
            at = int(rng.integers(0, mels[i].shape[1] - frames))
            m.append(mels[i][:, at : at + frames])
            a.append(torch.from_numpy(audio[i][at * HOP : (at + frames - 1) * HOP].astype(np.float32) / 32768))
        mel = torch.stack(m).float().to(dev)
        yield mel, torch.stack(a).to(dev), mel


def optimizers_of(modules: List[nn.Module], lr: float, muon: float) -> List[torch.optim.Optimizer]:
    """AdamW for all that learns, but for the blocks' matrices where Muon is to have them."""
    named = [(n, p) for module in modules for n, p in module.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if muon and "pwconv" in n and p.dim() == 2]
    known = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in known]
    out: List[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=lr, betas=(0.8, 0.99), weight_decay=0.01)]
    return [*out, Muon(matrices, lr=muon)] if matrices else out


class Voice:
    """What learns (Vocos, and in the polish Decoder before it), where its slices come from, and its checkpoint."""

    def __init__(self, args: argparse.Namespace, rng: np.random.Generator) -> None:
        work, self.dev = args.work, device()
        first = work / "ckpt" / "vocos.pt"
        self.path = work / "ckpt" / "polish.pt" if args.polish else first
        self.state: Dict[str, Any] = {}
        for path in (self.path, first):  # the polish begins with what stage 1 left
            if path.exists():
                self.state = load_state(path, self.dev)
                break
        goes_on = bool(self.state) and self.path.exists()
        averaged = args.fresh or not goes_on
        self.vocos = Vocos.of(self.state["ema" if averaged else "model"]) if self.state else Vocos(**VOCOS)
        self.vocos.to(self.dev)
        self.modules: List[nn.Module] = [self.vocos]
        self.decoder: Optional[nn.Module] = None
        if args.polish:
            from .polish import HiddenBatches

            feeder = HiddenBatches(work, args.batch, args.frames, rng)
            self.decoder = feeder.decoder
            if goes_on:
                self.decoder.load_state_dict(self.state["ema_decoder" if averaged else "decoder"])
            self.modules.append(self.decoder)
            self.batches: Iterator[Batch] = iter(feeder)
        else:
            self.batches = real_batches(work, args.batch, args.frames, rng)
        self.step = self.state["step"] if goes_on else 0
        self.spent = self.state["spent"] if goes_on and not args.fresh else 0.0
        self.averages = [Averages(module) for module in self.modules]

    def parameters(self) -> List[nn.Parameter]:
        return [p for module in self.modules for p in module.parameters() if p.requires_grad]

    def save(self, step: int, spent: float, juries: Dict[str, Jury]) -> None:
        decoder = self.decoder.state_dict() if self.decoder is not None else None
        save(self.path, model=self.vocos.state_dict(), ema=self.averages[0].state, step=step, spent=spent,
             decoder=decoder, ema_decoder=self.averages[1].state if decoder else {},
             **{name: jury.judges.state_dict() for name, jury in juries.items()})  # fmt: skip


def distance(
    voice: Voice, spectral: SpectralLoss, juries: Dict[str, Jury], args: argparse.Namespace, done: float
) -> Tuple[Tensor, Dict[str, Tensor]]:
    """The loss of the next batch, and its parts for the log."""
    head = voice.vocos.head
    mel, audio, real_mel = next(voice.batches)
    with autocast(voice.dev):
        features = voice.vocos.backbone(mel)
    log_mag, phase = head.polar(features.float())
    parts = {"mel_in": (mel - real_mel).abs().mean()}
    parts["mag"], parts["phase"] = spectrum_loss(log_mag, torch.polar(torch.ones_like(phase), phase), audio)
    loss = args.mel * parts["mel_in"] + args.spectrum * (parts["mag"] + parts["phase"])
    if "mel_judge" in juries:
        opinion, said = juries["mel_judge"].weigh(real_mel, mel, done)
        parts.update({f"mel_{name}": value for name, value in said.items()})
        loss = loss + args.mel_gan * opinion
    if not args.stft and "judge" not in juries:
        return loss, parts
    out = head.wave(log_mag, phase)
    spectrum = head.stft(out)
    size = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-8)
    parts["mag_out"], parts["phase_out"] = spectrum_loss(size.log(), spectrum / size, audio)
    # The slice's ends lack the context that the whole clip would give.
    out, audio = (x[:, EDGE * HOP : -EDGE * HOP] for x in (out, audio))
    parts["stft"], parts["mel"] = spectral(out, audio)
    loss = loss + args.spectrum * (parts["mag_out"] + parts["phase_out"]) + args.stft * parts["stft"] + 2 * parts["mel"]
    if "judge" in juries:
        opinion, said = juries["judge"].weigh(audio, out, done)
        parts.update(said)
        loss = loss + args.gan * opinion
    return loss, parts


def train(args: argparse.Namespace) -> None:
    peers = Peers(args.meet)
    seed_all(int(time.time()) + peers.rank)
    voice = Voice(args, np.random.default_rng(int(time.time()) + peers.rank))
    spectral = SpectralLoss().to(voice.dev)
    juries: Dict[str, Jury] = {}
    if args.gan:
        juries["judge"] = Jury(judges_of_waveforms(), voice.dev, voice.state.get("judge"), args.look_on)
    if args.mel_gan:
        juries["mel_judge"] = Jury(judges_of_mels(), voice.dev, voice.state.get("mel_judge"), args.look_on)
    params = voice.parameters()
    optimizers = optimizers_of(voice.modules, args.lr, args.muon)
    shared = params + [p for jury in juries.values() for p in jury.judges.parameters()]
    log = Log(args.work / "log" / ("polish.jsonl" if args.polish else "vocoder.jsonl"))
    began, start = time.time(), voice.step

    def spent() -> float:
        return voice.spent + time.time() - began

    for step in itertools.count(start):
        if step == start or step % peers.every == 0:  # where ranks meet they also agree on the time
            minutes = peers.mean(shared, spent() / 60)
            done = step / args.steps if args.steps else minutes / args.minutes
            if done >= 1:
                break
        for optimizer, peak in zip(optimizers, (args.lr, args.muon)):
            optimizer.param_groups[0]["lr"] = peak * cosine(done, 0.02)
        loss, parts = distance(voice, spectral, juries, args, done)
        descend(loss, params, optimizers, 5.0)
        for average in voice.averages:
            average.update()
        log.add(parts)
        if (step + 1) % 25 == 0 and not peers.rank:
            log.write(step=step + 1, min=spent() / 60, **log.means())
        if (step + 1) % 100 == 0 and not peers.rank:
            voice.save(step + 1, spent(), juries)
    if not peers.rank:
        voice.save(step, spent(), juries)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=0, help="train to this step, whatever time it takes")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--frames", type=int, default=44)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--polish", action="store_true", help="stage 2, needs a trained GPT")
    parser.add_argument("--gan", type=float, default=0.0, help="weight of what discriminators make of the sound")
    parser.add_argument("--mel-gan", type=float, default=0.0, help="and of Decoder's mels")
    parser.add_argument("--stft", type=float, default=1.0, help="weight of the spectral distances; less beside --gan")
    parser.add_argument("--look-on", type=int, default=200, help="steps that new judges learn before they are heard")
    parser.add_argument("--mel", type=float, default=1.0, help="weight of the distance of Decoder's mel")
    parser.add_argument("--spectrum", type=float, default=1.0, help="weight of the distances of spectra")
    parser.add_argument(
        "--muon", type=float, default=0.01, help="learning rate of Muon on the blocks' matrices; 0: AdamW"
    )
    parser.add_argument("--meet", type=int, default=5, help="steps between the ranks' averages (torchrun)")
    parser.add_argument("--fresh", action="store_true", help="restart the schedule from the averaged weights")
    args = parser.parse_args()
    if args.mel_gan and not args.polish:
        parser.error("--mel-gan judges Decoder's mels, which only --polish makes")
    train(args)


if __name__ == "__main__":
    main()
