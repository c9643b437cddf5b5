"""The Ray application on two nodes with the shipped model: spread, same bytes, a lost node, scaling.

pip install 'chattts-onnx[server,ray]' && pytest tests/server/test_ray_nodes.py -m ray

Both nodes are on this machine, each a raylet of its own with room for one engine.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import httpx
import pytest

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default"), pytest.mark.timeout(600)]
ray = pytest.importorskip("ray", reason="the extra ray is not installed")

MINI = Path(__file__).resolve().parents[2] / "src" / "chattts_onnx" / "models" / "mini"
PORT = 8768
URL = f"http://127.0.0.1:{PORT}"
NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
BODY = {"input": "今天天气很好，我们去公园走走吧。Please hold the line.", "response_format": "pcm", "seed": 3}


@pytest.fixture(scope="module")
def cluster():
    from ray import serve
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    ray.init(
        address=nodes.address, log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    yield nodes
    serve.shutdown()
    ray.shutdown()
    nodes.shutdown()


def deploy(replicas: Path):
    """One engine, two under load; each notes its process and node in the folder ``replicas``."""
    from ray import serve

    from chattts_onnx.server.backend import load_backend
    from chattts_onnx.server.ray_app import build

    folder = str(replicas)

    def load(settings):
        (Path(folder) / str(os.getpid())).write_text(ray.get_runtime_context().get_node_id(), encoding="ascii")
        return load_backend(settings)

    arguments = {
        "server": {"model": str(MINI), "queue": 8}, "engine": {"max_batch": 4, "threads": 1},
        "replicas": {"min": 1, "max": 2}, "num_cpus": 0.6, "load": load, "target_ongoing_requests": 1,
        "upscale_delay_s": 0.5, "downscale_delay_s": 3, "look_back_period_s": 2, "metrics_interval_s": 0.5,
    }  # fmt: skip
    serve.run(build(arguments), name="chattts", route_prefix="/")
    wait_for(lambda: httpx.get(URL + "/readyz").status_code == 200, "readiness")


def wait_for(condition, what, seconds=120.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.5)


def engines():
    """How many engine replicas run."""
    from ray import serve

    states = serve.status().applications["chattts"].deployments["Engine"].replica_states
    return sum(count for state, count in states.items() if "RUNNING" in str(state))


def sentences_by_process():
    """Finished lines of every replica that answers, by process."""
    from ray import serve

    handle = serve.get_deployment_handle("Engine", "chattts")
    found = [handle.stats.remote().result() for _ in range(20)]
    return {figures["process"]: figures["finished"] for figures in found}


async def many(count, body=BODY):
    async with httpx.AsyncClient(timeout=300, limits=httpx.Limits(max_connections=count)) as client:
        calls = [client.post(URL + "/v1/audio/speech", json=body) for _ in range(count)]
        return await asyncio.gather(*calls, return_exceptions=True)


def load_until_two():
    """Speak until there are two engines."""

    async def load():
        deadline = time.monotonic() + 180
        while await asyncio.get_running_loop().run_in_executor(None, engines) < 2:
            assert time.monotonic() < deadline, "no second engine"
            await many(4)

    asyncio.run(load())


def test_two_nodes_share_the_work_and_the_loss_of_one_breaks_only_its_own(cluster, tmp_path):
    deploy(tmp_path)
    assert engines() == 1  # and with it the ingress: both on the head, where the only room is
    alone = asyncio.run(many(1))[0].content
    worker = cluster.add_node(**NODE)
    load_until_two()
    assert len({path.read_text() for path in tmp_path.iterdir()}) == 2

    replies = asyncio.run(many(8))
    assert {reply.content for reply in replies} == {alone}
    wait_for(lambda: len(sentences_by_process()) == 2 and min(sentences_by_process().values()) > 0, "both at work", 30)

    long = {**BODY, "input": BODY["input"] * 6}
    whole = asyncio.run(many(1, long))[0].content
    load_until_two()

    async def lose_a_node():
        task = asyncio.ensure_future(many(8, long))
        await asyncio.sleep(1.0)
        await asyncio.get_running_loop().run_in_executor(None, cluster.remove_node, worker, False)
        return await task

    replies = asyncio.run(lose_a_node())
    complete = [reply for reply in replies if isinstance(reply, httpx.Response) and reply.content == whole]
    assert 1 <= len(complete) < 8
    assert httpx.post(URL + "/v1/audio/speech", json=BODY, timeout=120).content == alone

    cluster.add_node(**NODE)
    load_until_two()
    wait_for(lambda: engines() == 1, "scaling down")
    assert httpx.post(URL + "/v1/audio/speech", json=BODY, timeout=120).content == alone
