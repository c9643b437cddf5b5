"""From a checkpoint directory to a model directory, whole or not at all.

Everything is written into a directory of its own beside the destination, checked by loading every graph, and only then
renamed: an error, Ctrl-C or a full disk leaves what was there before. Graphs are built one after the other so that one
network at a time is in memory.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple

import numpy as np

from chattts_onnx.config import MANIFEST_NAME, AudioConfig, FileEntry, GPTConfig, Manifest, sha256_of
from chattts_onnx.convert import calibrate, dvae
from chattts_onnx.convert.assets import (
    decode_statistics,
    find_assets,
    find_speaker_token,
    find_tokenizer,
    read_description,
)
from chattts_onnx.convert.checkpoint import Checkpoint, read_json
from chattts_onnx.convert.gpt import build_gpt, build_text_head, read_gpt_config
from chattts_onnx.convert.graph import GraphBuilder
from chattts_onnx.convert.quantize import Quantizer, find_recipe
from chattts_onnx.convert.vocos import build_vocos
from chattts_onnx.errors import CheckpointError, InputError, OutputError
from chattts_onnx.session import create_session

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and how many of how many steps are."""

_STATISTICS = "voice_statistics.npz"
_GRAPHS = 6


def convert(
    source: Path,
    destination: Path,
    precision: str,
    *,
    calibration: Optional[Path] = None,
    progress: Optional[Progress] = None,
) -> Path:
    """Build a model directory.

    Args:
        source: a directory in the published layout: it holds ``asset/``, or is that directory.
        destination: the model directory; replaced if it is one already.
        precision: ``fp32``, ``fp16``, ``int8``, ``int4`` or ``int8-static``.
        calibration: for ``int8-static``, the scales or recorded feeds made by ``chattts calibrate``.
        progress: told before each step.

    Returns:
        ``destination``.

    Raises:
        CheckpointError: a tensor or file is missing, unused, misshapen or damaged.
        InputError: unknown precision, or ``destination`` holds something else.
        OutputError: it cannot be written.
        MissingExtraError: a package of the extra ``convert`` is not installed.
    """
    assets = find_assets(Path(source))
    destination = Path(destination)
    _check_replaceable(destination)
    recipe = find_recipe(precision)
    if recipe.calibrated and calibration is None:
        raise InputError(
            f"{precision} needs a calibration: make one with `chattts calibrate` and name it with --calibration"
        )
    ranges: Optional[Mapping[str, Any]] = (
        calibrate.read_ranges(calibration) if recipe.calibrated and calibration is not None else None
    )
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{destination.name}-", dir=str(destination.parent)))
    except OSError as error:
        raise OutputError(
            f"{destination} cannot be written ({error.strerror}): choose another directory with -o"
        ) from None
    try:
        work.chmod(0o755)  # mkdtemp makes it private; a model directory is not
        if recipe.calibrated and calibration is not None and ranges is None:
            ranges = _measure(assets, work, calibration, progress)
        quantizer = Quantizer(recipe, calibrate.static_ranges(ranges or {}))
        _Conversion(assets, work, precision, quantizer, progress).run()
        _replace(work, destination)
    except OSError as error:
        if isinstance(error, (CheckpointError, OutputError)) or error.errno is None:
            raise
        raise OutputError(
            f"{destination} cannot be written ({error.strerror}): free some space or choose another"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return destination


def _measure(assets: Path, work: Path, calibration: Path, progress: Optional[Progress]) -> Mapping[str, Any]:
    """Ranges from recorded feeds, by way of an fp32 model that is thrown away."""
    feeds = calibrate.Recorder.load(calibration)
    if progress is not None:
        progress("measuring activations", 0, _STEPS)
    observed = work / "observed"
    observed.mkdir()
    _Conversion(assets, observed, "fp32", calibrate.ObservingQuantizer(), None).run()
    ranges = calibrate.measure_ranges(observed, feeds)
    shutil.rmtree(str(observed))
    return ranges


@dataclass
class _Conversion:
    """One run: the steps in order, and what they learn for the manifest."""

    assets: Path
    work: Path
    precision: str
    quantizer: Quantizer
    progress: Optional[Progress]
    done: int = 0

    def run(self) -> None:
        model = read_description(self.assets)
        graphs: Dict[str, str] = {}
        contexts: Dict[str, int] = {}
        config, n_fft, n_mels = self._language_model(model, graphs)
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(self._open("Decoder"))
            postfilter = None
            if self._path("Postfilter").is_file():
                postfilter = stack.enter_context(self._open("Postfilter", quiet=True))
            graph, bands, contexts["decoder"] = dvae.build_decoder(file, config.hidden_size, self.quantizer, postfilter)
            if bands != n_mels:
                raise CheckpointError(
                    f"Decoder makes {bands} mel bands and Vocos reads {n_mels}: the files are of two models"
                )
        self._save(graph, graphs)
        with self._open("Vocos") as file:
            graph, contexts["vocos"] = build_vocos(file, n_mels, n_fft, self.quantizer)
        self._save(graph, graphs)
        with self._open("DVAE") as file:
            dvae.ignore_encoder(file)
            graph, contexts["dvae_decoder"] = dvae.build_dvae_decoder(
                file, config.code_vocab_size - 1, config.num_codebooks, self.quantizer
            )
        self._save(graph, graphs)
        with self._open("DVAE") as file:
            dvae.ignore_decoder(file)
            graph = dvae.build_dvae_encoder(
                file, config.code_vocab_size - 1, config.num_codebooks, int(model["hop_length"]), self.quantizer
            )
        self._save(graph, graphs)
        del graph
        statistics = self._copy_files(model, config)
        self._verify(graphs)
        audio = AudioConfig(
            sample_rate=int(model["sample_rate"]),
            hop_length=int(model["hop_length"]),
            n_fft=n_fft,
            n_mels=n_mels,
            frames_per_token=dvae.FRAMES_PER_TOKEN,
            decoder_context=contexts["decoder"],
            vocos_context=contexts["vocos"],
            dvae_decoder_context=contexts["dvae_decoder"],
            phase_rounds=int(model.get("phase_rounds", 0)),
        )
        self._step("checksums")
        Manifest(
            name=str(model["name"]),
            precision=self.precision,
            recipe=self.quantizer.recipe.to_json(),
            gpt=config,
            audio=audio,
            front_end=str(model["front_end"]),
            graphs=graphs,
            licence=str(model["licence"]),
            source=str(model["source"]),
            min_onnxruntime=self.quantizer.recipe.min_onnxruntime,
            files=dict(_entries(self.work)),
            voice_statistics=statistics,
            refines=bool(model["refines"]),
            aligns=bool(model["aligns"]),
            segment_seconds=float(model["segment_seconds"]),
            clause_slack=float(model["clause_slack"]),
            context_seconds=float(model["context_seconds"]),
            default_voice=model.get("default_voice"),
            continuity=str(model["continuity"]),
        ).save(self.work)
        self._step("done")

    def _language_model(self, model: Mapping[str, Any], graphs: Dict[str, str]) -> Tuple[GPTConfig, int, int]:
        """Both graphs of the GPT; also n_fft and mel bands, read from Vocos before anything long is done."""
        with Checkpoint(self._path("Vocos")) as file:
            n_mels = file.shape("backbone.embed.weight")[1]
            n_fft = file.shape("head.out.weight")[0] - 2
            for name in file.names():
                file.ignore(name)
        if model.get("n_fft", n_fft) != n_fft:
            raise CheckpointError(
                f"model.json says n_fft {model['n_fft']} and Vocos.safetensors has {n_fft}: correct one"
            )
        with self._open("Embed") as embed:
            config = read_gpt_config(read_json(self.assets / "gpt" / "config.json"), embed)
            speaker_id = find_speaker_token(find_tokenizer(self.assets), config)
            with self._open("gpt/model", quiet=True) as file:
                graph = build_gpt(file, embed, config, speaker_id, self.quantizer)
            self._save(graph, graphs)
            graph = build_text_head(embed, config, self.quantizer)
        self._save(graph, graphs)
        return config, n_fft, n_mels

    def _path(self, name: str) -> Path:
        return self.assets / f"{name}.safetensors"

    def _open(self, name: str, *, quiet: bool = False) -> Checkpoint:
        if not quiet:
            self._step(f"reading {name}")
        return Checkpoint(self._path(name))

    def _save(self, graph: GraphBuilder, graphs: Dict[str, str]) -> None:
        self._step(f"writing {graph.name}")
        path = self.work / f"{graph.name}.onnx"
        graph.save(path)
        graph.weights.clear()
        graphs[graph.name] = path.name

    def _copy_files(self, model: Mapping[str, Any], config: GPTConfig) -> Optional[str]:
        """Tokenizer, voices and voice statistics; returns the name of the last, if there are any."""
        shutil.copyfile(str(find_tokenizer(self.assets)), str(self.work / "tokenizer.json"))
        voices = sorted((self.assets / "voices").glob("*.json"))
        if voices:
            (self.work / "voices").mkdir()
        for voice in voices:
            read_json(voice)
            shutil.copyfile(str(voice), str(self.work / "voices" / voice.name))
        if model.get("voice_statistics"):
            mean, std = decode_statistics(str(model["voice_statistics"]), config.hidden_size)
            with (self.work / _STATISTICS).open("wb") as file:
                np.savez(file, mean=mean, std=std)
            return _STATISTICS
        if "published" in model and config.hidden_size == 768:
            shutil.copyfile(str(Path(__file__).parents[1] / "data" / _STATISTICS), str(self.work / _STATISTICS))
            return _STATISTICS
        return None

    def _verify(self, graphs: Mapping[str, str]) -> None:
        for role, name in graphs.items():
            self._step(f"checking {role}")
            create_session(self.work / name, threads=1)

    def _step(self, label: str) -> None:
        if self.progress is not None:
            self.progress(label, min(self.done, _STEPS), _STEPS)
        self.done += 1


_STEPS = 5 + 2 * _GRAPHS + 1
"""Readings, writings and checks, and the checksums."""


def _check_replaceable(destination: Path) -> None:
    if destination.is_dir():
        if any(destination.iterdir()) and not (destination / MANIFEST_NAME).is_file():
            raise InputError(f"{destination} exists and is not a model directory: choose another, or empty it")
    elif destination.exists():
        raise InputError(f"{destination} exists and is no directory: choose another")


def _replace(work: Path, destination: Path) -> None:
    """Put ``work`` where ``destination`` is; if that fails, what was there is still there."""
    if not destination.exists():
        work.replace(destination)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{destination.name}-old-", dir=str(destination.parent)))
    destination.replace(old / "model")
    try:
        work.replace(destination)
    except OSError:
        (old / "model").replace(destination)
        raise
    finally:
        shutil.rmtree(str(old), ignore_errors=True)


def _entries(work: Path) -> Iterator[Tuple[str, FileEntry]]:
    paths: List[Path] = sorted(path for path in work.rglob("*") if path.is_file())
    for path in paths:
        yield path.relative_to(work).as_posix(), FileEntry(size=path.stat().st_size, sha256=sha256_of(path))
