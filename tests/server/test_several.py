"""Two plain servers behind a least-connection proxy: both work, the same bytes, and one may drain unnoticed."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import httpx

from server.facade_double import SineFacade
from server.live import live_server


class Proxy:
    """Least connections over TCP, with the health check of deploy/proxy/haproxy.cfg: no server that is not ready."""

    def __init__(self, ports):
        self.open = dict.fromkeys(ports, 0)
        self.served = dict.fromkeys(ports, 0)

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        async with httpx.AsyncClient() as client:
            states = {port: (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code for port in self.open}
        port = min((port for port, status in states.items() if status == 200), key=self.open.get)
        self.open[port] += 1
        self.served[port] += 1
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(self.copy(reader, upstream_writer), self.copy(upstream_reader, writer))
        finally:
            self.open[port] -= 1

    @staticmethod
    async def copy(reader, writer):
        with contextlib.suppress(OSError):
            while True:
                data = await reader.read(1 << 16)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()


def test_two_servers_share_the_work_and_one_drains():
    slow = {"step_seconds": 0.05, "chunks_per_segment": 10}
    with live_server(SineFacade(**slow), slots=2, queue=8) as one, live_server(
        SineFacade(**slow), slots=2, queue=8
    ) as two:

        async def run():
            proxy = Proxy([one.port, two.port])
            url = f"http://127.0.0.1:{await proxy.start()}/v1/audio/speech"

            async def ask():
                # A connection each, as a proxy without keep-alive sees them.
                async with httpx.AsyncClient(timeout=60, headers={"connection": "close"}) as client:
                    return await client.post(url, json={"input": "One. Two.", "response_format": "pcm", "seed": 1})

            first = await asyncio.gather(*[ask() for _ in range(8)])
            shares = dict(proxy.served)
            running = [asyncio.ensure_future(ask()) for _ in range(4)]
            admissions = [server.context.admission for server in (one, two)]
            while sum(each.running + each.waiting for each in admissions) < len(running):  # noqa: ASYNC110 - of others
                await asyncio.sleep(0.01)
            one.server._loop.call_soon_threadsafe(setattr, one.context.lifecycle, "phase", "draining")
            await asyncio.sleep(0.2)
            later = await asyncio.gather(*[ask() for _ in range(3)])
            unbroken = await asyncio.gather(*running)
            proxy.server.close()
            return first, shares, unbroken, later, proxy.served[one.port] - shares[one.port]

        first, shares, unbroken, later, after = asyncio.run(run())
    assert threading.active_count() < 60
    assert [reply.status_code for reply in [*first, *unbroken, *later]] == [200] * 15
    assert len({reply.content for reply in [*first, *unbroken, *later]}) == 1
    assert min(shares.values()) >= 3
    assert after <= 2
