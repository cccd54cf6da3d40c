"""An agent goes with its API keys, its places in rooms and its assignments, or not at all."""

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest, GetAgentRequest
from tandem.agent.v1.auth_service_pb2 import (
    ApiKey,
    CreateApiKeyRequest,
    ExchangeApiKeyRequest,
)
from tandem.agent.v1.room_service_pb2 import ListParticipantsRequest, Room
from tandem.task.v1.task_service_pb2 import ASSIGNEE_TYPE_AGENT, GetTaskRequest, Task
from tests.locks import CUT_OFF, under_way
from tests.refusals import refused
from tests.world import User, World

TABLES = ("agents", "agent_api_keys", "chat_participants", "tasks", "request_ids")


@dataclass
class Busy:
    """An agent with two API keys, in two rooms, each with a task of its own."""

    agent: Agent
    secrets: list[str]
    rooms: list[Room]
    tasks: list[Task]


async def busy(alice: User) -> Busy:
    project = await alice.project()
    agent = await alice.agent(project)
    new = CreateApiKeyRequest(api_key=ApiKey(agent_id=agent.id))
    secrets = [(await alice.auth.CreateApiKey(new)).secret for _ in range(2)]
    rooms = [await alice.room(project, agent) for _ in range(2)]
    assigned: dict[str, Any] = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    tasks = [await alice.task(project, room_id=room.id, **assigned) for room in rooms]
    return Busy(agent, secrets, rooms, tasks)


async def state(world: World) -> list[Any]:
    rows = "SELECT jsonb_agg(t ORDER BY t::text) FROM {} t"
    return [await world.value(rows.format(table)) for table in TABLES]


async def require_gone(world: World, alice: User, its: Busy) -> None:
    """Nothing is left of the agent, and its rooms and tasks are there without it."""
    gone = alice.agents.GetAgent(GetAgentRequest(agent_id=its.agent.id))
    await refused(gone, Reason.AGENT_NOT_FOUND)
    for secret in its.secrets:
        exchange = world.nobody().auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=secret))
        await refused(exchange, Reason.API_KEY_INVALID)
    assert await world.value("SELECT count(*) FROM agent_api_keys") == 0
    for room, task in zip(its.rooms, its.tasks, strict=True):
        request = ListParticipantsRequest(room_id=room.id)
        assert not (await alice.rooms.ListParticipants(request)).participants
        kept = await alice.tasks.GetTask(GetTaskRequest(task_id=task.id))
        assert (kept.room_id, kept.HasField("assigned_to"), kept.revision) == (room.id, False, 2)


async def test_an_agent_goes_with_all_that_is_its_own(world: World) -> None:
    alice = await world.user()
    its = await busy(alice)
    for secret in its.secrets:
        await world.nobody().auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=secret))
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=its.agent.id))
    await require_gone(world, alice, its)


@pytest.mark.parametrize("request_id", ["", str(uuid4())], ids=["once", "repeatable"])
@pytest.mark.parametrize("table", ["agents", "tasks", "agent_api_keys", "chat_participants"])
async def test_a_deletion_that_is_cut_off_has_changed_nothing(
    world: World, table: str, request_id: str
) -> None:
    """Its connection is killed when it reaches a row of each table, and it is called again."""
    alice = await world.user()
    its = await busy(alice)
    before = await state(world)
    request = DeleteAgentRequest(agent_id=its.agent.id, request_id=request_id)
    lock = f"SELECT FROM {table} FOR UPDATE"
    async with under_way(world.url, lock) as blocked:
        call = asyncio.ensure_future(alice.agents.DeleteAgent(request))
        await blocked.wait()
        assert await world.value(CUT_OFF) == 1
        await refused(call, Reason.DATABASE_UNAVAILABLE)
    assert await state(world) == before
    for _ in range(2 if request_id else 1):
        await alice.agents.DeleteAgent(request)
    await require_gone(world, alice, its)
