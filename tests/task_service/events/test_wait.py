"""WaitTask: what it returns and when, and that no change is missed between two looks."""

import asyncio
from typing import Any
from uuid import UUID

import grpc
import pytest
from uuid_utils.compat import uuid4

from shared.database.pool import Pool, UnitOfWork
from shared.database.transaction import Database, unavailable
from shared.errors import Reason
from tandem.task.v1 import task_service_pb2 as pb
from task_service.events import pulse, queries, waiting
from task_service.events.waiting import Waiter
from task_service.tasks import waiting as rules
from task_service.tasks.waiting import WaitRules
from tests import as_service
from tests.event_log import append
from tests.refusals import outcome, refused
from tests.task_service.events.waits import change, opened, told, wait
from tests.waiting import SECONDS, until
from tests.world import World


@pytest.fixture
def only_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log does not tell is not noticed."""
    monkeypatch.setattr(waiting, "CHECK_SECONDS", 3600.0)


async def test_what_has_ended_is_not_waited_for(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    for status in ("completed", "failed", "cancelled"):
        await change(world, task, status)
        found = await wait(alice, task)
        assert found.status == getattr(pb, f"TASK_STATUS_{status.upper()}")


async def test_without_time_the_task_is_returned_as_it_is(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    assert await wait(alice, task, 0) == task
    assert await wait(alice, task, 0, revision=1) == task


@pytest.mark.parametrize("fields", [{"timeout": {"seconds": 61}}, {"revision": -1}, {}])
async def test_what_makes_no_sense_is_refused(world: World, fields: Any) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    request: Any = pb.WaitTaskRequest
    bad = request(**{"task_id": task.id if fields else "x", **fields})
    found = await refused(alice.tasks.WaitTask(bad), Reason.INVALID_FIELD)
    assert list(found.fields) == [next(iter(fields), "task_id")]


async def test_a_task_that_is_not_there_is_not_waited_for(world: World) -> None:
    alice = await world.user()
    await refused(wait(alice, pb.Task(id=str(uuid4()))), Reason.TASK_NOT_FOUND)


@pytest.mark.usefixtures("only_by_events")
async def test_the_end_of_a_task_is_waited_for(world: World) -> None:
    alice = await world.user()
    task, other = [await alice.task(project := await alice.project()) for _ in range(2)]
    async with opened(world) as here:
        (waiting_call,) = await here.begun(wait(here.client(alice), task))
        await change(world, task)
        await change(world, other, "completed")
        await change(world, await alice.task(project), "completed")
        await change(world, task, "completed")
        found = await told(waiting_call)
        assert (found.status, found.revision) == (pb.TASK_STATUS_COMPLETED, 3)
        await here.gone()


@pytest.mark.usefixtures("only_by_events")
async def test_a_change_by_the_same_process_is_told_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(pulse, "CALM_LOOK_SECONDS", 3600.0)
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with opened(world) as here:
        client = here.client(alice)
        (call,) = await here.begun(wait(client, task, revision=2))
        for title in ("Other", "Another"):
            changed = pb.UpdateTaskRequest(task={"id": task.id, "title": title})  # type: ignore[arg-type]
            await client.tasks.UpdateTask(changed)
        assert (await told(call)).title == "Another"


@pytest.mark.usefixtures("only_by_events")
async def test_a_newer_revision_is_waited_for(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    assert await wait(alice, task, revision=0) == task
    async with opened(world) as here:
        client = here.client(alice)
        first, second = await here.begun(
            wait(client, task, revision=1), wait(client, task, revision=2)
        )
        await change(world, task)
        assert (await told(first)).revision == 2
        assert not second.done()
        await change(world, task)
        assert (await told(second)).revision == 3


@pytest.mark.usefixtures("only_by_events")
@pytest.mark.parametrize("moment", ["before following", "before looking again", "after that"])
async def test_no_change_is_missed_between_two_looks(
    world: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    first, look = rules._first, WaitRules._look
    looks = 0

    async def read(*arguments: Any) -> Any:
        row = await first(*arguments)
        if moment == "before following":
            await change(world, task, "completed")
        return row

    async def look_again(self: WaitRules, *arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        if moment == "before looking again" and looks == 1:
            await change(world, task, "completed")
        row = await look(self, *arguments)
        if moment == "after that" and looks == 1:
            await change(world, task, "completed")
        return row

    monkeypatch.setattr(rules, "_first", read)
    monkeypatch.setattr(WaitRules, "_look", look_again)
    found = await told(wait(alice, task))
    assert found.status == pb.TASK_STATUS_COMPLETED
    assert looks == (2 if moment == "after that" else 1)


@pytest.mark.usefixtures("only_by_events")
async def test_a_change_during_a_look_leads_to_another(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is noticed while the look has its answer, and the call does not know that yet."""
    alice = await world.user()
    task = await alice.task(await alice.project())
    woken, wake, look = asyncio.Event(), Waiter.wake, WaitRules._look

    def noted(self: Waiter) -> None:
        wake(self)
        woken.set()

    async def slow(self: WaitRules, *arguments: Any) -> Any:
        row = await look(self, *arguments)
        if not woken.is_set():
            await change(world, task, "completed")
            await asyncio.wait_for(woken.wait(), SECONDS)
        return row

    monkeypatch.setattr(Waiter, "wake", noted)
    monkeypatch.setattr(WaitRules, "_look", slow)
    found = await told(wait(alice, task))
    assert found.status == pb.TASK_STATUS_COMPLETED


async def test_a_wait_ends_before_the_deadline_of_its_call(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "MARGIN_SECONDS", SECONDS - 0.5)
    alice = await world.user()
    task = await alice.task(await alice.project())
    request = pb.WaitTaskRequest(task_id=task.id)
    assert await alice.tasks.WaitTask(request, timeout=SECONDS) == task
    monkeypatch.setattr(rules, "MARGIN_SECONDS", SECONDS + 1)
    assert await alice.tasks.WaitTask(request, timeout=SECONDS) == task


async def test_a_wait_ends_when_its_time_is_over(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(alice), task, 1))
        assert await call == task


async def test_parked_calls_hold_no_connection(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    database = Database(await Pool.connect(as_service.url_for(world.url), 1, "tandem"))
    async with opened(world, database) as here:
        client = here.client(alice)
        calls = await here.begun(*(wait(client, task) for _ in range(100)))
        assert await client.tasks.GetTask(pb.GetTaskRequest(task_id=task.id)) == task
        await refused(wait(client, task), Reason.LIMIT_EXCEEDED)
        await change(world, task, "completed")
        assert {found.status for found in await asyncio.gather(*map(told, calls))} == {
            pb.TASK_STATUS_COMPLETED
        }
    await database.close()


async def test_nothing_is_left_of_a_client_that_goes(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(alice), task))
        call.cancel()
        await here.gone()
        assert not here.waiters._projects
        assert not here.waiters._pulse._logs
        looks = here.waiters._pulse._task
        assert looks is not None
        await until(looks.done)


async def test_a_stop_ends_the_waits(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(alice), task))
        await here.server.drain()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


class Failing(Database):
    """A database that can be out of reach."""

    is_down = False
    refused = 0

    async def read(self, unit_of_work: UnitOfWork[Any]) -> Any:
        if self.is_down:
            self.refused += 1
            raise unavailable()
        return await super().read(unit_of_work)


@pytest.mark.usefixtures("only_by_events")
async def test_an_outage_is_waited_out(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    database = Failing(world.database._pool)
    async with opened(world, database) as here:
        (call,) = await here.begun(wait(here.client(alice), task))
        database.is_down = True
        await change(world, task, "completed")
        await until(lambda: database.refused >= 1)
        assert not call.done()
        database.is_down = False
        assert (await told(call)).status == pb.TASK_STATUS_COMPLETED


class Counted:
    """A statement, and how often it was run with how many ids."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self._statement = getattr(queries, name)
        self.runs: list[dict[str, Any]] = []
        monkeypatch.setattr(queries, name, self)

    async def rows(self, connection: Any, **parameters: Any) -> Any:
        self.runs.append(parameters)
        return await self._statement.rows(connection, **parameters)


@pytest.mark.usefixtures("only_by_events")
async def test_events_of_other_tasks_cost_one_statement_for_all_waiters(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed, awaited = Counted(monkeypatch, "CHANGED"), Counted(monkeypatch, "AWAITED")
    alice = await world.user()
    project = await alice.project()
    task, other = await alice.task(project), await alice.task(project)
    async with opened(world) as here:
        calls = await here.begun(*(wait(here.client(alice), task) for _ in range(30)))
        changed.runs.clear()
        awaited.runs.clear()
        await change(world, other, "completed")
        await until(lambda: len(changed.runs) == 1)
        await change(world, task)
        await until(lambda: len(awaited.runs) == 1)
        assert len(changed.runs) == 2
        assert [len(run["task_ids"]) for run in awaited.runs] == [1]
        assert not any(call.done() for call in calls)
        await change(world, task, "failed")
        assert {found.revision for found in await asyncio.gather(*map(told, calls))} == {3}


@pytest.mark.usefixtures("only_by_events")
@pytest.mark.parametrize("problem", ["too many", "missing"])
async def test_every_task_is_looked_at_if_the_events_do_not_tell(
    world: World, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(alice), task))
        if problem == "too many":
            monkeypatch.setattr(waiting, "MAXIMUM_EVENTS", 0)
            await change(world, task, "completed")
        else:
            await world.owner.transaction(lambda c: _change_without_event(c, task))
        assert (await told(call)).status == pb.TASK_STATUS_COMPLETED


async def _change_without_event(connection: Any, task: pb.Task) -> None:
    await connection.execute("UPDATE tasks SET status = 'completed' WHERE id = $1", task.id)
    await append(connection, UUID(task.project_id))
    await connection.execute("DELETE FROM events WHERE project_id = $1", task.project_id)


async def test_what_happens_without_an_event_is_noticed_all_the_same(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with opened(world) as here:
        (call,) = await here.begun(wait(here.client(alice), task))
        statement = "UPDATE tasks SET status = 'completed' WHERE id = $1"
        await world.execute(statement, task.id)
        assert await outcome(told(call)) == "OK"
