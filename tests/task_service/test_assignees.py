"""Assigning tasks: what the agent service is asked, and what its answers do."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any
from uuid import uuid4

import grpc
import pytest
from uuid_utils.compat import uuid7

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import DeleteAgentRequest
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest, Project
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_UNSPECIFIED,
    ASSIGNEE_TYPE_USER,
    AssigneeType,
    AssignTaskRequest,
    CreateTaskRequest,
    GetTaskRequest,
    Task,
    UnassignTaskRequest,
)
from task_service.__main__ import build
from tests.http2 import posted, read_until
from tests.refusals import Refused, outcome, refused
from tests.task_service.relay import Broken, Relay
from tests.waiting import SECONDS, until
from tests.world import Client, User, World, running

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


async def assign(
    client: Client,
    task: Task,
    assignee: object,
    kind: "AssigneeType.ValueType" = ASSIGNEE_TYPE_AGENT,
    **fields: Any,
) -> Task:
    request = AssignTaskRequest(
        task_id=task.id, assigned_to=str(assignee), assigned_to_type=kind, **fields
    )
    assigned: Task = await client.tasks.AssignTask(request)
    return assigned


async def unassign(client: Client, task: Task, **fields: Any) -> Task:
    request = UnassignTaskRequest(task_id=task.id, **fields)
    unassigned: Task = await client.tasks.UnassignTask(request)
    return unassigned


async def test_a_task_is_assigned_to_an_agent_then_a_user_then_nobody(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    by_agent = await assign(alice, task, agent.id)
    assert (by_agent.assigned_to, by_agent.assigned_to_type) == (agent.id, ASSIGNEE_TYPE_AGENT)
    by_user = await assign(alice, task, alice.id, ASSIGNEE_TYPE_USER)
    assert (by_user.assigned_to, by_user.assigned_to_type) == (str(alice.id), ASSIGNEE_TYPE_USER)
    assert by_user.revision == 3
    by_nobody = await unassign(alice, task)
    assert not by_nobody.HasField("assigned_to")
    assert (by_nobody.assigned_to_type, by_nobody.revision) == (0, 4)
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == by_nobody


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    found = await refused(assign(alice, task, agent.id, revision=2), Reason.REVISION_MISMATCH)
    assert found.metadata == {"revision": "1"}
    assert (await assign(alice, task, agent.id, revision=1)).revision == 2
    await refused(unassign(alice, task, revision=1), Reason.REVISION_MISMATCH)
    assert (await unassign(alice, task, revision=2)).revision == 3
    wrong = await refused(assign(alice, task, agent.id, revision=-1), Reason.INVALID_FIELD)
    assert list(wrong.fields) == ["revision"]


async def test_what_is_so_already_changes_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    assert await unassign(alice, task) == task
    assigned = await assign(alice, task, agent.id)
    assert await assign(alice, task, agent.id) == assigned


async def test_a_task_is_assigned_at_creation(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    for kind, assignee in ((ASSIGNEE_TYPE_AGENT, agent.id), (ASSIGNEE_TYPE_USER, str(alice.id))):
        task = await alice.task(project, assigned_to=assignee, assigned_to_type=kind)
        assert (task.assigned_to, task.assigned_to_type, task.revision) == (assignee, kind, 1)


async def in_both_ways(
    alice: User,
    project: Project,
    assignee: object,
    kind: "AssigneeType.ValueType",
    reason: Reason,
) -> Refused:
    """Create a task for the assignee, and assign one: both are refused, nothing is written."""
    task = await alice.task(project)
    created = alice.task(project, assigned_to=str(assignee), assigned_to_type=kind)
    found = await refused(created, reason)
    again = await refused(assign(alice, task, assignee, kind), reason)
    assert (again.message, again.metadata) == (found.message, found.metadata)
    assert await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)) == task
    return found


@pytest.mark.parametrize("kind", [ASSIGNEE_TYPE_AGENT, ASSIGNEE_TYPE_USER])
async def test_an_assignee_has_to_exist(world: World, kind: "AssigneeType.ValueType") -> None:
    alice = await world.user()
    nobody = uuid7()
    project = await alice.project()
    found = await in_both_ways(alice, project, nobody, kind, Reason.ASSIGNEE_NOT_FOUND)
    assert found.metadata["assignee_id"] == str(nobody)
    assert found.resource is not None
    assert found.resource[1] == str(nobody)
    assert await world.value("SELECT count(*) FROM tasks") == 1


async def test_an_assignee_has_to_be_active(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    project = await alice.project()
    agent = await alice.agent(project, is_active=False)
    await in_both_ways(alice, project, agent.id, ASSIGNEE_TYPE_AGENT, Reason.ASSIGNEE_INACTIVE)
    await world.execute("UPDATE users SET is_active = false WHERE id = $1", alice.id)
    await in_both_ways(root, project, alice.id, ASSIGNEE_TYPE_USER, Reason.ASSIGNEE_INACTIVE)


async def test_an_agent_has_to_be_of_the_project(world: World) -> None:
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    agent = await alice.agent(other)
    reason = Reason.ASSIGNEE_OUTSIDE_PROJECT
    await in_both_ways(alice, project, agent.id, ASSIGNEE_TYPE_AGENT, reason)


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


async def test_a_project_that_is_not_active_keeps_its_assignments(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, task = await alice.agent(project), await alice.task(project)
    await world.execute("UPDATE projects SET status = 'suspended'")
    await refused(assign(alice, task, agent.id), Reason.PROJECT_NOT_ACTIVE)
    await refused(unassign(alice, task), Reason.PROJECT_NOT_ACTIVE)
    fields = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    await refused(alice.task(project, **fields), Reason.PROJECT_NOT_ACTIVE)


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


async def test_tasks_of_an_agent_or_user_that_is_deleted_are_unassigned(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await bob.project()
    agent = await bob.agent(project)
    of_agent = await assign(bob, await bob.task(project), agent.id)
    of_user = await assign(bob, await bob.task(project), bob.id, ASSIGNEE_TYPE_USER)
    await world.execute("UPDATE projects SET owner_id = $1", alice.id)
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id))
    await world.execute("DELETE FROM users WHERE id = $1", bob.id)
    for task in (of_agent, of_user):
        now = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
        assert not now.HasField("assigned_to")
        assert not now.assigned_to_type
    assert (await alice.tasks.GetTask(GetTaskRequest(task_id=of_agent.id))).revision == 3


async def test_a_project_takes_its_tasks_with_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(project)
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
    await refused(alice.tasks.GetTask(GetTaskRequest(task_id=task.id)), Reason.TASK_NOT_FOUND)
