"""How long request ids are kept."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import Reason
from shared.resources import retention
from shared.resources.retention import SWEEP, SWEEP_ROWS, sweep_forever, trim
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest
from tests.refusals import refused
from tests.waiting import until
from tests.world import User, World


async def counted(world: World, table: str, count: int) -> bool:
    found: int = await world.value(f"SELECT count(*) FROM {table}")  # noqa: S608
    return found == count


async def test_the_sweep_takes_only_what_is_old(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice = await world.user()
    project = await alice.project()
    for name in ("old", "new"):
        agent = Agent(project_id=project.id, name=name)
        await alice.agents.CreateAgent(CreateAgentRequest(agent=agent, request_id=str(uuid4())))
        if name == "old":
            await world.execute("UPDATE request_ids SET created_at = now() - interval '25 hours'")
    await world.database.single(SWEEP.run)
    assert await world.value("SELECT count(*) FROM request_ids") == 1
    await world.execute("UPDATE request_ids SET created_at = now() - interval '25 hours'")
    monkeypatch.setattr(retention, "SWEEP_EVERY_SECONDS", 0.01)
    sweeper = asyncio.create_task(sweep_forever(world.database))
    await until(lambda: counted(world, "request_ids", 0))
    sweeper.cancel()


async def test_a_sweep_goes_on_while_there_is_more_than_a_batch(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SWEEP_PAUSE_SECONDS", 0)
    await world.execute(
        "INSERT INTO request_ids (caller_id, method, request_id, payload_hash, created_at)"
        " SELECT gen_random_uuid(), 'm', gen_random_uuid(), '', now() - interval '25 hours'"
        " FROM generate_series(1, $1)",
        2 * SWEEP_ROWS + 1,
    )
    sweeper = asyncio.create_task(sweep_forever(world.database))
    await until(lambda: counted(world, "request_ids", 0))  # the next sweep is minutes later
    sweeper.cancel()


async def test_of_a_callers_older_ids_the_latest_are_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "MAXIMUM_OLDER", 2)
    busy, other = uuid4(), uuid4()
    for caller in (busy, other):
        for minutes in (10, 20, 30, 70, 80, 90, 100, 110):
            await store(world, caller, minutes)
    await trim(world.database, busy)
    assert await ages(world, busy) == [10, 20, 30, 70, 80]
    assert len(await ages(world, other)) == 8


async def test_a_caller_with_very_many_is_looked_at(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SWEEP_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(retention, "MAXIMUM_OLDER", 1)
    monkeypatch.setattr(retention, "STORED_BEFORE_A_LOOK", 3)
    alice, bob = await world.user(), await world.user()
    for user, calls in ((alice, 3), (bob, 2)):
        for request in await creations(user, calls):
            await user.agents.CreateAgent(request)
    await world.execute("UPDATE request_ids SET created_at = created_at - interval '2 hours'")
    sweeper = asyncio.create_task(sweep_forever(world.database))
    await until(lambda: counted(world, "request_ids", 1 + 2))
    sweeper.cancel()


async def test_what_a_process_stores_for_a_caller_is_bounded(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, bob = await world.user(), await world.user()
    first, second, third = await creations(alice, 3)
    created = await alice.agents.CreateAgent(first)
    monkeypatch.setattr(retention, "MAXIMUM_BYTES_PER_HOUR", created.ByteSize() * 5 // 2)
    await alice.agents.CreateAgent(second)
    found = await refused(alice.agents.CreateAgent(third), Reason.LIMIT_EXCEEDED)
    assert found.details["RetryInfo"].retry_delay.seconds > 0
    assert await world.value("SELECT count(*) FROM agents") == 2
    assert await alice.agents.CreateAgent(first) == created, "a repeated call stores nothing"
    for request in await creations(bob, 2):
        await bob.agents.CreateAgent(request)
    monkeypatch.setattr(retention, "HOUR_SECONDS", 0.0)
    await alice.agents.CreateAgent(third)


async def creations(user: User, count: int) -> list[CreateAgentRequest]:
    project = await user.project()
    agents = [Agent(project_id=project.id, name=f"{number}") for number in range(count)]
    return [CreateAgentRequest(agent=agent, request_id=str(uuid4())) for agent in agents]


async def store(world: World, caller: UUID, minutes: int) -> None:
    await world.execute(
        "INSERT INTO request_ids (caller_id, method, request_id, payload_hash, created_at)"
        " VALUES ($1, 'm', gen_random_uuid(), '', now() - $2 * interval '1 minute')",
        caller,
        minutes,
    )


async def ages(world: World, caller: UUID) -> list[int]:
    """How old the request ids of a caller are, in minutes."""
    age = "round(extract(epoch FROM now() - created_at) / 60)::int"
    found: list[int] = await world.value(
        f"SELECT array_agg({age} ORDER BY created_at DESC) FROM request_ids WHERE caller_id = $1",  # noqa: S608
        caller,
    )
    return found


async def test_a_batch_is_bounded_by_whatever_plan(world: World) -> None:
    """A subquery with a limit could be run again for each row, and so find all of them."""
    await world.execute(
        "INSERT INTO request_ids (caller_id, method, request_id, payload_hash, created_at)"
        " SELECT gen_random_uuid(), 'm', gen_random_uuid(), '', now() - interval '25 hours'"
        " FROM generate_series(1, $1)",
        SWEEP_ROWS + 1,
    )
    others = ("hashjoin", "mergejoin", "hashagg", "sort", "material")
    indexes = ("indexscan", "indexonlyscan", "bitmapscan")
    off = "; ".join(f"SET LOCAL enable_{kind} = off" for kind in (*others, *indexes))

    async def by_nested_loops(connection: Any) -> int:
        await connection.execute(off)
        return len(await SWEEP.rows(connection))

    assert await world.owner.transaction(by_nested_loops) == SWEEP_ROWS
