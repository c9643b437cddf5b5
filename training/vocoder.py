"""Train Vocos, then polish Decoder and Vocos together: `python -m training.vocoder --work DIR`.

Stage 1: log-mel of real audio -> waveform, multi-resolution STFT and mel losses.
Stage 2 (--polish): hidden states of the frozen GPT -> Decoder -> mel -> Vocos -> waveform, same losses
plus the mel's own, so the vocoder hears what it will be given; --gan adds discriminators to either.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from . import data
from .discriminators import Discriminators, loss_generator, loss_real_fake
from .nets import HOP, N_FFT, MelSpectrogram, Vocos
from .tools import Log, Muon, Peers, autocast, cosine, device, save, seed_all

VOCOS = {"dim": 288, "inter": 864, "blocks": 6}
JUDGE_RATE = 6e-4
EDGE = 2
"""Frames at each end of a slice that are not compared: they lack the context that the whole clip gives."""
FLOOR = 1e-2
"""Magnitude below which a bin of the head's spectrum (RMS of speech: about 1.5) counts as silent."""
RESOLUTIONS = ((2048, 480), (1024, 240), (512, 120), (256, 60))


class SpectralLoss(nn.Module):
    """Log-magnitude and spectral-convergence distances at several resolutions, and an 80-band log-mel."""

    def __init__(self) -> None:
        super().__init__()
        for n, _ in RESOLUTIONS:
            self.register_buffer(f"w{n}", torch.hann_window(n))
        self.mel = MelSpectrogram(1024, 256, 80)

    def magnitude(self, x: Tensor, n: int, hop: int) -> Tensor:
        spec = torch.stft(x, n, hop, window=getattr(self, f"w{n}"), return_complex=True)
        return torch.sqrt(spec.real.square() + spec.imag.square() + 1e-7)

    def forward(self, out: Tensor, real: Tensor) -> Tuple[Tensor, Tensor]:
        total = out.new_zeros(())
        for n, hop in RESOLUTIONS:
            a, b = self.magnitude(out, n, hop), self.magnitude(real, n, hop)
            total = total + (a.log() - b.log()).abs().mean() + (a - b).norm() / (b.norm() + 1e-3)
        mel = (
            (
                torch.log(self.mel.fb.t() @ self.mel.magnitude(out) + 1e-4)
                - torch.log(self.mel.fb.t() @ self.mel.magnitude(real) + 1e-4)
            )
            .abs()
            .mean()
        )
        return total / len(RESOLUTIONS), mel


def spectrum_loss(log_mag: Tensor, phasor: Tensor, audio: Tensor) -> Tuple[Tensor, Tensor]:
    """Distance of a spectrum (log-magnitudes, and phases as complex numbers of size one) to that of the real audio.

    Log-magnitudes, and the differences of phase to the frame before and to the bin below (absolute phase is not in a
    mel): one minus the cosine, weighted by how much sound is there. Told of what the head says, no overlap blurs it.
    """
    window = torch.hann_window(N_FFT, device=audio.device)
    real = torch.stft(audio, N_FFT, HOP, window=window, return_complex=True)
    inner = slice(EDGE, -EDGE)  # frames at the slice's ends see a mirror
    real, log_mag, phasor = real[:, :, inner], log_mag[:, :, inner], phasor[:, :, inner]
    size = real.abs()
    mag = (torch.log(torch.exp(log_mag) + FLOOR) - torch.log(size + FLOOR)).abs().mean()
    weight, error = size / (size + 10 * FLOOR), phasor * real.conj() / (size + 1e-8)
    total = mag.new_zeros(())
    for axis in (1, 2):
        long = weight.shape[axis] - 1
        both = weight.narrow(axis, 1, long) * weight.narrow(axis, 0, long)
        turn = error.narrow(axis, 1, long) * error.narrow(axis, 0, long).conj()
        total = total + (both * (1 - turn.real)).sum() / both.sum()
    return mag, total / 2


def load_vocos(work: Path) -> Vocos:
    path = work / "ckpt" / "polish.pt"
    path = path if path.exists() else work / "ckpt" / "vocos.pt"
    return Vocos.of(torch.load(path, map_location="cpu", weights_only=False)["ema"]).eval()


def real_batches(work: Path, size: int, frames: int, rng: np.random.Generator) -> Iterator[Tuple[Tensor, Tensor]]:
    """(log-mel [B, 100, frames], audio [B, (frames-1)*HOP]) slices of real clips, mels with their true context."""
    rows = [r for r in data.rows(work) if r["samples"] > frames * HOP + 2 * HOP]
    audio = [data.load_audio(work, r) for r in rows]
    mels = [data.load_mel(work, r) for r in rows]
    while True:
        m, a = [], []
        for i in rng.integers(0, len(rows), size):
            at = int(rng.integers(0, mels[i].shape[1] - frames))
            m.append(mels[i][:, at : at + frames])
            a.append(torch.from_numpy(audio[i][at * HOP : (at + frames - 1) * HOP].astype(np.float32) / 32768))
        yield torch.stack(m).float(), torch.stack(a)


def optimizers_of(modules: List[nn.Module], lr: float, muon: float) -> List[torch.optim.Optimizer]:
    """AdamW for all that learns, but for the blocks' matrices where Muon is to have them."""
    named = [(n, p) for module in modules for n, p in module.named_parameters() if p.requires_grad]
    matrices = [p for n, p in named if muon and "pwconv" in n and p.dim() == 2]
    known = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in known]
    out: List[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=lr, betas=(0.8, 0.99), weight_decay=0.01)]
    return [*out, Muon(matrices, lr=muon)] if matrices else out


def train(args: argparse.Namespace) -> None:
    work, dev = args.work, device()
    peers = Peers(work, args.meet)
    seed_all(int(time.time()) + peers.rank)
    try:
        vocos = load_vocos(work).train().to(dev)
    except FileNotFoundError:
        vocos = Vocos(**VOCOS).to(dev)
    spectral = SpectralLoss().to(dev)
    rng = np.random.default_rng(int(time.time()) + peers.rank)
    params: List[nn.Parameter] = list(vocos.parameters())
    path = work / "ckpt" / ("polish.pt" if args.polish else "vocos.pt")
    feeder = None
    if args.polish:
        from .polish import HiddenBatches

        feeder = HiddenBatches(work, args.batch, args.frames, rng)
        params = params + [p for p in feeder.decoder.parameters() if p.requires_grad]
        source: Iterator[Tuple[Tensor, Tensor]] = iter(feeder)
    else:
        source = real_batches(work, args.batch, args.frames, rng)
    optimizers = optimizers_of([vocos, feeder.decoder] if feeder else [vocos], args.lr, args.muon)
    start, spent = 0, 0.0
    judge = Discriminators().to(dev) if args.gan else None
    judge_optimizer = torch.optim.AdamW(judge.parameters(), lr=JUDGE_RATE, betas=(0.8, 0.99)) if judge else None
    heard = judge is None  # judges that start from nothing look on first, or they would only add noise
    if path.exists():
        state = torch.load(path, map_location=dev, weights_only=False)
        vocos.load_state_dict(state["ema" if args.fresh else "model"])
        start = state["step"]
        if not args.fresh:
            spent = state["spent"]
        if feeder is not None:
            feeder.decoder.load_state_dict(state["ema_decoder" if args.fresh else "decoder"])
        if judge and state.get("judge"):
            judge.load_state_dict(state["judge"])
            heard = True
    elif judge and args.polish:  # the judges of stage 1 know the voice already
        first = torch.load(work / "ckpt" / "vocos.pt", map_location=dev, weights_only=False)
        if first.get("judge"):
            judge.load_state_dict(first["judge"])
            heard = True
    ema = {k: v.detach().clone() for k, v in vocos.state_dict().items()}
    ema_decoder = {k: v.detach().clone() for k, v in feeder.decoder.state_dict().items()} if feeder else {}
    log = Log(work / "log" / ("polish.jsonl" if args.polish else "vocoder.jsonl"))
    sums: Dict[str, float] = {}
    began = time.time()
    averaged = params + (list(judge.parameters()) if judge else [])

    def checkpoint(step: int) -> None:
        if not peers.rank:
            save(path, model=vocos.state_dict(), ema=ema, step=step, spent=spent + time.time() - began,
                 decoder=feeder.decoder.state_dict() if feeder else None, ema_decoder=ema_decoder,
                 judge=judge.state_dict() if judge else None)  # fmt: skip

    for step in itertools.count(start):
        if step == start or step % peers.every == 0:  # where ranks meet they also agree on the time
            minutes = peers.mean(averaged, (spent + time.time() - began) / 60)
            done = step / args.steps if args.steps else minutes / args.minutes
            if done >= 1:
                break
        for optimizer, peak in zip(optimizers, (args.lr, args.muon)):
            optimizer.param_groups[0]["lr"] = peak * cosine(done, 0.02)
        if judge_optimizer:
            judge_optimizer.param_groups[0]["lr"] = JUDGE_RATE * cosine(done, 0.0)
        mel, audio = next(source)
        mel, audio = mel.to(dev), audio.to(dev)
        mel_loss = feeder.mel_loss if feeder is not None else mel.new_zeros(())
        with autocast(dev):
            features = vocos.backbone(mel)
        log_mag, phase = vocos.head.polar(features.float())
        parts = {"mel_in": mel_loss}
        loss = args.mel * mel_loss
        if args.spectrum:
            parts["mag"], parts["phase"] = spectrum_loss(log_mag, torch.polar(torch.ones_like(phase), phase), audio)
            loss = loss + args.spectrum * (parts["mag"] + parts["phase"])
        if args.stft or judge:
            # The slice's ends lack the context that the whole clip would give.
            out = vocos.head.wave(log_mag, phase)
            if args.spectrum:
                heard_spectrum = vocos.head.stft(out)
                size = torch.sqrt(heard_spectrum.real.square() + heard_spectrum.imag.square() + 1e-8)
                parts["mag_out"], parts["phase_out"] = spectrum_loss(size.log(), heard_spectrum / size, audio)
                loss = loss + args.spectrum * (parts["mag_out"] + parts["phase_out"])
            out, audio = (x[:, EDGE * HOP : -EDGE * HOP] for x in (out, audio))
            parts["stft"], parts["mel"] = spectral(out, audio)
            loss = loss + args.stft * parts["stft"] + 2 * parts["mel"]
        if judge and judge_optimizer:
            jury = judge.jury()
            with autocast(dev):
                d_loss, goals = loss_real_fake(jury, audio, out.detach())
            judge_optimizer.zero_grad()
            d_loss.backward()
            judge_optimizer.step()
            parts["d"] = d_loss
            heard = heard or step - start >= args.look_on
            if heard:
                judge.requires_grad_(False)  # its gradients would be computed here and thrown away
                with autocast(dev):
                    parts["adv"], parts["feat"] = loss_generator(jury, goals, out)
                judge.requires_grad_(True)
                loss = loss + args.gan * (parts["adv"] + 2 * parts["feat"])
        if heard:
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(params, 5.0)
            for optimizer in optimizers:
                optimizer.step()
        keep = min(0.998, (step - start + 1) / (step - start + 10))
        for store, module in ((ema, vocos), (ema_decoder, feeder.decoder if feeder else None)):
            if module is not None:
                for k, v in module.state_dict().items():
                    store[k].lerp_(v, 1 - keep) if v.is_floating_point() else store[k].copy_(v)
        for k, v in parts.items():
            sums[k] = sums.get(k, 0.0) + v.item()
        if (step + 1) % 25 == 0 and not peers.rank:
            log.write(step=step + 1, min=(spent + time.time() - began) / 60, **{k: v / 25 for k, v in sums.items()})
            sums.clear()
        if (step + 1) % 100 == 0:
            checkpoint(step + 1)
    checkpoint(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".mini"))
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--steps", type=int, default=0, help="train to this step, whatever time it takes")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--frames", type=int, default=52)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--polish", action="store_true", help="stage 2, needs a trained GPT")
    parser.add_argument("--gan", type=float, default=0.0, help="weight of the adversarial loss")
    parser.add_argument("--stft", type=float, default=1.0, help="weight of the spectral distances; less beside --gan")
    parser.add_argument("--look-on", type=int, default=60, help="steps that new judges learn before they are heard")
    parser.add_argument("--mel", type=float, default=2.0, help="weight of the distance of Decoder's mel")
    parser.add_argument("--spectrum", type=float, default=0.0, help="weight of the distance of the head's own spectrum")
    parser.add_argument(
        "--muon", type=float, default=0.0, help="learning rate of Muon on the blocks' matrices; 0: AdamW"
    )
    parser.add_argument("--meet", type=int, default=5, help="steps between the ranks' averages (RANK, WORLD)")
    parser.add_argument("--fresh", action="store_true", help="restart the schedule from the averaged weights")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
