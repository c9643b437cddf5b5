"""Load on a running server: time to first audio, gaps, starved players, errors, for a curve of connections.

    chattts serve --model MODEL --port 8000 &
    python benchmarks/load.py --url http://127.0.0.1:8000 --connections 1,2,4,8,16,32,100 --out load.json

    python benchmarks/load.py --one-lock MODEL          the same engine behind one lock, in this process, beside it

``--one-lock`` starts a server that does what most local speech servers do: one request at a time, the others wait on a
lock. It runs the same model with the same threads, so the difference is the batching and nothing else. A player is
*starved* by a piece that comes after the sound before it has run out. Each connection sends its requests one after the
other; the texts are the same in every run, chosen by ``--seed``.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import sys
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple
from urllib.parse import urlsplit

RATE = 24_000
SENTENCES = (
    "今天天气很好，我们去公园走走吧。",
    "请在下一个路口左转，然后直行两百米。",
    "The meeting has been moved to three o'clock.",
    "会议改到下午三点，请大家准时参加。",
    "Your parcel will arrive tomorrow between nine and eleven.",
    "她笑着说，这是她听过的最好的消息。",
    "Please hold the line while I connect you.",
    "这台机器不需要联网也能说话。",
)


@dataclass
class Heard:
    """What one request got."""

    status: int
    started: float
    first: Optional[float] = None
    ended: float = 0.0
    seconds: float = 0.0
    """Of sound."""
    gaps: List[float] = field(default_factory=list)
    starved: int = 0
    whole: bool = False


async def request(host: str, port: int, text: str, seed: int, key: str) -> Heard:
    """Ask for PCM over a socket of its own and note when each piece comes."""
    body = {"model": "tts-1", "voice": "alloy", "input": text, "seed": seed, "response_format": "pcm", "stream": True}
    data = json.dumps(body).encode()
    head = (
        f"POST /v1/audio/speech HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\nAuthorization: Bearer {key}\r\nConnection: close\r\n\r\n"
    )
    heard = Heard(0, time.perf_counter())
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        heard.ended = time.perf_counter()
        return heard
    try:
        writer.write(head.encode() + data)
        status = await reader.readline()
        heard.status = int(status.split()[1]) if status else 0
        chunked = False
        while True:
            line = await reader.readline()
            chunked |= line.lower().startswith(b"transfer-encoding: chunked")
            if line in (b"\r\n", b""):
                break
        if heard.status == 200 and chunked:
            await _read_pieces(reader, heard)
        else:
            rest = await reader.read()
            heard.whole = heard.status != 200
            if heard.status == 200 and rest:
                heard.first, heard.seconds, heard.whole = time.perf_counter(), len(rest) / 2 / RATE, True
    except (OSError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()
    heard.ended = time.perf_counter()
    return heard


async def _read_pieces(reader: asyncio.StreamReader, heard: Heard) -> None:
    last = None
    while True:
        size = int((await reader.readline()).strip(), 16)
        await reader.readexactly(size + 2)
        if size == 0:
            heard.whole = True
            return
        now = time.perf_counter()
        if heard.first is None:
            heard.first = now
        elif last is not None:
            heard.gaps.append(now - last)
            heard.starved += now - heard.first > heard.seconds
        last = now
        heard.seconds += size / 2 / RATE


async def run(url: str, connections: int, count: int, key: str, seed: int) -> Tuple[List[Heard], float]:
    """``count`` requests over so many connections; what each got, and the seconds it took."""
    host, port = urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80
    draw = random.Random(seed)  # noqa: S311 - choosing texts, not keys
    texts = [" ".join(draw.sample(SENTENCES, draw.randint(1, 3))) for _ in range(count)]
    queue: List[Tuple[int, str]] = list(enumerate(texts))
    results: List[Heard] = []

    async def connection() -> None:
        while queue:
            index, text = queue.pop(0)
            results.append(await request(host, port, text, seed + index, key))

    begin = time.perf_counter()
    await asyncio.gather(*[connection() for _ in range(connections)])
    return results, time.perf_counter() - begin


def summary(connections: int, results: List[Heard], seconds: float) -> Dict[str, Any]:
    """The figures of one point of the curve."""
    good = [one for one in results if one.status == 200 and one.whole]
    first = sorted(one.first - one.started for one in good if one.first is not None)
    total = sorted(one.ended - one.started for one in good)
    sound = sum(one.seconds for one in good)
    pieces = sum(len(one.gaps) + 1 for one in good)
    return {
        "connections": connections,
        "requests": len(results),
        "ok": len(good),
        "refused_429": sum(one.status == 429 for one in results),
        "broken": sum(one.status == 200 and not one.whole for one in results),
        "other_errors": sum(one.status not in (200, 429) for one in results),
        "seconds": round(seconds, 2),
        "requests_per_second": round(len(good) / seconds, 3),
        "audio_seconds_per_second": round(sound / seconds, 3),
        "ttfa_p50": _at(first, 0.5),
        "ttfa_p99": _at(first, 0.99),
        "latency_p50": _at(total, 0.5),
        "latency_p99": _at(total, 0.99),
        "longest_gap": round(max((gap for one in good for gap in one.gaps), default=0.0), 3),
        "starved_share": round(sum(one.starved for one in good) / pieces, 4) if pieces else 0.0,
    }


def _at(values: List[float], share: float) -> Optional[float]:
    return round(values[min(len(values) - 1, int(share * len(values)))], 3) if values else None


def one_lock_server(model: str, threads: Optional[int]) -> Tuple[str, Any]:
    """A server of the same engine that lets one request in at a time; its address and how to stop it."""
    import dataclasses

    from chattts_onnx.config import EngineConfig
    from chattts_onnx.server.app import create_app
    from chattts_onnx.server.http_server import DrainingServer, configuration
    from chattts_onnx.server.settings import ServerSettings

    engine = dataclasses.replace(EngineConfig(), max_batch=1, max_queue=256, threads=threads)
    settings = ServerSettings(
        port=0, model=model, engine=engine, slots=1, queue=256, queue_timeout=3600.0, log_level="error"
    )
    app = create_app(settings)
    server = DrainingServer(configuration(app, settings), app.state.context)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while app.state.context.lifecycle.phase == "loading":
        time.sleep(0.05)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", stop


def wait_ready(url: str, seconds: float = 120.0) -> None:
    """Wait until the server has loaded its model."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url + "/readyz", timeout=5):  # noqa: S310 - the operator's own address
                return
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def main() -> int:
    """Run the curve and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", help="a running server")
    parser.add_argument("--one-lock", metavar="MODEL", help="start and measure the one-lock server of this model")
    parser.add_argument("--threads", type=int, help="of the one-lock server's graphs")
    parser.add_argument("--connections", default="1,2,4,8,16,32,100")
    parser.add_argument("--requests", type=int, default=0, help="for each point (default: 2 for each connection, 8 up)")
    parser.add_argument("--key", default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if bool(args.url) == bool(args.one_lock):
        parser.error("give either --url or --one-lock")
    url, stop = (args.url, None) if args.url else one_lock_server(args.one_lock, args.threads)
    curve = []
    try:
        wait_ready(url)
        asyncio.run(run(url, 1, 1, args.key, args.seed))
        for connections in map(int, args.connections.split(",")):
            count = args.requests or max(8, 2 * connections)
            results, seconds = asyncio.run(run(url, connections, count, args.key, args.seed))
            curve.append(summary(connections, results, seconds))
            print(json.dumps(curve[-1]), flush=True)
    finally:
        if stop is not None:
            stop()
    report = {
        "kind": "one lock" if args.one_lock else "batched",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "seed": args.seed,
        "curve": curve,
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if any(point["other_errors"] or point["broken"] for point in curve) else 0


if __name__ == "__main__":
    sys.exit(main())
