"""Load on a running server: time to first audio, gaps, starved players, errors, for a curve of connections.

    chattts serve --model MODEL --port 8000 &
    python benchmarks/load.py --connections 1,2,4,8,16,32,100 --out load.json

    chattts serve --model MODEL --port 8001 --slots 1 --max-batch 1 --queue 39 --queue-timeout 3600 &
    python benchmarks/load.py --url http://127.0.0.1:8001        the same engine behind one lock, beside it

The second is what most local speech servers do: one request at a time, the others wait on a lock; model, threads and
places are the same, so the difference is the batching and nothing else. Each connection sends one request after the
other for ``--seconds``, and comes back as late as ``Retry-After`` says when it is refused. Throughput is the sound that
arrived within that time; latencies are of all requests begun in it. A player that begins with the first piece is
*starved* for as long as later pieces come after its sound has run out. The n-th text is the same in every run, chosen
by ``--seed``. With ``--pid`` of the server its CPU time for a second of sound is given too: on a machine in other use,
the wall's clock measures the others. A random model ends no sentence of itself: ``--fields '{"refine": false,
"max_attempts": 1}'`` keeps each from being drawn again.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import platform
import random
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from functools import partial
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
    starved: float = 0.0
    """Seconds of silence in a player that begins with the first piece."""
    pieces: List[Tuple[float, float]] = field(default_factory=list)
    """When each came, and its seconds of sound."""
    whole: bool = False
    retry_after: float = 0.0


async def request(host: str, port: int, text: str, seed: int, key: str, fields: Dict[str, Any]) -> Heard:
    """Ask for PCM over a socket of its own and note when each piece comes."""
    body = {"model": "tts-1", "voice": "alloy", "input": text, "seed": seed, "response_format": "pcm", "stream": True}
    data = json.dumps({**body, **fields}).encode()
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
            if line.lower().startswith(b"retry-after:"):
                heard.retry_after = float(line.split(b":")[1])
            if line in (b"\r\n", b""):
                break
        if heard.status == 200 and chunked:
            await _read_pieces(reader, heard)
        else:
            rest = await reader.read()
            heard.whole = heard.status != 200
            if heard.status == 200 and rest:
                heard.first, heard.seconds, heard.whole = time.perf_counter(), len(rest) / 2 / RATE, True
                heard.pieces.append((heard.first, heard.seconds))
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
            heard.starved = max(heard.starved, now - heard.first - heard.seconds)
        last = now
        heard.seconds += size / 2 / RATE
        heard.pieces.append((now, size / 2 / RATE))


async def run(
    connections: int, seconds: float, longest: int, *, url: str, key: str, seed: int, fields: Dict[str, Any]
) -> Tuple[List[Heard], float]:
    """So many connections for so long; what each request got, and when the time was over."""
    host, port = urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80
    numbers = itertools.count(seed)
    results: List[Heard] = []
    end = time.perf_counter() + seconds

    async def connection() -> None:
        while time.perf_counter() < end:
            number = next(numbers)
            draw = random.Random(number)  # noqa: S311 - choosing texts, not keys
            text = " ".join(draw.sample(SENTENCES, draw.randint(1, longest)))
            heard = await request(host, port, text, number, key, fields)
            results.append(heard)
            if heard.status != 200:
                await asyncio.sleep(min(heard.retry_after or 0.1, max(0.0, end - time.perf_counter())))

    await asyncio.gather(*[connection() for _ in range(connections)])
    return results, end


def cpu_seconds(pid: Optional[int]) -> float:
    """CPU time of a process and its threads so far (Linux); 0 without one."""
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def summary(connections: int, results: List[Heard], seconds: float, end: float, cpu: float) -> Dict[str, Any]:
    """The figures of one point of the curve, ``seconds`` long until ``end``, for ``cpu`` seconds of work."""
    good = [one for one in results if one.status == 200 and one.whole]
    first = sorted(one.first - one.started for one in good if one.first is not None)
    total = sorted(one.ended - one.started for one in good)
    whole = sum(one.seconds for one in results)
    sound = sum(length for one in good for came, length in one.pieces if came <= end)
    starved = sorted(one.starved for one in good)
    return {
        "connections": connections,
        "requests": len(results),
        "ok": len(good),
        "refused_429": sum(one.status == 429 for one in results),
        "broken": sum(one.status == 200 and not one.whole for one in results),
        "other_errors": sum(one.status not in (200, 429) for one in results),
        "requests_per_second": round(sum(one.ended <= end for one in good) / seconds, 3),
        "audio_seconds_per_second": round(sound / seconds, 3),
        "cpu_seconds_per_audio_second": round(cpu / whole, 4) if whole and cpu else None,
        "ttfa_p50": _at(first, 0.5),
        "ttfa_p99": _at(first, 0.99),
        "latency_p50": _at(total, 0.5),
        "latency_p99": _at(total, 0.99),
        "longest_gap": round(max((gap for one in good for gap in one.gaps), default=0.0), 3),
        "starved_p50": _at(starved, 0.5),
        "starved_p99": _at(starved, 0.99),
    }


def _at(values: List[float], share: float) -> Optional[float]:
    return round(values[min(len(values) - 1, int(share * len(values)))], 3) if values else None


def wait_ready(url: str, seconds: float = 120.0) -> None:
    """Wait until the server has loaded its model."""
    until = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(url + "/readyz", timeout=5):  # noqa: S310 - the operator's own address
                return
        except OSError as error:
            if time.monotonic() > until:
                raise SystemExit(f"{url} is not ready after {seconds:g} s: {error}; is `chattts serve` up?") from None
            time.sleep(0.2)


def json_object(text: str) -> Dict[str, Any]:
    """An argument that is a JSON object."""
    value = json.loads(text)
    if not isinstance(value, dict):
        raise TypeError(text)
    return value


def main() -> int:
    """Run the curve and print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--connections", default="1,2,4,8,16,32,100")
    parser.add_argument("--seconds", type=float, default=30, help="of each point")
    parser.add_argument("--sentences", type=int, default=3, help="of the longest text")
    parser.add_argument("--fields", type=json_object, default={}, help="JSON object: further fields of each request")
    parser.add_argument("--pid", type=int, help="process of the server, to count its CPU time")
    parser.add_argument("--key", default="none")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    wait_ready(args.url)
    ask = partial(run, url=args.url, key=args.key, seed=args.seed, fields=args.fields)
    asyncio.run(ask(1, 0.1, 1))
    curve = []
    for connections in map(int, args.connections.split(",")):
        before = cpu_seconds(args.pid)
        results, end = asyncio.run(ask(connections, args.seconds, args.sentences))
        curve.append(summary(connections, results, args.seconds, end, cpu_seconds(args.pid) - before))
        print(json.dumps(curve[-1]), flush=True)
    report = {
        "machine": platform.machine(),
        "python": platform.python_version(),
        "seconds": args.seconds,
        "seed": args.seed,
        "fields": args.fields,
        "curve": curve,
    }
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 1 if any(point["other_errors"] or point["broken"] for point in curve) else 0


if __name__ == "__main__":
    sys.exit(main())
