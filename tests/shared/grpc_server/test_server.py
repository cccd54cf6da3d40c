"""Health, reflection, addresses, and the end of a server."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import (
    ServerReflectionRequest,
    ServerReflectionResponse,
)
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from agent_service.__main__ import build
from shared.errors import Reason
from shared.grpc_server.interceptor import MAXIMUM_CALLS, MAXIMUM_STREAMS
from shared.grpc_server.server import StartError
from tests.access.stage import DECLARED
from tests.locks import under_way
from tests.log_lines import logged
from tests.refusals import outcome, refused
from tests.waiting import SECONDS, until
from tests.world import Channels, Client, World

# Every service in the protos, by the process that serves it.
SERVICES = {
    process: {m.partition("/")[0] for m in DECLARED if m.startswith(f"tandem.{package}.")}
    for process, package in (("agents", "agent"), ("tasks", "task"))
}
SERVING = HealthCheckResponse.SERVING


@pytest.mark.parametrize("which", ["agents", "tasks"])
async def test_health_is_open_and_knows_each_service(world: World, which: str) -> None:
    stub: Any = HealthStub(getattr(world.channels, which))
    for name in ("", *SERVICES[which]):
        found = await outcome(stub.Check(HealthCheckRequest(service=name)))
        assert found == "OK", f"build() in {which[:-1]}_service/__main__.py has to serve {name}."
        assert (await stub.Check(HealthCheckRequest(service=name))).status == SERVING


async def test_health_of_an_unknown_service_is_not_found(world: World) -> None:
    stub: Any = HealthStub(world.channels.agents)
    async with logged(1) as lines:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.Check(HealthCheckRequest(service="nonsense"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert dict(raised.value.trailing_metadata())["x-request-id"]
    assert [(line["event"], line["code"]) for line in lines] == [("call", "NOT_FOUND")]


@pytest.mark.parametrize("which", ["agents", "tasks"])
async def test_reflection_is_open_and_lists_the_services(world: World, which: str) -> None:
    services = SERVICES[which]
    stub: Any = ServerReflectionStub(getattr(world.channels, which))
    asked = [
        ServerReflectionRequest(list_services=""),
        ServerReflectionRequest(file_containing_symbol=min(services)),
        ServerReflectionRequest(file_containing_symbol="nonsense"),
    ]
    listed, file, missing = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in listed.list_services_response.service}
    assert names >= services | {"grpc.health.v1.Health"}
    assert file.file_descriptor_response.file_descriptor_proto
    assert missing.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_an_unknown_method_is_unimplemented(world: World) -> None:
    call: Any = world.channels.agents.unary_unary("/tandem.agent.v1.AgentService/Nonsense")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"")
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_an_occupied_address_is_refused(world: World) -> None:
    first, second = (build(world.database, world.settings) for _ in range(2))
    port = await first.start("127.0.0.1:0")
    with pytest.raises(StartError, match=f"127.0.0.1:{port}"):
        await second.start(f"127.0.0.1:{port}")
    await first.stop()


async def test_a_stop_lets_the_calls_under_way_end(world: World) -> None:
    server = build(world.database, world.settings)
    port = await server.start("127.0.0.1:0")
    alice = await world.user()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        client, health = Client(Channels(channel, channel), alice.token), HealthStub(channel)
        async with under_way(world.url, "LOCK TABLE projects IN EXCLUSIVE MODE") as blocked:
            call = asyncio.ensure_future(client.project(slug="slow"))
            await blocked.wait()
            stopping = asyncio.create_task(server.stop())
            await until(lambda: not_ready(health))
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await client.project(slug="late")
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert not call.done()
        assert (await call).slug == "slow"
        await stopping


async def not_ready(health: Any) -> bool:
    found = await health.Check(HealthCheckRequest())
    return bool(found.status == HealthCheckResponse.NOT_SERVING)


async def test_a_message_too_large_is_refused(world: World) -> None:
    alice = await world.user()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await alice.project(description="x" * 5 * 1024 * 1024)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await refused(alice.project(description="x" * 3 * 1024 * 1024), Reason.INVALID_FIELD)


async def test_a_watch_of_its_health_does_not_hold_up_a_stop(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.server.DRAIN_SECONDS", 2 * SECONDS)
    server = build(world.database, world.settings)
    port = await server.start("127.0.0.1:0")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub: Any = HealthStub(channel)
        watch = stub.Watch(HealthCheckRequest())
        assert (await watch.read()).status == SERVING
        async with asyncio.timeout(SECONDS):
            await server.stop()
        assert (await watch.read()).status == HealthCheckResponse.NOT_SERVING


async def test_streams_are_limited_and_leave_room_for_calls(fresh_world: World) -> None:
    alice = await fresh_world.user()
    stub: Any = HealthStub(fresh_world.channels.agents)
    watches = [stub.Watch(HealthCheckRequest()) for _ in range(MAXIMUM_STREAMS)]
    for watch in watches:
        assert (await watch.read()).status == SERVING
    await refused(stub.Watch(HealthCheckRequest()).read(), Reason.LIMIT_EXCEEDED)
    assert await alice.project()
    for watch in watches:
        watch.cancel()


async def test_calls_without_a_message_leave_room_for_others(
    world: World,
) -> None:
    alice = await world.user()
    server = build(world.database, world.settings)
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    # A connection of its own for each channel, and more calls on all than may be under way.
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with AsyncExitStack() as stack:
        calls: list[Any] = []
        for _ in range(8):
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options))
            open_call: Any = channel.stream_unary("/tandem.agent.v1.AgentService/GetAgent")
            calls += [open_call() for _ in range(MAXIMUM_CALLS // 7)]
        await asyncio.gather(*(call.wait_for_connection() for call in calls))
        async with grpc.aio.insecure_channel(address, options) as channel:
            assert await Client(Channels(channel, channel), alice.token).project()
        for call in calls:
            call.cancel()
    await server.stop()


async def test_calls_under_way_are_limited(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.grpc_server.interceptor.MAXIMUM_CALLS", 1)
    alice = await world.user()
    async with under_way(world.url, "LOCK TABLE projects IN EXCLUSIVE MODE") as blocked:
        call = asyncio.ensure_future(alice.project())
        await blocked.wait()
        found = await refused(alice.project(), Reason.LIMIT_EXCEEDED)
        assert found.details["RetryInfo"].retry_delay.seconds == 1
    assert await call
    assert await alice.project()


async def test_reflection_speaks_version_1_too(world: World) -> None:
    call: Any = world.channels.agents.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ServerReflectionRequest.SerializeToString,
        ServerReflectionResponse.FromString,
    )
    asked = [ServerReflectionRequest(file_containing_symbol="tandem.agent.v1.AgentService")]
    (answer,) = [answer async for answer in call(iter(asked))]
    assert answer.file_descriptor_response.file_descriptor_proto
