"""The Ray application on a local cluster: same bytes from every replica, a killed one breaks only its own, scaling.

pip install 'chattts-onnx[server,ray]' && pytest tests/server/test_ray.py -m ray
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]
ray = pytest.importorskip("ray", reason="the extra ray is not installed")

PORT = 8767
URL = f"http://127.0.0.1:{PORT}"
BODY = {"input": "Hello there. How are you?", "response_format": "pcm", "seed": 3}


@pytest.fixture(scope="module")
def cluster():
    from ray import serve

    tests = str(Path(__file__).parents[1])
    sys.path.insert(0, tests)
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=80_000_000, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    yield serve
    serve.shutdown()
    ray.shutdown()


def deploy(serve, *, low=2, high=2, step=0.05, **more):
    from chattts_onnx.server.backend import LocalBackend
    from chattts_onnx.server.ray_app import build
    from server.facade_double import SineFacade

    def load(settings):
        return LocalBackend(SineFacade(step_seconds=step, chunks_per_segment=20), settings.slot_count)

    arguments = {
        "server": {"drain_timeout": 5, "queue": 2}, "engine": {"max_batch": 2}, "replicas": {"min": low, "max": high},
        "num_cpus": 0.2, "load": load, **more,
    }  # fmt: skip
    serve.run(build(arguments), name="chattts", route_prefix="/")
    deadline = time.monotonic() + 60
    while httpx.get(URL + "/readyz").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.5)


def engines(serve):
    """How many engine replicas run."""
    states = serve.status().applications["chattts"].deployments["Engine"].replica_states
    return sum(count for state, count in states.items() if "RUNNING" in str(state))


def a_process(serve):
    """The process of one of them."""
    return int(serve.get_deployment_handle("Engine", "chattts").stats.remote().result()["process"])


async def many(count):
    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=count)) as client:
        calls = [client.post(URL + "/v1/audio/speech", json=BODY) for _ in range(count)]
        return await asyncio.gather(*calls, return_exceptions=True)


def test_two_replicas_give_the_same_bytes_and_both_work(cluster):
    deploy(cluster)
    replies = asyncio.run(many(4))
    assert [reply.status_code for reply in replies] == [200] * 4
    assert len({reply.content for reply in replies}) == 1
    assert len(replies[0].content) == 2 * 20 * 2 * 2400
    assert len(httpx.get(URL + "/v1/audio/voices").json()["voices"]) > 3
    bad = httpx.post(URL + "/v1/audio/speech", json={"input": "😀"})
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "empty_input")


def test_more_than_slots_and_queue_is_refused(cluster):
    replies = asyncio.run(many(20))
    codes = sorted(reply.status_code for reply in replies)
    # Two replicas of two slots, and two places each.
    assert codes == [200] * 8 + [429] * 12
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies if reply.status_code == 429)


def test_a_killed_replica_breaks_only_its_own_streams(cluster):
    victim = a_process(cluster)

    async def run():
        task = asyncio.ensure_future(many(4))
        await asyncio.sleep(0.8)
        os.kill(victim, signal.SIGKILL)
        return await task

    replies = asyncio.run(run())
    whole = [
        reply for reply in replies if isinstance(reply, httpx.Response) and len(reply.content) == 2 * 20 * 2 * 2400
    ]
    assert 1 <= len(whole) < 4
    deadline = time.monotonic() + 120
    while engines(cluster) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert httpx.post(URL + "/v1/audio/speech", json=BODY, timeout=60).status_code == 200


def test_scaling_up_and_down(cluster):
    quick = {"upscale_delay_s": 0.5, "downscale_delay_s": 2.0, "look_back_period_s": 2.0, "metrics_interval_s": 0.5}
    deploy(cluster, low=1, high=2, step=0.1, target_ongoing_requests=1, **quick)
    assert engines(cluster) >= 1

    async def load():
        end = time.monotonic() + 60
        most = 0

        async def keep():
            while time.monotonic() < end and most < 2:
                await many(3)

        async def watch():
            nonlocal most
            while time.monotonic() < end and most < 2:
                most = max(most, await asyncio.get_running_loop().run_in_executor(None, engines, cluster))
                await asyncio.sleep(0.5)

        await asyncio.gather(keep(), watch())
        return most

    assert asyncio.run(load()) == 2
    deadline = time.monotonic() + 60
    while engines(cluster) > 1:
        assert time.monotonic() < deadline
        time.sleep(1)
