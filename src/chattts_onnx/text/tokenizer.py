"""Text with tags to token ids.

The published vocabulary is a WordPiece ``tokenizer.json``, and the ``tokenizers`` package that wrote it is the one
reader that cannot disagree with it: accents, CJK isolation, 100-letter words and longest-match are its own code. It
ships wheels for every interpreter here and is a base dependency, so a second implementation in Python would add code
and a doubt without removing anything. The file bakes in truncation to 256, padding to 256 and a ``[CLS]``/``[SEP]``
template; all three are switched off here, since a prompt is exactly its own tokens. Models that read phonemes bring
their own tokenizer under the same protocol.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Dict, List, Mapping, Protocol, Sequence

from chattts_onnx.errors import InputError, ModelFormatError

TOKENIZER_NAME = "tokenizer.json"
_NEEDED = ("[Stts]", "[Ptts]", "[spk_emb]", "[empty_spk]")


class Tokenizer(Protocol):
    """What the synthesizer needs of a front end."""

    @property
    def vocab(self) -> Mapping[str, int]:
        """Symbol or tag to id."""

    def encode(self, text: str) -> List[int]:
        """Ids of ``text``, tags included, without padding, truncation or added tokens."""


class WordPieceTokenizer:
    """The published model's tokenizer.

    Args:
        path: ``tokenizer.json``.

    Raises:
        ModelFormatError: the file cannot be read or lacks the control tags.
    """

    def __init__(self, path: Path) -> None:
        import tokenizers

        try:
            self._tokenizer: Any = tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises bare Exception for a damaged file  # noqa: BLE001
            raise ModelFormatError(f"{path} cannot be read ({error}): convert or pull the model again") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._vocab: Dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        missing = [tag for tag in _NEEDED if tag not in self._vocab]
        if missing:
            raise ModelFormatError(
                f"{path} lacks the control tags {' '.join(missing)}: convert or pull the model again"
            )

    @property
    def vocab(self) -> Mapping[str, int]:
        """Piece or tag to id."""
        return self._vocab

    def encode(self, text: str) -> List[int]:
        """Ids of ``text``; tags match letter by letter, so canonicalise them first.

        Raises:
            InputError: the text holds half of a surrogate pair.
        """
        try:
            ids: List[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        except (TypeError, UnicodeEncodeError):
            raise InputError("the text holds half of a surrogate pair: decode it with errors='replace'") from None
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ``ids``, tags included, pieces joined."""
        text: str = self._tokenizer.decode(list(ids), skip_special_tokens=False)
        return text

    def decode_refined(self, ids: Sequence[int]) -> str:
        """Text of what refinement made: sentence-level tags (``[break_0]`` and above) are not text and are left out."""
        first = self._vocab.get("[break_0]", len(self._vocab))
        return self.decode([i for i in ids if i < first])


def load_tokenizer(directory: Path, front_end: str = "bert") -> Tokenizer:
    """The tokenizer of a model directory.

    Args:
        directory: the model directory, or the path of the ``tokenizer.json`` itself.
        front_end: ``bert`` or ``phonemes``, from the manifest.

    Raises:
        ModelFormatError: no such file, a damaged one, or a front end this program does not know.
    """
    directory = Path(directory)
    path = directory / TOKENIZER_NAME if directory.is_dir() else directory
    if not path.is_file():
        raise ModelFormatError(f"{path} is missing: convert or pull the model again")
    if front_end == "bert":
        return WordPieceTokenizer(path)
    if front_end == "phonemes":
        from chattts_onnx.text.phonemes import PhonemeTokenizer

        tokenizer: Tokenizer = PhonemeTokenizer.from_file(path)
        return tokenizer
    raise ModelFormatError(f"unknown front end {front_end!r}: this model needs a newer chattts-onnx")
