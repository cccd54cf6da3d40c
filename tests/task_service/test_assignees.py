"""The call to the agent service before a task is assigned: what it asks, and what answers do."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from statistics import median
from uuid import uuid4

import grpc
import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import DeleteAgentRequest
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_UNSPECIFIED,
    ASSIGNEE_TYPE_USER,
    AssignTaskRequest,
    CreateTaskRequest,
    GetTaskRequest,
    Task,
    UnassignTaskRequest,
)
from task_service.__main__ import build
from tests.http2 import posted, read_until
from tests.refusals import outcome, refused
from tests.task_service.relay import Broken, Relay
from tests.task_service.steps import assign, unassign
from tests.waiting import SECONDS, until
from tests.world import User, World, running

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ASSIGN = "/tandem.task.v1.TaskService/AssignTask"


@pytest.fixture
async def relay(world: World) -> AsyncIterator[Relay]:
    """What stands between the task service and the agent service."""
    async with Relay.before(world.channels.agents) as relay:
        yield relay


@pytest.fixture
async def watched(world: World, relay: Relay) -> AsyncIterator[World]:
    """A world whose task service asks through the relay."""
    async with world.asking(relay.address) as watched:
        yield watched


async def test_nothing_is_asked_before_access_and_content_are_right(
    watched: World, relay: Relay
) -> None:
    alice, bob = await watched.user(), await watched.user()
    project = await alice.project()
    task = await alice.task(project)
    await refused(assign(bob, task, "x"), Reason.NOT_PROJECT_OWNER)
    await refused(assign(bob, task, bob.id, ASSIGNEE_TYPE_USER), Reason.NOT_PROJECT_OWNER)
    await refused(assign(alice, Task(id=str(uuid7())), "x"), Reason.TASK_NOT_FOUND)
    await refused(assign(alice, Task(id="x"), bob.id), Reason.INVALID_FIELD)
    nothing = assign(alice, task, bob.id, ASSIGNEE_TYPE_UNSPECIFIED)
    await refused(nothing, Reason.INVALID_FIELD)
    await refused(unassign(bob, task), Reason.NOT_PROJECT_OWNER)
    await refused(unassign(alice, Task(id="x")), Reason.INVALID_FIELD)
    bad = {"assigned_to": str(bob.id), "assigned_to_type": ASSIGNEE_TYPE_USER}
    await refused(bob.task(project, **bad), Reason.NOT_PROJECT_OWNER)
    await refused(alice.task(project, title="", **bad), Reason.INVALID_FIELD)
    await refused(alice.task(Project(id=str(uuid7())), **bad), Reason.PROJECT_NOT_FOUND)
    await refused(alice.task(Project(id="x"), **bad), Reason.INVALID_FIELD)
    assert relay.calls == []
    await refused(assign(alice, task, uuid7()), Reason.ASSIGNEE_NOT_FOUND)
    assert len(relay.calls) == 1


async def test_the_agent_service_is_asked_in_the_caller_s_name(
    watched: World, relay: Relay
) -> None:
    alice = await watched.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    metadata = (
        ("authorization", f"Bearer {alice.token}"),
        ("x-request-id", "request-7"),
        ("traceparent", TRACE),
        ("tracestate", "a=1"),
        ("cookie", "not passed on"),
    )
    request = AssignTaskRequest(
        task_id=task.id, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
    )
    for given, seconds in ((4, 4.0), (None, 5.0)):
        begun = time.monotonic()
        await alice.tasks.AssignTask(request, metadata=metadata, timeout=given)
        deadline = relay.deadlines[-1]
        assert deadline is not None
        # It crosses the wire rounded.
        assert begun + seconds - 0.1 < deadline < time.monotonic() + seconds + 0.1
    assert relay.calls[0] == dict(metadata[:-1])
    assert relay.calls[1]["authorization"] == f"Bearer {alice.token}"


@pytest.mark.parametrize("value", [b"\xc3\xa9", b"\xff", b"a\x01"])
async def test_a_trace_context_that_cannot_be_sent_on_is_left_out(
    world: World, relay: Relay, value: bytes
) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    request = AssignTaskRequest(
        task_id=task.id, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
    )
    headers = {"authorization": f"Bearer {alice.token}".encode(), "traceparent": value}
    settings = replace(world.settings, agent_address=relay.address)
    async with running(build(world.database, settings)) as (_, address):
        port = int(address.rpartition(":")[2])
        async with posted(port, ASSIGN, headers, request.SerializeToString()) as reader:
            assert agent.id.encode() in await read_until(reader, b"x-request-id")
    assert "traceparent" not in relay.calls[0]


async def test_without_the_agent_service_nothing_is_written(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    async with Relay.before(world.channels.agents) as relay:
        address = relay.address
    async with world.asking(address) as alone:  # nothing listens there any more
        alice = User(alice.id, alone.channels, str(alice.token))
        call = assign(alice, task, agent.id)
        found = await refused(call, Reason.AGENT_SERVICE_UNAVAILABLE)
        assert found.details["RetryInfo"].retry_delay.seconds == 1
        call = alice.task(project, assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT)
        await refused(call, Reason.AGENT_SERVICE_UNAVAILABLE)
        assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
        assert await world.value("SELECT count(*) FROM tasks") == 1


async def test_an_agent_service_that_is_back_is_noticed_soon(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    attempts: list[float] = []

    async def turn_away(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.append(time.monotonic())
        writer.close()

    async def is_assigned() -> bool:
        return await outcome(assign(alice, task, agent.id)) == "OK"

    listener = await asyncio.start_server(turn_away, "127.0.0.1", 0)
    address = "{}:{}".format(*listener.sockets[0].getsockname())
    async with world.asking(address) as alone:
        alice = User(alice.id, alone.channels, str(alice.token))
        while len(attempts) < 6:
            await refused(assign(alice, task, agent.id), Reason.AGENT_SERVICE_UNAVAILABLE)
            await asyncio.sleep(0.1)
        pauses = [later - sooner for sooner, later in pairwise(attempts)]
        assert median(pauses[-3:]) < 2.5  # gRPC's own pauses would have grown to 2.6, 4.1 and 6.6
        listener.close()
        await listener.wait_closed()
        server = grpc.aio.server(handlers=(Relay(world.channels.agents),))
        server.add_insecure_port(address)
        await server.start()
        await until(is_assigned)
        await server.stop(None)


async def test_a_slow_agent_service_is_not_waited_for(watched: World, relay: Relay) -> None:
    alice = await watched.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    relay.gate = asyncio.Event()
    started = time.monotonic()
    # Long before the deadline of this call, which would end it otherwise.
    await refused(assign(alice, task, agent.id), Reason.AGENT_SERVICE_UNAVAILABLE)
    assert time.monotonic() - started > 4.5
    relay.gate.set()
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task


@pytest.mark.parametrize("create", [False, True])
async def test_no_connection_is_held_while_the_agent_service_is_asked(
    watched: World, relay: Relay, create: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("task_service.assignees.TIMEOUT_SECONDS", SECONDS)
    alice = await watched.user()
    project = await alice.project()
    agent = await alice.agent(project)
    tasks = [await alice.task(project) for _ in range(12)]  # more than the pool has connections
    relay.gate = asyncio.Event()
    fields = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    calls = [
        asyncio.ensure_future(
            alice.task(project, **fields) if create else assign(alice, task, agent.id)
        )
        for task in tasks
    ]
    await until(lambda: len(relay.calls) == len(tasks))
    await alice.tasks.GetTask(GetTaskRequest(task_id=tasks[0].id))
    relay.gate.set()
    assert {task.assigned_to for task in await asyncio.gather(*calls)} == {agent.id}


@pytest.mark.parametrize(
    ("answer", "message", "reason"),
    [
        (grpc.StatusCode.INTERNAL, "secret", None),
        (grpc.StatusCode.UNIMPLEMENTED, "secret", None),
        (grpc.StatusCode.PERMISSION_DENIED, "of a proxy between, without details", None),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "secret", None),
        (grpc.StatusCode.INTERNAL, "of the agent service itself", Reason.INTERNAL),
        (grpc.StatusCode.UNAVAILABLE, "of its database", Reason.DATABASE_UNAVAILABLE),
        (grpc.StatusCode.INVALID_ARGUMENT, "of another version", Reason.INVALID_FIELD),
    ],
)
async def test_an_answer_that_is_none_is_unavailable(
    world: World, answer: grpc.StatusCode, message: str, reason: Reason | None
) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    server = grpc.aio.server(handlers=(Broken(answer, message, reason),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with world.asking(f"127.0.0.1:{port}") as broken:
        alice = User(alice.id, broken.channels, str(alice.token))
        found = await refused(assign(alice, task, agent.id), Reason.AGENT_SERVICE_UNAVAILABLE)
        assert message not in found.message
    await server.stop(None)
    assert await world.value("SELECT assigned_to FROM tasks WHERE id = $1", task.id) is None


@pytest.mark.parametrize("create", [False, True])
async def test_the_database_decides_where_the_assignee_goes_meanwhile(
    watched: World, relay: Relay, create: bool
) -> None:
    alice = await watched.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    delete = DeleteAgentRequest(agent_id=agent.id)
    relay.before_answer = lambda: alice.agents.DeleteAgent(delete)
    fields = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    call = alice.task(project, **fields) if create else assign(alice, task, agent.id)
    found = await refused(call, Reason.ASSIGNEE_NOT_FOUND)
    assert found.metadata == {"assignee_id": agent.id, "assignee_type": "ASSIGNEE_TYPE_AGENT"}
    assert found.resource == ("agent", agent.id)
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    assert await watched.value("SELECT count(*) FROM tasks") == 1


async def test_a_repeated_request_id_gets_the_first_answer_without_asking(
    watched: World, relay: Relay
) -> None:
    alice = await watched.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    request_id = str(uuid4())
    first = await assign(alice, task, agent.id, request_id=request_id)
    new = Task(
        project_id=project.id,
        title="T",
        assigned_to=agent.id,
        assigned_to_type=ASSIGNEE_TYPE_AGENT,
    )
    create = CreateTaskRequest(task=new, request_id=request_id)
    created = await alice.tasks.CreateTask(create)
    asked = len(relay.calls)
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))
    assert await assign(alice, task, agent.id, request_id=request_id) == first
    assert await alice.tasks.CreateTask(create) == created
    assert len(relay.calls) == asked
    other = assign(alice, task, alice.id, ASSIGNEE_TYPE_USER, request_id=request_id)
    await refused(other, Reason.REQUEST_ID_REUSED)
    take_off = UnassignTaskRequest(task_id=task.id, request_id=request_id)
    taken_off = await alice.tasks.UnassignTask(take_off)
    assert await alice.tasks.UnassignTask(take_off) == taken_off
