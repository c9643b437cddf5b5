"""A long run of a server: does memory, and does everything else, come back to where it was?

    python benchmarks/soak.py --model MODEL --minutes 30
    python benchmarks/soak.py --model MODEL --minutes 5 --leak     # must fail

Starts a server of its own with the defaults of ``chattts serve``. Texts of 1 to 4000 characters (their logarithm is
uniform), all six formats, 20 % of the clients leave in the middle, 5 % send nonsense. From the middle of the run to its
end the resident memory may grow by less than 50 MB and less than 1 MB a minute; afterwards descriptors, threads and
temporary files are what they were after the first requests, and every gauge is 0. ``--leak`` is the negative control:
the server then keeps one ONNX Runtime session a request, as this project's predecessor did. Linux only (``/proc``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Tuple

from chattts_onnx.server.backend import LocalBackend, load_backend
from chattts_onnx.server.settings import ServerSettings

HOST = "127.0.0.1"
FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
WORDS = ("你好", "今天", "世界", "hello", "there", "speech", "晴天", "we", "walk", "。", "，", ". ")
NONSENSE = (b"{", b'{"input": ""}', b'{"input": 5}', b'{"input": "a", "voice": "../x"}', b'{"input": "a", "speed": 99}')
GAUGES = ("running", "waiting", "in_flight", "engine_sequences_running", "engine_sequences_waiting", "kv_slots_used")
MAX_GROWTH_MB = 50.0
MAX_SLOPE_MB = 1.0
SAMPLE_SECONDS = 5.0


class LeakyBackend(LocalBackend):
    """Opens a session a request and keeps it."""

    def __init__(self, tts: Any, slots: int) -> None:
        super().__init__(tts, slots)
        self._model = tts.directory
        self._kept: List[Any] = []

    def speak(self, text: str, options: Any) -> Any:
        """As it is, and the leak."""
        from chattts_onnx.session import create_session

        self._kept.append(create_session(self.manifest.path(self._model, "decoder"), threads=1))
        return super().speak(text, options)


def load_leaky(settings: ServerSettings) -> LocalBackend:
    """As `load_backend`, for the negative control."""
    from chattts_onnx.synthesizer import ChatTTS

    tts = ChatTTS.from_pretrained(settings.model, precision=settings.precision, config=settings.engine)
    return LeakyBackend(tts, settings.slot_count)


def serve_until_killed(model: str, port: int, leak: bool) -> None:
    """The server's process."""
    from chattts_onnx.server.http_server import serve

    settings = ServerSettings(host=HOST, port=port, model=model, log_level="warning")
    sys.exit(serve(settings, load_leaky if leak else load_backend))


def body_of(draw: random.Random, longest: int) -> bytes:
    """A request of random length and format."""
    length = int(longest ** draw.random())
    text = "你"
    while len(text) < length:
        text += draw.choice(WORDS)
    body = {"input": text[:length], "response_format": draw.choice(FORMATS), "seed": draw.randint(0, 99)}
    if draw.random() < 0.2:
        body["stream_format"] = "sse"
    return json.dumps(body).encode()


async def one(port: int, draw: random.Random, longest: int) -> str:
    """One client; what became of it."""
    chance = draw.random()
    data = draw.choice(NONSENSE) if chance < 0.05 else body_of(draw, longest)
    reader, writer = await asyncio.open_connection(HOST, port)
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(head.encode() + f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
    try:
        status = int((await reader.readline()).split()[1])
        if 0.05 <= chance < 0.25:
            await reader.read(draw.randint(1, 20_000))
            return "left"
        await reader.read()
    except (OSError, IndexError, ValueError):
        return "lost"
    finally:
        writer.close()
    return str(status)


def sample(pid: int, temporary: Path) -> Dict[str, float]:
    """Resident megabytes, threads, descriptors and temporary files of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "rss_mb": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "files": len(list(temporary.rglob("*"))),
    }


def gauges(port: int) -> Dict[str, float]:
    """What the server says is still under way."""
    with urllib.request.urlopen(f"http://{HOST}:{port}/metrics", timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(found[f"chattts_{name}"]) for name in GAUGES}


def judge(samples: List[Tuple[float, float]], before: Dict[str, float], after: Dict[str, float]) -> List[str]:
    """What is wrong; nothing if the run was flat. ``samples`` are (seconds, resident megabytes)."""
    if len(samples) < 8:
        return ["too few samples: run longer"]
    half = samples[len(samples) // 2 :]
    growth = max(mb for _, mb in half[-3:]) - min(mb for _, mb in half[:3])
    slope = _slope(half) * 60
    found = []
    if growth >= MAX_GROWTH_MB:
        found.append(f"memory grew by {growth:.1f} MB from the middle to the end")
    if slope >= MAX_SLOPE_MB and growth >= 5.0:
        found.append(f"memory grows by {slope:.2f} MB a minute")
    # Pools fill up with use, so a few more threads than after the first requests are no leak.
    for name, slack in (("threads", 12), ("descriptors", 4), ("files", 0)):
        if after[name] > before[name] + slack:
            found.append(f"{name}: {before[name]:.0f} before, {after[name]:.0f} after")
    return found


def _slope(points: List[Tuple[float, float]]) -> float:
    """Least squares, per second."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0


async def soak(port: int, pid: int, temporary: Path, options: argparse.Namespace) -> Dict[str, Any]:
    """Drive the server for so long; outcomes and samples."""
    draw = random.Random(options.seed)  # noqa: S311 - test data
    outcomes: Dict[str, int] = {}
    for _ in range(2 * len(FORMATS)):
        await one(port, draw, options.longest)
    before = sample(pid, temporary)
    samples: List[Tuple[float, float]] = []
    ended = asyncio.Event()

    async def client() -> None:
        while not ended.is_set():
            outcome = await one(port, draw, options.longest)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if outcome == "429":
                await asyncio.sleep(0.5)

    async def watch() -> None:
        # Counted in naps, not by the clock: while both processes are suspended nothing is soaked.
        for nap in range(1, 1 + round(options.minutes * 60 / SAMPLE_SECONDS)):
            await asyncio.sleep(SAMPLE_SECONDS)
            samples.append((nap * SAMPLE_SECONDS, sample(pid, temporary)["rss_mb"]))
        ended.set()

    await asyncio.gather(watch(), *[client() for _ in range(options.connections)])
    await asyncio.sleep(3)
    after = sample(pid, temporary)
    return {"outcomes": outcomes, "before": before, "after": after, "gauges": gauges(port), "samples": samples}


def wait_ready(port: int, seconds: float = 120.0) -> None:
    """Wait until the server has loaded its model."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/readyz", timeout=5):
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def main() -> int:
    """Soak, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="name or directory")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--connections", type=int, default=6)
    parser.add_argument("--longest", type=int, default=4000, help="characters of the longest text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leak", action="store_true", help="negative control: a server that leaks")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["TMPDIR"] = temporary  # for the server: whatever it leaves behind is found there
        server = multiprocessing.get_context("spawn").Process(
            target=serve_until_killed, args=(args.model, port, args.leak), daemon=True
        )
        server.start()
        assert server.pid is not None
        wait_ready(port)
        found = asyncio.run(soak(port, server.pid, Path(temporary), args))
        server.terminate()
        server.join(60)
    problems = judge(found["samples"], found["before"], found["after"])
    problems += [f"gauge {name} stands at {value:g}" for name, value in found["gauges"].items() if value]
    bad = sum(count for outcome, count in found["outcomes"].items() if outcome.startswith("5") or outcome == "lost")
    if bad:
        problems.append(f"{bad} requests were answered with 5xx or not at all")
    if server.exitcode != 0:
        problems.append(f"the server ended with {server.exitcode}")
    found["problems"] = problems
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    half = found["samples"][len(found["samples"]) // 2 :]
    print(json.dumps({name: found[name] for name in ("outcomes", "before", "after", "gauges")}))
    if half:
        print(
            f"resident memory, middle to end: {half[0][1]:.1f} -> {half[-1][1]:.1f} MB, {_slope(half) * 60:+.2f} MB/min"
        )
    print("flat" if not problems else "NOT FLAT: " + "; ".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
