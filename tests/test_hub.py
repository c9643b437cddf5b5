"""A local server plays the hub: the downloader and the resolver are tried against every way it can go wrong."""

from __future__ import annotations

import functools
import hashlib
import http.server
import socket
import threading
from pathlib import Path
from typing import Dict, Iterator, List, Optional

import pytest

from chattts_onnx.cli import main
from chattts_onnx.config import sha256_of
from chattts_onnx.errors import DownloadError, InputError, ModelNotFoundError
from chattts_onnx.hub import (
    GPU_PRECISIONS,
    PUBLISHED_FILES,
    PublishedFile,
    cache_directory,
    download_file,
    fetch_checkpoint,
    resolve_model,
)
from chattts_onnx.hub import checkpoint as checkpoint_module
from chattts_onnx.hub.published import SOURCES, configured_source

CONTENT = bytes(range(256)) * 4096  # 1 MiB: several blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Hub(http.server.ThreadingHTTPServer):
    """Serves ``files``; ``script`` holds what the next requests do instead of behaving."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: Dict[str, bytes] = {}
        self.script: List[str] = []
        self.requests: List[Dict[str, Optional[str]]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.server
        asked = {"path": self.path, "range": self.headers["Range"], "authorization": self.headers["Authorization"]}
        hub.requests.append(asked)
        action = hub.script.pop(0) if hub.script else ""
        if action.isdigit():
            self.send_response(int(action))
            self.send_header("Content-Length", "9")
            if action == "429":
                self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(b"Not found")
            return
        if action.startswith("redirect "):
            self.send_response(302)
            self.send_header("Location", action.split(" ", 1)[1])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = hub.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        if action == "wrong":
            content = content[:-1] + b"!"
        if action == "page":
            content = b"Not found"
        start = 0
        if asked["range"] and action != "ignore range":
            start = int(asked["range"][len("bytes=") : -1])
            if start >= len(content):
                self.send_error(416)
                return
        body = content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if action == "endless":
            self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body + bytes(1 << 20))
            self.close_connection = True
            return
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if action == "cut":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        self.wfile.write(body)


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    server.files["/file"] = CONTENT
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CHATTTS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "MODELSCOPE_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "*")


def fetch(hub: Hub, target: Path, **options: object) -> Path:
    options = {"sha256": DIGEST, "max_bytes": len(CONTENT), "wait": lambda seconds: None, **options}
    return download_file(f"{hub.address}/file", target, **options)


def test_download_gives_the_whole_file_and_no_part(hub: Hub, tmp_path: Path) -> None:
    seen = []
    target = fetch(hub, tmp_path / "deep" / "file", progress=lambda done, total: seen.append((done, total)))
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["file"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert seen == sorted(seen)


def test_a_finished_file_is_not_asked_for_again(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    fetch(hub, tmp_path / "file")
    assert hub.requests == []


def test_cut_connections_are_resumed_where_they_broke(hub: Hub, tmp_path: Path) -> None:
    hub.script = ["cut", "cut", "503"]
    waits = []
    target = fetch(hub, tmp_path / "file", wait=waits.append)
    assert target.read_bytes() == CONTENT
    half = len(CONTENT) // 2
    ranges = [request["range"] for request in hub.requests]
    assert ranges == [None, f"bytes={half}-", f"bytes={half + half // 2}-", f"bytes={half + half // 2}-"]
    assert len(waits) == 3


def test_a_part_of_an_earlier_run_is_resumed(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    assert fetch(hub, tmp_path / "file").read_bytes() == CONTENT
    assert [request["range"] for request in hub.requests] == ["bytes=1000-"]


def test_a_complete_part_needs_no_more_bytes(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT)
    assert fetch(hub, tmp_path / "file").read_bytes() == CONTENT
    assert len(hub.requests) == 1


def test_a_part_of_another_file_is_started_over(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(b"x" * 1000)
    assert fetch(hub, tmp_path / "file").read_bytes() == CONTENT
    assert [request["range"] for request in hub.requests] == ["bytes=1000-", None]


def test_a_part_longer_than_the_file_is_started_over(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT + b"more")
    assert fetch(hub, tmp_path / "file").read_bytes() == CONTENT


def test_a_server_that_ignores_range_is_read_from_the_start(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT[:1000])
    hub.script = ["ignore range"]
    assert fetch(hub, tmp_path / "file").read_bytes() == CONTENT
    assert len(hub.requests) == 1


@pytest.mark.parametrize("action", ["wrong", "page"])
def test_another_file_is_refused_with_both_hashes(hub: Hub, tmp_path: Path, action: str) -> None:
    hub.script = [action]
    with pytest.raises(DownloadError, match=DIGEST[:12]) as caught:
        fetch(hub, tmp_path / "file")
    assert "--source" in str(caught.value)
    assert list(tmp_path.iterdir()) == [] or not (tmp_path / "file").exists()


def test_a_larger_file_is_not_read(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="more than the published file"):
        fetch(hub, tmp_path / "file", max_bytes=1000)
    hub.script = ["endless"]
    with pytest.raises(DownloadError, match="sends more"):
        fetch(hub, tmp_path / "file")
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize(("status", "hint"), [("404", "--source"), ("401", "HF_TOKEN"), ("403", "HF_TOKEN")])
def test_a_refusal_is_final(hub: Hub, tmp_path: Path, status: str, hint: str) -> None:
    hub.script = [status]
    with pytest.raises(DownloadError, match=f"HTTP {status}.*{hint}"):
        fetch(hub, tmp_path / "file")
    assert len(hub.requests) == 1


def test_retry_after_is_honoured(hub: Hub, tmp_path: Path) -> None:
    hub.script = ["429"]
    waits = []
    fetch(hub, tmp_path / "file", wait=waits.append)
    assert waits == [7.0]


def test_giving_up_keeps_the_part(hub: Hub, tmp_path: Path) -> None:
    hub.script = ["cut", *["500"] * 9]
    with pytest.raises(DownloadError, match="HTTP 500"):
        fetch(hub, tmp_path / "file", attempts=3)
    assert (tmp_path / "file.part").stat().st_size == len(CONTENT) // 2
    assert len(hub.requests) == 4


def test_no_network_is_one_clear_error(tmp_path: Path) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        closed = sock.getsockname()[1]
    with pytest.raises(DownloadError, match="could not be fetched"):
        download_file(
            f"http://127.0.0.1:{closed}/file",
            tmp_path / "file",
            sha256=DIGEST,
            max_bytes=10,
            attempts=5,
            wait=lambda seconds: None,
        )
    assert list(tmp_path.iterdir()) == []


def test_the_token_goes_to_the_hub_and_to_nobody_it_redirects_to(hub: Hub, tmp_path: Path) -> None:
    other = hub.address.replace("127.0.0.1", "localhost")
    hub.script = [f"redirect {other}/file"]
    fetch(hub, tmp_path / "file", headers={"Authorization": "Bearer secret"})
    assert [request["authorization"] for request in hub.requests] == ["Bearer secret", None]


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://example.org/file", "/file"])
def test_only_http_is_spoken(tmp_path: Path, address: str) -> None:
    with pytest.raises(DownloadError, match="no http"):
        download_file(address, tmp_path / "file", sha256=DIGEST, max_bytes=10)


def test_a_redirect_to_a_file_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.script = ["redirect file:///etc/passwd"]
    with pytest.raises(DownloadError):
        fetch(hub, tmp_path / "file")


# The checkpoint


FILES = {"asset/gpt/config.json": b"{}", "asset/Vocos.safetensors": CONTENT}
PINNED = tuple(PublishedFile(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in FILES.items())


def serve_repository(hub: Hub, root: str = "/2Noise/ChatTTS/resolve/main/") -> None:
    hub.files = {root + path: data for path, data in FILES.items()}


def test_the_checkpoint_comes_from_hf_endpoint(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_repository(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.address + "/")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    seen = set()
    directory = fetch_checkpoint(files=PINNED, progress=lambda path, done, total: seen.add(path))
    assert {path: (directory / path).read_bytes() for path in FILES} == FILES
    assert cache_directory() in directory.parents
    assert {request["authorization"] for request in hub.requests} == {"Bearer hf_secret"}
    assert seen == set(FILES)


def test_modelscope_is_never_shown_the_hugging_face_token(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_repository(hub, "/models/pzc163/chatTTS/resolve/master/")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    fetch_checkpoint("modelscope", files=PINNED)
    assert {request["authorization"] for request in hub.requests} == {None}


def test_auto_goes_on_to_the_next_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_repository(hub, "/models/pzc163/chatTTS/resolve/master/")
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address)
    blocked = {name: type(source)(name, hub.address, source.template) for name, source in SOURCES.items()}
    monkeypatch.setattr(
        checkpoint_module,
        "configured_source",
        lambda name: configured_source(name) if name == "modelscope" else blocked[name],
    )
    directory = fetch_checkpoint("auto", files=PINNED)
    assert (directory / "asset/gpt/config.json").read_bytes() == b"{}"


def test_a_blocked_hub_tells_the_way_by_hand_in_one_line(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    with pytest.raises(DownloadError, match=r"404.*by hand.*chattts convert DIR") as caught:
        fetch_checkpoint(files=PINNED)
    assert "\n" not in str(caught.value)


def test_offline_makes_no_connection(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadError, match=r"HF_HUB_OFFLINE.*by hand"):
        fetch_checkpoint(files=PINNED)
    assert hub.requests == []


def test_an_existing_hugging_face_cache_is_reused(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    snapshot = tmp_path / "hf" / "hub" / "models--2Noise--ChatTTS" / "snapshots" / "abc"
    for path, data in FILES.items():
        (snapshot / path).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / path).write_bytes(data)
    directory = fetch_checkpoint(files=PINNED)
    assert hub.requests == []
    assert (directory / "asset/Vocos.safetensors").read_bytes() == CONTENT


def test_a_damaged_hugging_face_cache_is_not_trusted(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    serve_repository(hub)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    path = tmp_path / "hf" / "hub" / "models--2Noise--ChatTTS" / "snapshots" / "abc" / "asset/Vocos.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:-1] + b"!")
    directory = fetch_checkpoint(files=PINNED)
    assert sha256_of(directory / "asset/Vocos.safetensors") == DIGEST


def test_unknown_source() -> None:
    with pytest.raises(InputError, match="huggingface, mirror, modelscope"):
        fetch_checkpoint("gopher", files=PINNED)


def test_no_room_is_said_before_anything_is_fetched(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    huge = (PublishedFile("asset/huge.bin", DIGEST, 1 << 60),)
    with pytest.raises(DownloadError, match="CHATTTS_HOME"):
        fetch_checkpoint(files=huge)
    assert hub.requests == []


def test_the_pinned_files_are_the_published_ones() -> None:
    facts = Path(__file__).resolve().parents[2] / "shared" / "facts" / "published-files.json"
    if not facts.is_file():
        pytest.skip("no shared/facts beside this checkout")
    import json

    published = json.loads(facts.read_text(encoding="utf-8"))["sha256"]
    assert {file.path: file.sha256 for file in PUBLISHED_FILES} == published


def test_pull_asks_before_it_fetches(hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    assert main(["pull"]) == 2
    printed = capsys.readouterr().err
    assert "CC BY-NC 4.0" in printed
    assert "--yes" in printed
    assert hub.requests == []


def test_pull_blocked_is_one_line_and_exit_code_3(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    assert main(["pull", "--yes"]) == 3
    notice, error = capsys.readouterr().err.splitlines()
    assert "CC BY-NC 4.0" in notice
    assert error.startswith("chattts: ")
    assert "chattts convert DIR" in error


def test_pull_ends_with_a_model_that_speaks_by_default(
    hub: Hub, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    from chattts_onnx.commands import pull

    files = {
        path.relative_to(tiny_checkpoint).as_posix(): path.read_bytes()
        for path in tiny_checkpoint.rglob("*")
        if path.is_file()
    }
    pinned = tuple(PublishedFile(path, hashlib.sha256(data).hexdigest(), len(data)) for path, data in files.items())
    hub.files = {f"/2Noise/ChatTTS/resolve/main/{path}": data for path, data in files.items()}
    hub.script = ["cut", "503"]
    monkeypatch.setattr(pull, "PUBLISHED_FILES", pinned)
    monkeypatch.setattr(pull, "fetch_checkpoint", functools.partial(fetch_checkpoint, files=pinned))
    monkeypatch.setattr(download_file, "__kwdefaults__", {**download_file.__kwdefaults__, "wait": lambda seconds: None})
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    assert main(["pull", "--yes", "--precision", "fp32"]) == 0
    assert "CC BY-NC 4.0" in capsys.readouterr().err.splitlines()[0]
    assert resolve_model().path == tmp_path / "home" / "models" / "chattts-fp32"
    asked = len(hub.requests)
    assert main(["pull", "--yes", "--precision", "fp32"]) == 0
    assert len(hub.requests) == asked


# Names


def test_no_model_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("chattts_onnx.hub.resolve.shipped_models", lambda: tmp_path / "none")
    for spec in (None, "mini", "chattts", "2Noise/ChatTTS", "no-such-model"):
        with pytest.raises(ModelNotFoundError, match=r"chattts (pull|convert)"):
            resolve_model(spec)


def test_a_checkpoint_is_not_a_model(tmp_path: Path) -> None:
    (tmp_path / "checkpoint" / "asset" / "gpt").mkdir(parents=True)
    with pytest.raises(ModelNotFoundError, match="convert it first"):
        resolve_model(tmp_path / "checkpoint")


def test_unknown_precision() -> None:
    with pytest.raises(InputError, match="int8"):
        resolve_model(None, "int3")


def place(directory: Path, precision: str, name: str = "chattts") -> Path:
    from chattts_onnx.config import AudioConfig, GPTConfig, Manifest

    directory.mkdir(parents=True)
    Manifest(
        name=name,
        precision=precision,
        recipe={},
        gpt=GPTConfig(8, 8, 1, 1, 1, 8, 16, 10, 5, 4),
        audio=AudioConfig(24000, 256, 1024, 100, 2, 1, 1),
        front_end="bert",
        graphs={},
        licence="none",
        source="test",
    ).save(directory)
    return directory


def test_the_pulled_model_is_preferred_to_the_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chattts_onnx.hub.resolve.shipped_models", lambda: tmp_path / "shipped")
    mini = place(tmp_path / "shipped" / "mini", "int8", "mini")
    models = tmp_path / "home" / "models"
    assert resolve_model().path == mini
    assert resolve_model().description == "mini (shipped, int8)"
    fp32 = place(models / "chattts-fp32", "fp32")
    assert resolve_model().path == fp32
    int8 = place(models / "chattts-int8", "int8")
    assert resolve_model().path == int8
    assert resolve_model().description == "chattts (pulled, int8)"
    assert resolve_model(None, "fp32").path == fp32
    fp16 = place(models / "chattts-fp16", "fp16")
    assert resolve_model().path == int8
    assert resolve_model(prefer=GPU_PRECISIONS).path == fp16
    assert resolve_model("mini", prefer=GPU_PRECISIONS).path == mini
    assert resolve_model("mini").path == mini
    assert resolve_model("2noise/chattts", "fp32").path == fp32
    with pytest.raises(ModelNotFoundError, match="here as int8, fp16, fp32, not as int4"):
        resolve_model("chattts", "int4")
    with pytest.raises(ModelNotFoundError, match="no model of precision int4"):
        resolve_model(None, "int4")


def test_a_directory_is_itself_and_a_cached_name_is_found(tmp_path: Path) -> None:
    own = place(tmp_path / "own", "fp32", "my-voice")
    assert resolve_model(str(own)).path == own
    assert resolve_model(own).description == f"my-voice ({own}, fp32)"
    with pytest.raises(ModelNotFoundError, match="is fp32, not int8"):
        resolve_model(own, "int8")
    cached = place(tmp_path / "home" / "models" / "tuned-int4", "int4", "tuned")
    assert resolve_model("tuned").path == cached


@pytest.mark.parametrize("name", ["../own", "a/b", "..", ".", "a\\b", "x\0y"])
def test_a_name_never_leaves_the_cache(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place(tmp_path / "home" / "own", "fp32")
    (tmp_path / "home" / "models").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError):
        resolve_model(name)
