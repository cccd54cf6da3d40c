"""What surrounds every call: request ids, log lines, faults, streams."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import (
    HealthServicer,
    HealthStub,
    add_HealthServicer_to_server,
)

from agent_service.agents.rules import AgentRules
from shared.auth.permissions import Access
from shared.errors import Reason, Refusal
from shared.grpc_server.interceptor import Interceptor, Registrar
from shared.grpc_server.server import Server, Service, StartError
from tandem.agent.v1.agent_service_pb2 import GetAgentRequest
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.agent.v1.room_service_pb2 import GetRoomRequest
from tests.log_lines import logged
from tests.refusals import refused
from tests.world import TIMEOUT_SECONDS, Client, World

GET_AGENT = "/tandem.agent.v1.AgentService/GetAgent"
WHO_AM_I = "/tandem.agent.v1.AuthService/WhoAmI"
INTERNALS = ("hunter2", "SecretError", "RuntimeError", "SELECT", "Traceback", ".py")


def bearer(client: Client) -> tuple[str, str]:
    return ("authorization", f"Bearer {client.token}")


async def raw(world: World, client: Client, method: str, body: bytes) -> bytes:
    """A call whose request is just bytes."""
    call: Any = world.channels.agents.unary_unary(method)
    answer: bytes = await call(body, metadata=(bearer(client),), timeout=TIMEOUT_SECONDS)
    return answer


async def returned_id(call: Any) -> str:
    """The request id in the trailing metadata, whatever the answer."""
    return str(dict(await call.trailing_metadata())["x-request-id"])


async def test_a_request_id_is_returned_or_made(world: World) -> None:
    alice = await world.user()
    calls: tuple[Callable[..., Any], ...] = (
        lambda **more: alice.auth.WhoAmI(WhoAmIRequest(), **more),
        lambda **more: alice.agents.GetAgent(GetAgentRequest(agent_id="x"), **more),
        lambda **more: alice.rooms.GetRoom(GetRoomRequest(), **more),
    )
    for call in calls:
        given = (bearer(alice), ("x-request-id", "mine / 1"))
        assert await returned_id(call(metadata=given)) == "mine / 1"
        first, second = [await returned_id(call()) for _ in range(2)]
        assert len(first) == len(second) == 32
        assert first != second


@pytest.mark.parametrize("given", ["", "x" * 129])
async def test_an_unsound_request_id_is_replaced(world: World, given: str) -> None:
    alice = await world.user()
    call = alice.auth.WhoAmI(WhoAmIRequest(), metadata=(bearer(alice), ("x-request-id", given)))
    assert len(await returned_id(call)) == 32


async def test_the_longest_sound_request_id_is_kept(world: World) -> None:
    alice = await world.user()
    given = "x" * 128
    call = alice.auth.WhoAmI(WhoAmIRequest(), metadata=(bearer(alice), ("x-request-id", given)))
    assert await returned_id(call) == given


@pytest.mark.parametrize(
    "body", [b"\xff", b"\x0a\xff", b"\x0a\x02\xc3\x28", b"\x0a" + b"\x24" + b"x"], ids=repr
)
async def test_what_is_no_message_is_refused_as_such(world: World, body: bytes) -> None:
    alice = await world.user()
    found = await refused(raw(world, alice, GET_AGENT, body), Reason.INVALID_FIELD)
    assert found.message == "The request is not a valid message of its type."
    assert found.fields == {}


async def test_a_stranger_is_not_even_told_that_it_is_no_message(world: World) -> None:
    await refused(raw(world, world.nobody(), GET_AGENT, b"\xff"), Reason.TOKEN_INVALID)


async def test_unknown_fields_are_ignored(world: World) -> None:
    alice = await world.user()
    assert await raw(world, alice, WHO_AM_I, b"\xf8\x07\x01")


async def test_one_line_per_call_says_who_did_what(world: World) -> None:
    alice = await world.user("alice")
    metadata = (bearer(alice), ("x-request-id", "mine"))
    async with logged(3) as lines:
        await alice.auth.WhoAmI(WhoAmIRequest(), metadata=metadata)
        call = alice.agents.GetAgent(GetAgentRequest(agent_id="x"), metadata=metadata)
        await refused(call, Reason.INVALID_FIELD)
        await refused(world.nobody().auth.WhoAmI(WhoAmIRequest()), Reason.TOKEN_MISSING)
    answered, wrong, stranger = lines
    assert answered["ms"] > 0
    assert {k: v for k, v in answered.items() if k != "ms"} == {
        "event": "call",
        "log_level": "info",
        "method": WHO_AM_I,
        "caller": "alice",
        "code": "OK",
        "request_id": "mine",
    }
    assert (wrong["code"], wrong["reason"]) == ("INVALID_ARGUMENT", "INVALID_FIELD")
    assert (stranger["caller"], stranger["code"]) == ("-", "UNAUTHENTICATED")


async def test_a_lost_race_is_one_line_too(world: World) -> None:
    alice = await world.user()
    await alice.project(slug="taken")
    async with logged(1) as lines:
        await refused(alice.project(slug="taken"), Reason.PROJECT_SLUG_TAKEN)
    assert [line["event"] for line in lines] == ["call"]


async def broken(*_: object) -> None:
    """A fault with everything in its text that must not get out."""
    raise RuntimeError("SecretError: SELECT password FROM x WHERE p = 'hunter2' -- x.py")


def broken_at_once(*_: object) -> None:
    broken(*_).send(None)


async def test_a_fault_says_nothing_but_where_to_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.user()
    monkeypatch.setattr(AgentRules, "get", broken)
    async with logged(2) as lines:
        call = alice.agents.GetAgent(GetAgentRequest(agent_id=str(alice.id)))
        found = await refused(call, Reason.INTERNAL)
    request_id = found.trailers["x-request-id"]
    assert found.metadata == {"request_id": request_id}
    assert found.message == f"An internal error occurred; the log has details under {request_id}."
    assert not any(word in str(found.details) for word in INTERNALS)
    fault, line = lines
    assert (fault["event"], fault["request_id"]) == ("fault", request_id)
    assert "hunter2" in str(fault["exc_info"])
    assert (line["code"], line["reason"]) == ("INTERNAL", "INTERNAL")


async def test_a_fault_in_a_refusal_says_nothing_either(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.interceptor.packed", broken_at_once)
    async with logged(2) as lines:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await world.nobody().auth.WhoAmI(WhoAmIRequest())
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert not any(word in str(raised.value) for word in INTERNALS)
    assert dict(raised.value.trailing_metadata())["x-request-id"] == lines[0]["request_id"]
    assert [line["event"] for line in lines] == ["fault", "call"]


async def test_a_fault_of_the_database_says_nothing_either(fresh_world: World) -> None:
    alice = await fresh_world.user()
    await alice.auth.WhoAmI(WhoAmIRequest())
    await fresh_world.execute("ALTER TABLE agents RENAME TO hunter2")
    call = alice.agents.GetAgent(GetAgentRequest(agent_id=str(alice.id)))
    found = await refused(call, Reason.INTERNAL)
    assert not any(word in f"{found.message}{found.details}" for word in ("agents", "relation"))
    await fresh_world.execute("ALTER TABLE projects ADD CHECK (slug <> 'hunter2')")
    new = CreateProjectRequest(project=Project(slug="hunter2", name="New"))
    found = await refused(alice.projects.CreateProject(new), Reason.INTERNAL)
    assert not any(word in f"{found.message}{found.details}" for word in ("check", "hunter2"))


class Streams(HealthServicer):
    """A service of our own with the stream that Health declares."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    async def Watch(
        self, _request: HealthCheckRequest, _context: Any
    ) -> AsyncIterator[HealthCheckResponse]:
        yield HealthCheckResponse(status=HealthCheckResponse.SERVING)
        raise self._fault


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (RuntimeError("SELECT hunter2"), Reason.INTERNAL),
        (Refusal(Reason.LIMIT_EXCEEDED, "Too much."), Reason.LIMIT_EXCEEDED),
    ],
)
async def test_a_stream_leaks_nothing(fault: Exception, reason: Reason) -> None:
    stub, stop = await streaming(Streams(fault))
    call = stub.Watch(HealthCheckRequest())
    assert (await call.read()).status == HealthCheckResponse.SERVING
    found = await refused(call.read(), reason)
    assert not any(word in f"{found.message}{found.details}" for word in INTERNALS)
    assert found.trailers["x-request-id"]
    await stop()


async def test_a_stream_refuses_what_is_no_message() -> None:
    stub, stop = await streaming(Streams(RuntimeError()))
    stub.Watch._request_serializer = lambda _: b"\xff"
    await refused(stub.Watch(HealthCheckRequest()).read(), Reason.INVALID_FIELD)
    await stop()


async def streaming(servicer: Streams) -> tuple[Any, Callable[[], Awaitable[object]]]:
    """A server with one stream behind the interceptor, and a stub for it."""
    server = grpc.aio.server()
    access = {"/grpc.health.v1.Health/Watch": Access.OPEN}
    registrar: Any = Registrar(server, Interceptor(None, access, 1))  # type: ignore[arg-type]
    add_HealthServicer_to_server(servicer, registrar)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    async def stop() -> None:
        await channel.close()
        await server.stop(0)

    return HealthStub(channel), stop


def test_a_method_without_a_rule_keeps_a_server_from_starting() -> None:
    service = Service("tandem.agent.v1.AuthService", None, lambda *_: None)
    with pytest.raises(StartError, match="AuthService/WhoAmI has no access rule"):
        Server([service], None, {}, 1)  # type: ignore[arg-type]
