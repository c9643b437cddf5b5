"""Which voices there are: the model's own, the user's, and those that a number, a string or a mix describes.

Names are looked up in a dict that is made by listing directories, never joined to a path, so a name from a request can
at worst be unknown. A path is only ever opened where the caller states that whoever gave it may read files.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

from chattts_onnx.config import Manifest
from chattts_onnx.errors import InputError, OutputError, UnknownVoiceError, VoiceFormatError
from chattts_onnx.voices.importing import read_voice_file
from chattts_onnx.voices.statistics import VoiceStatistics, checked_seed, sample_between
from chattts_onnx.voices.strings import embedding_from_string, is_codes_string, looks_like_voice_string
from chattts_onnx.voices.voice import MAX_FILE_BYTES, Voice, is_voice_name, mix

VoiceSpec = Union[str, int, Voice, None]

_SUFFIX = ".json"
_MAX_SPEC = 64 * 1024
_MAX_MIX = 8
_TORCH_SEED = re.compile(r"torch:([0-9]{1,19})\Z")
_PART = re.compile(r"\s*([a-z0-9][a-z0-9_-]{0,63})\s*(?::\s*([0-9]{1,9}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})\s*)?\Z")


def user_voice_directory(environment: Optional[Mapping[str, str]] = None) -> Path:
    """Where the user's voices live: ``CHATTTS_VOICES``, else the platform's place for application data."""
    variables = os.environ if environment is None else environment
    chosen = variables.get("CHATTTS_VOICES")
    if chosen:
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(variables.get("APPDATA") or home / "AppData" / "Roaming")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(variables.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "chattts-onnx" / "voices"


class VoiceLibrary:
    """The voices of one model."""

    def __init__(
        self,
        directories: Sequence[Path],
        hidden_size: int,
        statistics: Optional[VoiceStatistics] = None,
        *,
        user_directory: Optional[Path] = None,
        code_limit: Optional[int] = None,
        default_voice: Optional[str] = None,
    ) -> None:
        """List the directories.

        Args:
            directories: With the model's ``NAME.json``; read only.
            hidden_size: Width of the embeddings that this model takes.
            statistics: Of its voice space; None: random voices are mixed from its presets.
            user_directory: Where `add` writes; its voices come before the model's of the same name.
            code_limit: Codes of a cloned voice must be below this: a code the model has no row for is not looked up.
            default_voice: The preset that speaks when none is asked for; None: the first.
        """
        self._directories = [Path(directory) for directory in directories]
        self._hidden_size = hidden_size
        self._statistics = statistics
        self._user_directory = user_directory
        self._code_limit = code_limit
        self._default_voice = default_voice
        self._presets: Dict[str, Voice] = {}
        self._own: Dict[str, Voice] = {}
        self.refresh()

    @classmethod
    def of_model(cls, directory: Path, manifest: Manifest, *, user_directory: Optional[Path] = None) -> VoiceLibrary:
        """The voices of a model directory, and the user's.

        Raises:
            ModelFormatError: the model's statistics are damaged.
        """
        statistics = None
        if manifest.voice_statistics is not None:
            statistics = VoiceStatistics.load(directory / Path(manifest.voice_statistics).name)
        return cls(
            [directory / "voices"],
            manifest.gpt.hidden_size,
            statistics,
            user_directory=user_voice_directory() if user_directory is None else user_directory,
            code_limit=manifest.gpt.end_code,
            default_voice=manifest.default_voice,
        )

    def refresh(self) -> None:
        """List the directories again."""
        self._foreign: Dict[str, str] = {}
        presets: Dict[str, Voice] = {}
        for directory in self._directories:
            presets.update(self._scan(directory))
        self._presets = presets
        self._own = {} if self._user_directory is None else self._scan(self._user_directory)

    def names(self) -> List[str]:
        """The names this model can speak with: its own, then the user's, each in order of the alphabet."""
        return [*sorted(self._presets), *sorted(set(self._own) - set(self._presets))]

    def list(self) -> List[Voice]:
        """The named voices, in the order of `names`."""
        return [self._named(name) for name in self.names()]

    def is_removable(self, name: str) -> bool:
        """Whether a voice of that name is the user's."""
        return name in self._own

    def default(self) -> Voice:
        """The voice when none is asked for: the user's ``default``, the model's choice, its first, or seed 0."""
        for name in ("default", self._default_voice):
            if name in self:
                return self._named(str(name))
        return self._presets[min(self._presets)] if self._presets else self.sample(0)

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._presets

    def get(self, spec: VoiceSpec, *, trusted_paths: bool = False) -> Voice:
        """The voice that ``spec`` describes.

        Args:
            spec: A name; a whole number (or its digits) as seed; ``torch:2222`` for the voice that the reference gives
                that seed on a CPU; a ``spk_emb`` string; a mix ``a:0.7+b:0.3``; a `Voice`; None for the default; with
                ``trusted_paths`` also the path of a voice file.
            trusted_paths: Whoever gave ``spec`` may read files, as the user of a command line may.

        Raises:
            UnknownVoiceError: nothing of that name.
            InputError: a seed or weight out of range.
            VoiceFormatError: a string or file that is damaged or of another model.
        """
        if spec is None:
            return self.default()
        if isinstance(spec, Voice):
            return self._fitting(spec)
        if isinstance(spec, int):
            return self.sample(int(spec))
        text = spec.strip()
        if text in self:
            return self._named(text)
        if text.isascii() and text.isdigit() and len(text) <= 19:
            return self.sample(int(text))
        if len(text) > _MAX_SPEC:
            raise VoiceFormatError(f"the voice has {len(text)} characters: that is neither a name nor a voice string")
        if looks_like_voice_string(text):
            return self._from_string(text)
        match = _TORCH_SEED.match(text)
        if match is not None:
            return self._of_torch_seed(int(match.group(1)))
        if "+" in text or ":" in text:
            parts = _parse_mix(text)
            if parts is not None:
                return self.mix(parts)
        if text in self._foreign:
            raise VoiceFormatError(f"the voice {text!r} cannot be used: {self._foreign[text]}")
        if trusted_paths:
            path = Path(text).expanduser()
            if path.is_file():
                return self._fitting(read_voice_file(path))
        raise UnknownVoiceError(text[:64], self.names())

    def sample(self, seed: int) -> Voice:
        """The random voice of a seed: drawn from the model's statistics, else mixed from its presets.

        Raises:
            InputError: the seed is negative or too large, or the model has neither statistics nor presets.
        """
        checked_seed(seed)
        if self._statistics is not None:
            return self._fitting(self._statistics.sample(seed))
        return sample_between(list(self._presets.values()), seed)

    def mix(self, parts: Sequence[Tuple[VoiceSpec, float]], name: str = "mix") -> Voice:
        """A voice between voices, each given as in `get`, with its weight.

        Raises:
            InputError: too many parts, or weights that cannot be.
            UnknownVoiceError: nothing of that name.
        """
        if len(parts) > _MAX_MIX:
            raise InputError(f"a mix has at most {_MAX_MIX} voices, not {len(parts)}: mix in two steps")
        return mix([(self.get(spec), weight) for spec, weight in parts], name)

    def add(self, voice: Voice, *, overwrite: bool = False, save: bool = True) -> Optional[Path]:
        """Add a voice to the user's.

        Args:
            voice: It is asked for by its name.
            overwrite: Replace one of that name.
            save: Write it to the user's directory; False keeps it in this process only, as a server may want.

        Returns:
            The file written, None if it was not to be saved.

        Raises:
            InputError: the name cannot be one, is taken, or there is no user directory.
            VoiceFormatError: the voice is of another model.
            OutputError: the directory cannot be written.
        """
        if not is_voice_name(voice.name) or voice.name.isdigit():
            raise InputError(
                f"{voice.name[:70]!r} cannot name a voice: use a-z, 0-9, - and _, at most 64, and not digits alone"
            )
        self._fitting(voice)
        if not overwrite and voice.name in self:
            raise InputError(f"there is a voice {voice.name!r} already: use another name, or overwrite it")
        path = self._write(voice) if save else None
        self._foreign.pop(voice.name, None)
        self._own[voice.name] = voice
        return path

    def remove(self, name: str) -> None:
        """Delete one of the user's voices; the model's own of the same name appears again.

        Raises:
            UnknownVoiceError: the user has none of that name.
            InputError: it is the model's own.
            OutputError: the file cannot be deleted.
        """
        files = [] if self._user_directory is None else _voice_files(self._user_directory)
        mine = [file for file in files if file.stem == name]
        if not mine and name not in self._own:
            if name in self._presets:
                raise InputError(f"the voice {name!r} belongs to the model: only voices you have added can be removed")
            raise UnknownVoiceError(name[:64], sorted(self._own))
        for file in mine:
            try:
                file.unlink()
            except OSError as error:
                raise OutputError(f"{file} cannot be removed ({error.strerror}): remove it by hand") from None
        self._own.pop(name, None)
        self._foreign.pop(name, None)

    def _write(self, voice: Voice) -> Path:
        directory = self._writable()
        path = directory / (voice.name + _SUFFIX)
        partial = directory / f".{voice.name}.{secrets.token_hex(4)}.part"
        try:
            directory.mkdir(parents=True, exist_ok=True)
            partial.write_text(voice.to_json(), encoding="utf-8")
            partial.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            raise OutputError(
                f"{path} cannot be written ({error.strerror}): set CHATTTS_VOICES to another place"
            ) from None
        return path

    def _writable(self) -> Path:
        if self._user_directory is None:
            raise InputError("this library has no directory for your own voices: open it with one")
        return self._user_directory

    def _named(self, name: str) -> Voice:
        return self._own[name] if name in self._own else self._presets[name]

    def _scan(self, directory: Path) -> Dict[str, Voice]:
        voices: Dict[str, Voice] = {}
        for file in _voice_files(directory):
            try:
                with file.open("rb") as stream:
                    data = stream.read(MAX_FILE_BYTES + 1)
                voice = self._fitting(Voice.from_json(data.decode("utf-8")).renamed(file.stem))
            except (VoiceFormatError, UnicodeDecodeError, OSError) as error:
                # One bad file must not take the others away; asking for it by name says what is wrong.
                self._foreign[file.stem] = str(error)
                continue
            voices[file.stem] = voice
        return voices

    def _from_string(self, text: str) -> Voice:
        if is_codes_string(text):
            raise VoiceFormatError(
                "this is a spk_smp string (the codes of a recording), which needs the words of the recording: "
                'add it as a voice first, `chattts voices add NAME FILE --text "..."`'
            )
        return self._fitting(Voice("string", embedding_from_string(text), provenance="a spk_emb string"))

    def _of_torch_seed(self, seed: int) -> Voice:
        if self._statistics is None or self._hidden_size % 16:
            raise InputError("a seed of PyTorch names a voice of the published model: use that model, or a plain seed")
        return self._fitting(self._statistics.sample_as_torch(seed))

    def _fitting(self, voice: Voice) -> Voice:
        if voice.width is not None and voice.width != self._hidden_size:
            raise VoiceFormatError(
                f"the voice {voice.name!r} has {voice.width} numbers and this model takes {self._hidden_size}: "
                "it was made for another model"
            )
        if voice.prompt_codes is not None and self._code_limit is not None:
            highest = int(voice.prompt_codes.max())
            if highest >= self._code_limit:
                raise VoiceFormatError(
                    f"the voice {voice.name!r} has the code {highest}, this model only those below {self._code_limit}: "
                    "it was made for another model"
                )
        return voice


def _voice_files(directory: Path) -> List[Path]:
    try:
        files = sorted(directory.iterdir())
    except OSError:
        return []
    return [file for file in files if file.suffix == _SUFFIX and is_voice_name(file.stem) and file.is_file()]


def _parse_mix(text: str) -> Optional[List[Tuple[VoiceSpec, float]]]:
    """The parts of ``a:0.7+b:0.3``; a part without a weight counts 1; None: not a mix."""
    if len(text) > _MAX_MIX * 100:
        return None
    parts: List[Tuple[VoiceSpec, float]] = []
    for piece in text.split("+"):
        match = _PART.match(piece)
        if match is None:
            return None
        parts.append((match.group(1), float(match.group(2)) if match.group(2) else 1.0))
    return parts
