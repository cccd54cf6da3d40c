"""A service that is told to stop says so first, serves meanwhile, and fails no call."""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from shared.grpc_server.health import LIVENESS
from shared.settings import MAXIMUM_SHUTDOWN_DELAY
from tandem.agent.v1.project_service_pb2 import GetProjectRequest, Project
from tests.processes import port, service
from tests.world import TIMEOUT_SECONDS, Channels, Client, User, World

CALLERS = 40
SERVING, NOT_SERVING = HealthCheckResponse.SERVING, HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def alice(world: World) -> User:
    return await world.user()


@asynccontextmanager
async def started(world: World, delay: int) -> AsyncIterator[tuple[Any, str]]:
    """An agent service as a process, on the world's database; it has to end by itself."""
    settings = {"TANDEM_DATABASE_URL": world.url, "TANDEM_SHUTDOWN_DELAY": str(delay)}
    process = service("agent_service", **settings)
    try:
        address = f"127.0.0.1:{await asyncio.to_thread(port, process)}"
        # Its log has to be read, or it would wait for that when it has said a pipe's worth.
        reading = asyncio.create_task(asyncio.to_thread(process.communicate))
        yield process, address
        async with asyncio.timeout(TIMEOUT_SECONDS * 2):
            await reading
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()


async def status(address: str, name: str) -> Any:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = HealthStub(channel)
        return (await stub.Check(HealthCheckRequest(service=name), timeout=TIMEOUT_SECONDS)).status


async def until(address: str, wanted: Any) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await status(address, "") != wanted:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_it_announces_its_end_and_serves_until_then(world: World, alice: User) -> None:
    project = await alice.project()
    async with started(world, MAXIMUM_SHUTDOWN_DELAY) as (process, address):
        process.send_signal(signal.SIGTERM)
        await until(address, NOT_SERVING)
        assert await status(address, "tandem.agent.v1.AgentService") == NOT_SERVING
        assert await status(address, LIVENESS) == SERVING
        async with grpc.aio.insecure_channel(address) as channel:
            client = Client(Channels(channel, channel), alice.token)
            request = GetProjectRequest(project_id=project.id)
            assert await client.projects.GetProject(request) == project
        process.send_signal(signal.SIGTERM)  # a second one ends the wait


async def test_no_call_fails_that_a_client_would_not_try_again(world: World, alice: User) -> None:
    project = await alice.project()
    codes: Counter[str] = Counter()
    async with started(world, 0) as (process, address):
        callers = [
            asyncio.create_task(call(address, alice, project, codes)) for _ in range(CALLERS)
        ]
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while codes["OK"] < CALLERS * 3:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        await asyncio.gather(*callers)
    assert codes.keys() == {"OK", "UNAVAILABLE"}


async def call(address: str, alice: User, project: Project, codes: Counter[str]) -> None:
    """Call until nothing listens any more."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        client = Client(Channels(channel, channel), alice.token)
        while True:
            try:
                await client.projects.GetProject(GetProjectRequest(project_id=project.id))
                codes["OK"] += 1
            except grpc.aio.AioRpcError as error:
                codes[error.code().name] += 1
                if "connect" in (error.details() or "").lower():
                    return
                await asyncio.sleep(0)
