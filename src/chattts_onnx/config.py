"""What a model is (``Manifest``) and how much of the machine it may use (``EngineConfig``).

The two halves of the project, conversion and run time, meet only at a directory on disk; ``manifest.json`` in it is
their contract. The run time knows no dimension that is not written there, so the published model, the shipped
``mini`` and a two-layer random test model are the same code.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Dict, Mapping, Optional, Type, TypeVar

from chattts_onnx.errors import ModelFormatError, ModelNotFoundError

FORMAT_VERSION = 2
_PLAIN = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
"""By annotation: what JSON may hold for a field."""
MANIFEST_NAME = "manifest.json"

_T = TypeVar("_T")


@dataclass(frozen=True)
class GPTConfig:
    """Dims of the language model (facts: a Llama with four code heads and one text head)."""

    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_size: int
    max_positions: int
    text_vocab_size: int
    code_vocab_size: int
    """Codes of one codebook, the end code included: the end code is the last, ``code_vocab_size - 1``."""
    num_codebooks: int
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6

    @property
    def end_code(self) -> int:
        """The code that ends an utterance when any codebook draws it."""
        return self.code_vocab_size - 1

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of float32 keys and values that one cached token of one row takes."""
        return 2 * 4 * self.num_layers * self.num_kv_heads * self.head_size


@dataclass(frozen=True)
class AudioConfig:
    """Dims of the acoustic half."""

    sample_rate: int
    hop_length: int
    n_fft: int
    n_mels: int
    frames_per_token: int
    """Mel frames that one decode step makes."""
    decoder_context: int
    """Mel frames to either side that one frame of the Decoder depends on (its receptive field)."""
    vocos_context: int
    """Mel frames to either side that one spectral frame of Vocos depends on; the inverse STFT adds its overlap."""
    dvae_decoder_context: int = 0
    """As ``decoder_context``, for the DVAE decoder (codes instead of hidden states)."""
    phase_rounds: int = 0
    """Rounds that make the phases of Vocos agree (`chattts_onnx.audio.phase`); the published one needs none."""

    @property
    def samples_per_token(self) -> int:
        """Samples that one decode step makes."""
        return self.hop_length * self.frames_per_token

    @property
    def tokens_per_second(self) -> float:
        """Decode steps in one second of speech: real time."""
        return self.sample_rate / self.samples_per_token


@dataclass(frozen=True)
class FileEntry:
    """One file of the model directory."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """``manifest.json``: everything the run time may know about a model directory."""

    name: str
    precision: str
    """fp32, fp16, int8, int4 or int8-static."""
    recipe: Mapping[str, Any]
    """The quantisation recipe as data: ordered (pattern, scheme) pairs per graph."""
    gpt: GPTConfig
    audio: AudioConfig
    front_end: str
    """How text becomes ids: ``bert`` (the published WordPiece vocabulary) or ``phonemes`` (mini)."""
    graphs: Mapping[str, str]
    """Role to file name: gpt, text_head, decoder, vocos, dvae_decoder, dvae_encoder."""
    licence: str
    source: str
    min_onnxruntime: str = "1.19.2"
    files: Mapping[str, FileEntry] = field(default_factory=dict)
    voice_statistics: Optional[str] = None
    """File (numpy ``.npz`` with ``mean`` and ``std``) to draw random voices from, or None: voices are then mixed
    from the model's own presets."""
    default_voice: Optional[str] = None
    """Name of the preset that speaks when none is asked for; None: the first."""
    continuity: str = "carry"
    """How segments of a long text follow one another when nothing is asked for: carry, anchor or none."""
    refines: bool = True
    """Whether the model was taught to refine text (pauses, laughs, fillers)."""
    aligns: bool = False
    """Whether its text head was taught to name the symbol that a decode step speaks (`synthesizer.alignment`)."""
    segment_seconds: float = 12.0
    """Longest segment that the model speaks well, in estimated seconds."""
    clause_slack: float = 1.0
    """A single clause may be this many times as long before it is cut between words, which is heard."""
    context_seconds: float = 24.0
    """Longest segment with the one before as its prompt that the model was taught, in seconds."""
    format_version: int = FORMAT_VERSION

    def save(self, directory: Path) -> None:
        """Write ``manifest.json`` into ``directory``."""
        text = json.dumps(asdict(self), indent=2, ensure_ascii=False, sort_keys=True)
        (directory / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> Manifest:
        """Read and check ``manifest.json``.

        Raises:
            ModelNotFoundError: ``directory`` holds no manifest.
            ModelFormatError: it is damaged or of another format version.
        """
        path = directory / MANIFEST_NAME
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            raise ModelNotFoundError(
                f"{directory} is not a model directory (no {MANIFEST_NAME}): convert a checkpoint with "
                f"`chattts convert SRC -o {directory}` or fetch one with `chattts pull`"
            ) from None
        except (OSError, ValueError) as error:
            raise ModelFormatError(f"{path} cannot be read ({error}): convert or pull the model again") from None
        if not isinstance(data, dict) or data.get("format_version") != FORMAT_VERSION:
            found = data.get("format_version") if isinstance(data, dict) else None
            raise ModelFormatError(
                f"{path} has format version {found!r} and this program reads {FORMAT_VERSION}: convert the model again"
            )
        try:
            data["gpt"] = _from_dict(GPTConfig, data["gpt"])
            data["audio"] = _from_dict(AudioConfig, data["audio"])
            data["files"] = {name: _from_dict(FileEntry, entry) for name, entry in data["files"].items()}
            return _from_dict(cls, data)
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelFormatError(
                f"{path} is incomplete or damaged ({error}): convert or pull the model again"
            ) from None

    def path(self, directory: Path, role: str) -> Path:
        """The file of graph ``role``; a manifest cannot point outside its directory.

        Raises:
            ModelFormatError: the model has no such graph, or the file is missing.
        """
        name = self.graphs.get(role)
        if name is None:
            raise ModelFormatError(f"the model {self.name!r} has no {role} graph: convert it again from its checkpoint")
        if Path(name).name != name:
            raise ModelFormatError(f"the {role} graph {name!r} is outside the model directory: convert the model again")
        path = directory / name
        if not path.is_file():
            raise ModelFormatError(f"{path} is missing: convert or pull the model again")
        return path

    def verify(self, directory: Path, *, hashes: bool = True) -> None:
        """Compare every file with its recorded size and, if asked, its sha256.

        Raises:
            ModelFormatError: the first file that differs, named.
        """
        for name, entry in self.files.items():
            if Path(name).is_absolute() or ".." in Path(name).parts:
                raise ModelFormatError(f"{name!r} lies outside the model directory: convert the model again")
            path = directory / name
            size = path.stat().st_size if path.is_file() else None
            if size != entry.size:
                state = "is missing" if size is None else f"has {size} bytes instead of {entry.size}"
                raise ModelFormatError(f"{path} {state}: convert or pull the model again")
            if hashes and sha256_of(path) != entry.sha256:
                raise ModelFormatError(f"{path} differs from what was converted (sha256): convert or pull it again")


@dataclass(frozen=True)
class EngineConfig:
    """Limits of the engine; the defaults suit two CPU cores."""

    max_batch: int = 8
    """Sequences decoded together."""
    max_queue: int = 32
    """Requests that may wait for a row before `EngineOverloadedError`."""
    kv_budget_bytes: int = 1 << 30
    """Upper bound of the key/value cache; it is grown in buckets, only as far as needed."""
    prefill_chunk: int = 128
    """Prompt tokens processed between two decode steps, so that a long prompt does not stall running speech."""
    batch_wait_ms: float = 0.0
    """Wait this long for company before a lone request starts (0: never wait)."""
    threads: Optional[int] = None
    """Intra-op threads of each graph; None: the physical cores, at most 8."""
    device: str = "cpu"
    """cpu, cuda, tensorrt, directml, coreml, openvino or auto."""


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _from_dict(kind: Type[_T], data: Mapping[str, Any]) -> _T:
    """The dataclass ``kind`` of the fields that ``data`` has.

    Raises:
        TypeError: a field is missing, or a plain one holds something else; a number below 0 is something else.
    """
    values: Dict[str, Any] = {}
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name not in data:
            continue
        value = values[one.name] = data[one.name]
        plain = _PLAIN.get(str(one.type))
        if plain and (not isinstance(value, plain) or (isinstance(value, bool) and bool not in plain)):
            raise TypeError(f"{one.name} is {value!r} where {one.type} belongs")
        if isinstance(value, (int, float)) and value < 0:
            raise TypeError(f"{one.name} is {value!r} where no number below 0 belongs")
    return kind(**values)
