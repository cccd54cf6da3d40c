"""The health of a service in the face of who watches it and never reads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

import shared.server
from agent_service.__main__ import build
from tests.world import TIMEOUT_SECONDS, World

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
# SETTINGS_INITIAL_WINDOW_SIZE = 0: nothing that the server writes on a stream may be sent.
READS_NOTHING = (4).to_bytes(2, "big") + (0).to_bytes(4, "big")


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """An HTTP/2 frame (RFC 9113, 4.1)."""
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def header(name: str, value: str) -> bytes:
    """A header that is not indexed (RFC 7541, 6.2.2)."""
    return b"\0" + b"".join(bytes([len(text)]) + text.encode() for text in (name, value))


@asynccontextmanager
async def a_watch_that_reads_nothing(port: int) -> AsyncIterator[None]:
    """A watch of the health of everything, which no grpc library would make so."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": "/grpc.health.v1.Health/Watch",
        ":authority": "localhost",
        "content-type": "application/grpc",
        "te": "trailers",
    }
    block = b"".join(header(name, value) for name, value in headers.items())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, READS_NOTHING))
    writer.write(frame(HEADERS, END_HEADERS, 1, block) + frame(DATA, END_STREAM, 1, b"\0" * 5))
    answered = b""
    while b"application/grpc" not in answered:  # the head of an answer whose body cannot follow
        answered += await asyncio.wait_for(reader.read(4096), TIMEOUT_SECONDS)
    try:
        yield
    finally:
        writer.close()


async def test_who_watches_and_reads_nothing_holds_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared.server, "DRAIN_SECONDS", 1.0)
    server = build(world.database, world.settings)
    port = await server.start("127.0.0.1:0")
    async with (
        a_watch_that_reads_nothing(port),
        grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
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
