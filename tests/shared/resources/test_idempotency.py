"""Request ids: a mutation that is repeated happens once."""

import asyncio
import base64
from collections.abc import Awaitable
from os import urandom
from uuid import UUID, uuid4

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty

from shared.errors import Reason
from shared.resources import idempotency
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest, DeleteAgentRequest
from tandem.task.v1.task_service_pb2 import Task, UpdateTaskRequest
from tests.locks import WAITING, under_way
from tests.refusals import refused
from tests.waiting import until
from tests.world import User, World


async def counted(world: World, table: str, count: int) -> bool:
    found: int = await world.value(f"SELECT count(*) FROM {table}")  # noqa: S608
    return found == count


async def waiting(world: World, count: int) -> bool:
    found: int = await world.value(WAITING)
    return found == count


async def test_one_id_in_capitals_is_the_same_id(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    request = CreateAgentRequest(agent=Agent(project_id=project.id, name="Scout"))
    request.request_id = str(uuid4())
    first = await alice.agents.CreateAgent(request)
    request.request_id = request.request_id.upper()
    assert await alice.agents.CreateAgent(request) == first


async def test_one_id_without_hyphens_is_no_id(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    request = CreateAgentRequest(agent=Agent(project_id=project.id, name="Scout"))
    request.request_id = str(uuid4())
    await alice.agents.CreateAgent(request)
    request.request_id = request.request_id.replace("-", "")
    await refused(alice.agents.CreateAgent(request), Reason.INVALID_FIELD)


async def test_two_at_once_are_one_change(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for number in range(5):
        request = CreateAgentRequest(
            agent=Agent(project_id=project.id, name=f"{number}"), request_id=str(uuid4())
        )
        calls = [alice.agents.CreateAgent(request) for _ in range(6)]
        answers = await asyncio.gather(*calls)
        assert len({answer.id for answer in answers}) == 1
    assert await world.value("SELECT count(*) FROM agents") == 5


async def test_the_second_waits_for_what_becomes_of_the_first(world: World) -> None:
    """While the first is under way, the second waits; when it is undone, the second goes ahead."""
    alice = await world.user()
    project = await alice.project()
    request_id = uuid4()
    claim = (
        "INSERT INTO request_ids (caller_id, method, request_id, payload_hash)"
        " VALUES ($1, '/tandem.agent.v1.AgentService/CreateAgent', $2, '')"
    )
    request = CreateAgentRequest(
        agent=Agent(project_id=project.id, name="Scout"), request_id=str(request_id)
    )
    with pytest.raises(ZeroDivisionError):  # noqa: PT012
        async with under_way(world.url, claim, alice.id, request_id) as blocked:
            second = asyncio.ensure_future(alice.agents.CreateAgent(request))
            await blocked.wait()
            raise ZeroDivisionError
    assert (await second).name == "Scout"


async def test_a_failed_call_keeps_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await alice.agent(project, name="Scout")
    request = CreateAgentRequest(
        agent=Agent(project_id=project.id, name="Scout"), request_id=str(uuid4())
    )
    for _ in range(2):
        await refused(alice.agents.CreateAgent(request), Reason.AGENT_NAME_TAKEN)
    assert await world.value("SELECT count(*) FROM request_ids") == 0
    request.agent.name = "Other"
    assert (await alice.agents.CreateAgent(request)).name == "Other"


async def test_callers_and_methods_have_ids_of_their_own(world: World) -> None:
    alice, root = await world.user(), await world.user(superuser=True)
    project = await alice.project()
    agent = await alice.agent(project)
    request_id = str(uuid4())
    new = CreateAgentRequest(agent=Agent(project_id=project.id, name="1"), request_id=request_id)
    first = await alice.agents.CreateAgent(new)
    await refused(root.agents.CreateAgent(new), Reason.AGENT_NAME_TAKEN)
    other = CreateAgentRequest(agent=Agent(project_id=project.id, name="2"), request_id=request_id)
    second = await root.agents.CreateAgent(other)
    for _ in range(2):
        assert await alice.agents.CreateAgent(new) == first
        assert await root.agents.CreateAgent(other) == second
    request = DeleteAgentRequest(agent_id=agent.id, request_id=request_id)
    assert await alice.agents.DeleteAgent(request) == Empty()
    assert await world.value("SELECT count(*) FROM request_ids") == 3


async def test_a_day_later_it_is_new_again(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    request = CreateAgentRequest(
        agent=Agent(project_id=project.id, name="Scout"), request_id=str(uuid4())
    )
    first = await alice.agents.CreateAgent(request)
    age = "UPDATE request_ids SET created_at = now() - $1::text::interval"
    await world.execute(age, "23 hours 59 minutes")
    assert await alice.agents.CreateAgent(request) == first
    await world.execute(age, "24 hours 1 second")
    await refused(alice.agents.CreateAgent(request), Reason.AGENT_NAME_TAKEN)
    request.agent.name = "Other"
    second = await alice.agents.CreateAgent(request)
    assert second.id != first.id
    assert await alice.agents.CreateAgent(request) == second


async def test_the_large_responses_of_a_caller_are_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.user(), await world.user()
    size = 40_000
    monkeypatch.setattr(idempotency, "MAXIMUM_KEPT_BYTES", 3 * size)

    async def update(user: User, *, kept: bool) -> Awaitable[Task]:
        project = await user.project()
        noise = base64.b64encode(urandom(size)).decode()
        task = await user.task(project, result={"text": noise})
        request_id = str(uuid4()) if kept else ""
        changed = Task(id=task.id, title="Other")
        call: Awaitable[Task] = user.tasks.UpdateTask(
            UpdateTaskRequest(task=changed, request_id=request_id)
        )
        return call

    for _ in range(2):
        await (await update(alice, kept=True))
    found = await refused(await update(alice, kept=True), Reason.LIMIT_EXCEEDED)
    assert found.details["RetryInfo"].retry_delay.seconds > 0
    assert await world.value("SELECT count(*) FROM tasks WHERE title = 'Other'") == 2
    await (await update(alice, kept=False))
    await (await update(bob, kept=True))
    await world.execute("UPDATE request_ids SET created_at = now() - interval '25 hours'")
    await (await update(alice, kept=True))


async def test_a_change_whose_caller_has_gone_is_whole(world: World) -> None:
    """A client that gave up repeats its call, and gets the answer that it missed."""
    alice = await world.user()
    project = await alice.project()
    request = CreateAgentRequest(
        agent=Agent(project_id=project.id, name="Scout"), request_id=str(uuid4())
    )
    async with under_way(world.url, "LOCK TABLE agents IN EXCLUSIVE MODE"):
        gone = alice.agents.CreateAgent(request)
        late = alice.agents.CreateAgent(
            CreateAgentRequest(agent=Agent(project_id=project.id, name="Late")), timeout=2
        )
        await until(lambda: waiting(world, 2))
        gone.cancel()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await late
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    answer = await alice.agents.CreateAgent(request)
    kept = "SELECT count(*) FROM agents WHERE id = $1 AND name = 'Scout'"
    assert await world.value(kept, UUID(answer.id)) == 1
    await until(lambda: counted(world, "agents", 2))
