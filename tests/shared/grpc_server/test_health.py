"""The health of a service in the face of who watches it and never reads."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

import shared.grpc_server.server
from agent_service.__main__ import build
from tests.http2 import READS_NOTHING, posted, read_until
from tests.world import TIMEOUT_SECONDS, World

WATCH = "/grpc.health.v1.Health/Watch"


async def test_who_watches_and_reads_nothing_holds_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.grpc_server.server, "DRAIN_SECONDS", 1.0)
    server = build(world.database, world.settings)
    port = await server.start("127.0.0.1:0")
    async with (
        posted(port, WATCH, {}, settings=READS_NOTHING) as reader,
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        await read_until(reader, b"application/grpc")  # the head of an answer without its body
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        assert (await watch.read()).status == HealthCheckResponse.SERVING
        async with asyncio.timeout(TIMEOUT_SECONDS / 2):
            await server.stop()
        assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING


async def test_a_watch_of_what_is_not_there_says_so_and_goes_on(world: World) -> None:
    stub: Any = HealthStub(world.channels.agents)
    watch = stub.Watch(HealthCheckRequest(service="nonsense"), timeout=TIMEOUT_SECONDS)
    assert (await watch.read()).status == HealthCheckResponse.SERVICE_UNKNOWN
    watch.cancel()
