"""One file over HTTP, as a careful person would fetch it: resumed, bounded, verified, and only then given its name.

Bytes go to ``NAME.part``; the hash is computed as they arrive, and a finished file is flushed to the disk before it is
renamed, so a file that exists under its own name is whole. Every way a hub misbehaves that users have reported (cut
connections, a server that ignores ``Range``, a "Not found" page sent as the file) ends in a resumed transfer or in one
clear error.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import posixpath
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Callable, Dict, Mapping, Optional

from chattts_onnx import __version__
from chattts_onnx.config import sha256_of
from chattts_onnx.errors import DownloadError

Progress = Callable[[int, int], None]
"""Called with the bytes there are and the bytes there will be (0: not known)."""

_BLOCK = 1 << 18
_RETRIED_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT = 60.0
_ATTEMPTS_TO_REACH = 2


class _TransferInterruptedError(Exception):
    """The transfer broke in a way that another try may mend."""

    def __init__(self, reason: str, wait: Optional[float] = None, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.wait = wait
        self.unreachable = unreachable


@dataclass(frozen=True)
class _Expected:
    sha256: str
    max_bytes: int


def download_file(
    address: str,
    destination: Path,
    *,
    sha256: str,
    max_bytes: int,
    headers: Optional[Mapping[str, str]] = None,
    progress: Optional[Progress] = None,
    attempts: int = 5,
    timeout: float = 30.0,
    wait: Callable[[float], None] = time.sleep,
) -> Path:
    """Fetch ``address`` into ``destination`` unless it is there already.

    Proxies are taken from the environment, as everywhere in the standard library.

    Args:
        address: http or https.
        destination: final name; the bytes gather in ``destination`` + ``.part``, from which a later call goes on.
        sha256: hex digest that the file must have.
        max_bytes: stop reading beyond this.
        headers: sent along; ``Authorization`` is not sent on to another host when redirected.
        progress: told of the bytes there are and will be.
        attempts: tries in a row that bring nothing new, before giving up.
        timeout: seconds without a byte before a connection counts as broken.
        wait: sleeps; replaced in tests.

    Raises:
        DownloadError: it cannot be had, or is another file.
    """
    if destination.is_file() and sha256_of(destination) == sha256:
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    part = destination.with_name(destination.name + ".part")
    expected = _Expected(sha256, max_bytes)
    fruitless = 0
    arrived = False
    restarted = False
    while True:
        before = _size(part)
        try:
            digest = _transfer(address, part, expected, dict(headers or {}), progress, timeout)
        except _TransferInterruptedError as error:
            arrived = arrived or _size(part) > before
            fruitless = 0 if _size(part) > before else fruitless + 1
            # A host that was never reached is most likely blocked: say so soon.
            limit = min(attempts, _ATTEMPTS_TO_REACH) if error.unreachable and not arrived else attempts
            if fruitless >= limit:
                raise DownloadError(f"{_shown(address)} could not be fetched ({error})") from error
            wait(error.wait if error.wait is not None else float(min(2**fruitless, 30)))
            continue
        if digest == sha256:
            break
        part.unlink()
        if before and not restarted:
            # What was resumed may have been the beginning of another file: fetch it once from its start.
            restarted = True
            continue
        raise DownloadError(
            f"{_shown(address)} sent another file (sha256 {digest[:12]}…, expected {sha256[:12]}…): "
            "try another --source"
        )
    part.replace(destination)
    _sync_directory(destination.parent)
    return destination


def _transfer(
    address: str,
    part: Path,
    expected: _Expected,
    headers: Dict[str, str],
    progress: Optional[Progress],
    timeout: float,
) -> str:
    """One connection: append to ``part`` and return the digest of all of it."""
    offset = _size(part)
    if offset > expected.max_bytes:
        part.unlink()
        offset = 0
    headers.setdefault("User-Agent", f"chattts-onnx/{__version__}")
    # A compressed answer would defeat both the range and the size limit.
    headers["Accept-Encoding"] = "identity"
    if offset:
        headers["Range"] = f"bytes={offset}-"
    try:
        with _open(address, headers, timeout) as response:
            if offset and (response.status != http.client.PARTIAL_CONTENT or not _starts_at(response, offset)):
                offset = 0
            return _receive(response, part, offset, expected, progress)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
                # Nothing follows the bytes that are here: they are the whole file, or another one.
                return sha256_of(part)
            if error.code in _RETRIED_STATUS:
                raise _TransferInterruptedError(f"HTTP {error.code} {error.reason}", _retry_after(error)) from None
            raise DownloadError(
                f"{_shown(address)} answered HTTP {error.code} {error.reason}{_hint(error.code)}"
            ) from None
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        raise _TransferInterruptedError(str(reason), unreachable=True) from error
    except (http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise _TransferInterruptedError(f"{type(error).__name__}: {error}") from error


def _receive(
    response: http.client.HTTPResponse, part: Path, offset: int, expected: _Expected, progress: Optional[Progress]
) -> str:
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length and length.isdigit() else 0
    if total > expected.max_bytes:
        raise DownloadError(
            f"{_shown(response.url)} has {total} bytes, more than the published file ({expected.max_bytes} at most): "
            "try another --source"
        )
    digest = hashlib.sha256()
    if offset:
        with part.open("rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                digest.update(block)
    done = offset
    try:
        with part.open("ab" if offset else "wb") as file:
            while True:
                block = _read(response)
                if not block:
                    break
                done += len(block)
                if done > expected.max_bytes:
                    file.truncate(0)
                    raise DownloadError(
                        f"{_shown(response.url)} sends more than the published file has: try another --source"
                    )
                digest.update(block)
                file.write(block)
                if progress is not None:
                    progress(done, total)
            file.flush()
            os.fsync(file.fileno())
    except DownloadError:
        raise
    except (ConnectionError, TimeoutError) as error:
        raise _TransferInterruptedError(f"the connection broke after {done} bytes ({error})") from error
    except OSError as error:
        raise DownloadError(
            f"{part} cannot be written ({error.strerror or error}): free some space or rights"
        ) from None
    if total and done < total:
        raise _TransferInterruptedError(f"the connection ended after {done} of {total} bytes")
    return digest.hexdigest()


def _read(response: http.client.HTTPResponse) -> bytes:
    try:
        return response.read(_BLOCK)
    except http.client.IncompleteRead as error:
        return error.partial
    except http.client.HTTPException as error:
        raise ConnectionError(str(error)) from error


class _SameHostCredentials(urllib.request.HTTPRedirectHandler):
    """Hubs answer with a redirect to a content network, which has no business with the user's token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Optional[urllib.request.Request]:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme not in {"http", "https"} or (old.scheme == "https" and new.scheme != "https"):
            raise DownloadError(f"{req.full_url} redirects to {newurl}, which is not safe: try another --source")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None and (old.scheme, old.netloc) != (new.scheme, new.netloc):
            request.remove_header("Authorization")
        return request


def _open(address: str, headers: Mapping[str, str], timeout: float) -> http.client.HTTPResponse:
    if urllib.parse.urlsplit(address).scheme not in {"http", "https"}:
        raise DownloadError(f"{address} is no http or https address: check HF_ENDPOINT")
    request = urllib.request.Request(address, headers=dict(headers))  # noqa: S310 - scheme checked above
    response: http.client.HTTPResponse = urllib.request.build_opener(_SameHostCredentials).open(
        request, timeout=timeout
    )
    return response


def _starts_at(response: http.client.HTTPResponse, offset: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _retry_after(error: urllib.error.HTTPError) -> Optional[float]:
    value = error.headers.get("Retry-After", "")
    return min(float(value), _LONGEST_WAIT) if value.isdigit() else None


def _hint(status: int) -> str:
    if status in {401, 403}:
        return ": set HF_TOKEN, or try another --source"
    return ": try another --source"


def _shown(address: str) -> str:
    parts = urllib.parse.urlsplit(address)
    return f"{posixpath.basename(parts.path)} of {parts.netloc}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _sync_directory(directory: Path) -> None:
    # A rename is durable once its directory is; Windows cannot open one, and has no need to.
    if os.name != "nt":
        with contextlib.suppress(OSError):
            descriptor = os.open(directory, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
