"""A long run against a server: does memory, and does everything else, come back to where it was?

    chattts serve --model MODEL &
    python benchmarks/soak.py --url http://127.0.0.1:8000 --pid $! --minutes 30

Random lengths, all six formats, 20 % of the clients leave in the middle, 5 % send nonsense. From the middle of the run
to its end the resident memory may grow by less than 50 MB and less than 1 MB a minute, and afterwards descriptors and
threads are what they were after the first requests. ``--leak MB`` is the negative control: it judges the same run as if
so much had been lost each minute, and must fail; a check that cannot fail proves nothing. Linux only (``/proc``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any, Dict, List, Tuple
from urllib.parse import urlsplit

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
WORDS = ("你好", "今天", "世界", "hello", "there", "speech", "晴天", "we", "walk", "。", "，", ". ")
NONSENSE = (b"{", b'{"input": ""}', b'{"input": 5}', b'{"input": "a", "voice": "../x"}', b'{"input": "a", "speed": 99}')
MAX_GROWTH_MB = 50.0
MAX_SLOPE_MB = 1.0


def body_of(draw: random.Random, longest: int) -> bytes:
    """A request of random length and format."""
    text = "".join(draw.choice(WORDS) for _ in range(draw.randint(1, longest)))
    body = {"input": "你" + text, "response_format": draw.choice(FORMATS), "seed": draw.randint(0, 99)}
    if draw.random() < 0.2:
        body["stream_format"] = "sse"
    return json.dumps(body).encode()


async def one(host: str, port: int, draw: random.Random, longest: int) -> str:
    """One client; what became of it."""
    chance = draw.random()
    data = draw.choice(NONSENSE) if chance < 0.05 else body_of(draw, longest)
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nConnection: close\r\n"
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


def sample(pid: int) -> Dict[str, float]:
    """Resident megabytes, threads and descriptors of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return {
        "rss_mb": int(fields["VmRSS"].split()[0]) / 1024,
        "threads": int(fields["Threads"]),
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
    }


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
    for name, slack in (("threads", 12), ("descriptors", 4)):
        if after[name] > before[name] + slack:
            found.append(f"{name}: {before[name]:.0f} before, {after[name]:.0f} after")
    return found


def _slope(points: List[Tuple[float, float]]) -> float:
    """Least squares, per second."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0


async def soak(url: str, pid: int, minutes: float, connections: int, longest: int, seed: int) -> Dict[str, Any]:
    """Drive the server for so long; outcomes and samples."""
    host, port = urlsplit(url).hostname or "127.0.0.1", urlsplit(url).port or 80
    draw = random.Random(seed)  # noqa: S311 - test data
    outcomes: Dict[str, int] = {}
    for _ in range(2 * len(FORMATS)):
        await one(host, port, draw, longest)
    begin = time.monotonic()
    before = sample(pid)
    samples: List[Tuple[float, float]] = []

    async def client() -> None:
        while time.monotonic() - begin < minutes * 60:
            outcome = await one(host, port, draw, longest)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if outcome == "429":
                await asyncio.sleep(0.5)

    async def watch() -> None:
        while time.monotonic() - begin < minutes * 60:
            await asyncio.sleep(min(5.0, minutes * 2))
            samples.append((time.monotonic() - begin, sample(pid)["rss_mb"]))

    await asyncio.gather(watch(), *[client() for _ in range(connections)])
    await asyncio.sleep(3)
    return {"outcomes": outcomes, "before": before, "after": sample(pid), "samples": samples}


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
    """Soak, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--pid", type=int, required=True, help="process of the server")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--connections", type=int, default=6)
    parser.add_argument("--longest", type=int, default=60, help="words of the longest text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leak", type=float, default=0.0, metavar="MB", help="negative control: pretend this a minute")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    wait_ready(args.url)
    found = asyncio.run(soak(args.url, args.pid, args.minutes, args.connections, args.longest, args.seed))
    found["samples"] = [(x, mb + args.leak * x / 60) for x, mb in found["samples"]]
    problems = judge(found["samples"], found["before"], found["after"])
    bad = sum(count for outcome, count in found["outcomes"].items() if outcome.startswith("5") or outcome == "lost")
    if bad:
        problems.append(f"{bad} requests were answered with 5xx or not at all")
    found["problems"] = problems
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    half = found["samples"][len(found["samples"]) // 2 :]
    print(json.dumps({"outcomes": found["outcomes"], "before": found["before"], "after": found["after"]}))
    if half:
        print(
            f"resident memory, middle to end: {half[0][1]:.1f} -> {half[-1][1]:.1f} MB, {_slope(half) * 60:+.2f} MB/min"
        )
    print("flat" if not problems else "NOT FLAT: " + "; ".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
