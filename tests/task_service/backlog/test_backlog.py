"""What metrics say of the tasks and leases of all projects, and how long they look for it."""

import asyncio
from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from shared.database.pool import Connection
from shared.metrics.catalog import TASKS
from shared.metrics.instruments import Sample
from tandem.task.v1.task_service_pb2 import AssigneeType, AssignTaskRequest
from task_service.backlog import rules
from task_service.backlog.queries import COUNTED
from task_service.backlog.rules import Backlog
from tests.task_service.sweep.swept import expire, swept
from tests.task_service.team import Team
from tests.waiting import until
from tests.world import World


async def figures(world: World) -> dict[str, float]:
    """What is found now, tasks by their statuses."""
    backlog = Backlog(world.database)
    found = await backlog.samples()
    await backlog.close()
    return by_name(found)


def by_name(found: list[Sample]) -> dict[str, float]:
    values: dict[str, float] = {}
    for metric, value, labels in found:
        assert isinstance(value, int | float)
        values[labels[0] if labels else metric.name.removeprefix("tandem_")] = value
    return values


async def test_tasks_of_all_projects_are_counted_by_their_statuses(world: World) -> None:
    for _ in range(2):
        team = await Team.formed(world)
        for _ in range(3):
            await team.owner.task(team.project)
        await (await team.worker()).claim()
    found = await figures(world)
    assert (found["pending"], found["in_progress"], found["completed"]) == (4, 2, 0)
    assert (found["leases"], found["leases_expired"], found["tasks_ready"]) == (2, 0, 4)


async def test_only_what_an_agent_could_claim_is_ready_and_the_first_of_it_has_an_age(
    world: World,
) -> None:
    team = await Team.formed(world)
    assert (await figures(world))["task_queue_age_seconds"] == 0
    old, assigned, later, _new = [await team.owner.task(team.project) for _ in range(4)]
    await team.owner.tasks.AssignTask(
        AssignTaskRequest(
            task_id=assigned.id,
            assigned_to=str(team.owner.id),
            assigned_to_type=AssigneeType.ASSIGNEE_TYPE_USER,
        )
    )
    change = "UPDATE tasks SET ready_at = now() + $2::interval WHERE id = $1"
    for task, hours in ((old, -1), (assigned, -5), (later, 1)):
        await world.execute(change, UUID(task.id), timedelta(hours=hours))
    found = await figures(world)
    assert (found["pending"], found["tasks_ready"]) == (4, 2)
    assert 3600 <= found["task_queue_age_seconds"] < 2 * 3600


async def test_leases_that_no_sweep_has_taken_back_are_counted(world: World) -> None:
    team = await Team.formed(world)
    tasks = [await team.owner.task(team.project) for _ in range(2)]
    for _ in tasks:
        await (await team.worker()).claim()
    await expire(world, tasks[0].id)
    found = await figures(world)
    assert (found["leases"], found["leases_expired"]) == (2, 1)
    await swept(world, team)
    found = await figures(world)
    assert (found["leases"], found["leases_expired"]) == (1, 0)


async def test_it_is_not_looked_at_for_each_scrape(world: World) -> None:
    often, rarely = Backlog(world.database, every=0), Backlog(world.database)
    team = await Team.formed(world)
    looks: Counter[str] = Counter()
    for _ in range(3):
        for name, backlog in ("often", often), ("rarely", rarely):
            looks[name] += int(by_name(await backlog.samples())["pending"])
        await team.owner.task(team.project)
    assert looks == {"often": 0 + 1 + 2, "rarely": 0}
    for backlog in often, rarely:
        await backlog.close()


async def test_a_look_that_hangs_keeps_a_scrape_for_a_while_only(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scrapes neither wait for its end nor begin another one."""
    monkeypatch.setattr(rules, "PATIENCE_SECONDS", 0.01)
    looks, gate = 0, asyncio.Event()

    async def hang(_connection: Connection) -> list[Sample]:
        nonlocal looks
        looks += 1
        await gate.wait()
        return [Sample(TASKS, 1, ("pending",))]

    monkeypatch.setattr(rules, "_samples", hang)
    backlog = Backlog(world.database, every=0)
    assert [await backlog.samples() for _ in range(3)] == [[], [], []]
    assert looks == 1
    gate.set()
    await until(lambda: _has(backlog))
    await backlog.close()


async def _has(backlog: Backlog) -> bool:
    return bool(await backlog.samples())


async def test_what_hangs_too_long_is_cancelled_and_nothing_is_said(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    backlog = Backlog(world.database, every=0)
    assert await backlog.samples()
    monkeypatch.setattr(rules, "TIMEOUT_SECONDS", 0.05)
    async with world.owner._pool._pool.acquire() as other, other.transaction():
        await other.execute("LOCK TABLE task_leases IN ACCESS EXCLUSIVE MODE")
        await until(lambda: _has_not(backlog))
    monkeypatch.undo()
    await until(lambda: _has(backlog))
    await backlog.close()


async def _has_not(backlog: Backlog) -> bool:
    return not await _has(backlog)


def row(status: str, number: int) -> Any:
    return {"status": status, "number": number}


def test_above_what_is_counted_the_estimate_says_more_but_never_less() -> None:
    estimate = {"completed": 900_000.4, "pending": 7.0}
    assert rules.number(row("pending", 9_999), estimate) == 9_999
    assert rules.number(row("completed", COUNTED), estimate) == 900_000
    assert rules.number(row("pending", COUNTED), estimate) == COUNTED
    assert rules.number(row("failed", COUNTED), estimate) == COUNTED


@pytest.mark.parametrize(
    ("found", "estimate"),
    [
        (None, {}),
        ({"number": -1.0, "statuses": None, "parts": None}, {}),
        ({"number": -1.0, "statuses": ["failed"], "parts": [1.0]}, {"failed": 0}),
        ({"number": 1e6, "statuses": ["failed"], "parts": [0.5]}, {"failed": 5e5}),
    ],
)
def test_a_table_that_was_never_analyzed_has_no_estimate(found: Any, estimate: object) -> None:
    assert rules.estimated(found) == estimate
