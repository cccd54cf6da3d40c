"""Health, reflection, addresses, and the end of a server."""

import asyncio
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

import shared.grpc_server.server
from agent_service.__main__ import build
from shared.errors import Reason
from shared.grpc_server.server import StartError
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tests.access.stage import DECLARED
from tests.http2 import (
    ACK,
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PING,
    REFUSED_STREAM,
    RST_STREAM,
    call,
    cancel,
    connected,
    frame,
    ping,
    settled,
)
from tests.locks import under_way
from tests.log_lines import logged
from tests.refusals import outcome, refused
from tests.waiting import SECONDS, until
from tests.world import Channels, Client, World, running

# Every service in the protos, by the process that serves it.
SERVICES = {
    process: {m.partition("/")[0] for m in DECLARED if m.startswith(f"tandem.{package}.")}
    for process, package in (("agents", "agent"), ("tasks", "task"))
}
SERVING = HealthCheckResponse.SERVING
MIB = 1024 * 1024
PING_INTERVAL = "grpc.http2.min_ping_interval_without_data_ms"
WHO_AM_I = "/tandem.agent.v1.AuthService/WhoAmI"


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


@pytest.mark.parametrize("method", ["/tandem.agent.v1.AgentService/Nonsense", "/no.Service/None"])
async def test_an_unknown_method_is_refused_in_our_words(world: World, method: str) -> None:
    call: Any = world.channels.agents.unary_unary(method)
    async with logged(1) as lines:
        found = await refused(call(b""), Reason.METHOD_NOT_AVAILABLE)
    await refused(call(b"x" * 100_000), Reason.METHOD_NOT_AVAILABLE)
    assert found.trailers["x-request-id"]
    assert [(line["method"], line["code"]) for line in lines] == [("unknown", "UNIMPLEMENTED")]


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
        await alice.project(description="x" * 5 * MIB)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await refused(alice.project(description="x" * 4 * MIB), Reason.LIMIT_EXCEEDED)
    await refused(alice.project(description="x" * 3 * MIB), Reason.INVALID_FIELD)


async def test_metadata_too_large_is_refused(world: World) -> None:
    alice = await world.user()
    for size, reason in (("x" * 15 * 1024, "OK"), ("x" * 20 * 1024, "LIMIT_EXCEEDED")):
        metadata = (("authorization", f"Bearer {alice.token}"), ("x-more", size))
        assert await outcome(alice.auth.WhoAmI(WhoAmIRequest(), metadata=metadata)) == reason


async def test_a_client_may_ping_without_a_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = dict(shared.grpc_server.server.OPTIONS)
    assert options[PING_INTERVAL] < 10_000
    quick = {**options, PING_INTERVAL: 1}
    monkeypatch.setattr("shared.grpc_server.server.OPTIONS", tuple(quick.items()))
    server = build(world.database, world.settings)
    async with running(server) as (_, address), connected(port_of(address)) as (reader, writer):
        for _ in range(5):  # gRPC ends a connection at the third ping that it does not allow
            await asyncio.sleep(0.01)
            writer.write(ping())
            while (came := await frame(reader))[:2] != (PING, ACK):
                assert came[0] != GOAWAY


async def test_a_storm_of_cancelled_calls_refuses_no_other_of_the_connection(world: World) -> None:
    alice, bob = [
        {"authorization": f"Bearer {(await world.user()).token}".encode()} for _ in range(2)
    ]
    storm = [call(WHO_AM_I, alice, stream=n) + cancel(n) for n in range(1, 699, 2)]
    server = build(world.database, world.settings)
    async with running(server) as (_, address), connected(port_of(address)) as (reader, writer):
        await settled(reader, writer)
        writer.write(b"".join(storm) + call(WHO_AM_I, bob, stream=699))
        while (came := await frame(reader))[2] != 699 or came[0] == HEADERS:
            assert came[2] != 699 or not came[1] & END_STREAM, "refused, with a status"
        assert came[0] == DATA, came


async def test_who_resets_streams_as_fast_as_it_can_is_refused_more_of_them(world: World) -> None:
    """Or all of them wait inside of gRPC, before the calls of others and without a bound."""
    stranger: dict[str, bytes] = {}
    storm = [call(WHO_AM_I, stranger, stream=n) + cancel(n) for n in range(1, 7999, 2)]
    server = build(world.database, world.settings)
    async with running(server) as (_, address), connected(port_of(address)) as (reader, writer):
        await settled(reader, writer)
        writer.write(b"".join(storm) + call(WHO_AM_I, stranger, stream=7999))
        while (came := await frame(reader))[0] != RST_STREAM and came[2] != 7999:
            pass
        assert (came[0], int.from_bytes(came[3])) == (RST_STREAM, REFUSED_STREAM)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


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


async def test_reflection_speaks_version_1_too(world: World) -> None:
    call: Any = world.channels.agents.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ServerReflectionRequest.SerializeToString,
        ServerReflectionResponse.FromString,
    )
    asked = [ServerReflectionRequest(file_containing_symbol="tandem.agent.v1.AgentService")]
    (answer,) = [answer async for answer in call(iter(asked))]
    assert answer.file_descriptor_response.file_descriptor_proto
