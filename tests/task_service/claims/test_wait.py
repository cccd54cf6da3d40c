"""ClaimTasks with `wait`: which calls claim when, and that none sleeps while there is work."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import grpc
import pytest

from shared.database.pool import Pool
from shared.database.transaction import Database
from shared.errors import Reason
from tandem.agent.v1 import agent_service_pb2 as agents
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.task.v1 import task_service_pb2 as pb
from task_service.claims import hand_out, rules
from task_service.claims import waiting as module
from task_service.events import pulse
from task_service.events import waiting as checks
from task_service.tasks import waiting as ends
from tests import as_service
from tests.locks import under_way
from tests.refusals import refused
from tests.task_service.claims.parked import Call, Here, serving, told
from tests.task_service.team import Team, Worker
from tests.waiting import SECONDS, until
from tests.world import World

REQUEST_ID = "7b0a1f2e-9d3c-4c5b-8a6f-0123456789ab"
LOCK = "SELECT FROM tasks WHERE id = $1 FOR UPDATE"
LEASES = "SELECT count(*) FROM task_leases"


@pytest.fixture
async def here(world: World, team: Team, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Here]:
    async with serving(world, team, monkeypatch) as found:
        yield found


async def test_of_many_that_wait_the_first_is_served_by_two_claims(here: Here) -> None:
    workers = [await here.team.worker() for _ in range(3)]
    calls = await here.waiting(*(here.claim(w) for _ in range(10) for w in workers))
    task = await here.task()
    [got] = await told(calls[0])
    assert got.task.id == task.id
    await here.looked()
    assert not any(call.done() for call in calls[1:])
    assert len(here.claims) <= 2
    assert sum(number for _, number in here.claims) == 1


async def test_they_are_served_in_the_order_in_which_they_came(here: Here) -> None:
    workers = [await here.team.worker() for _ in range(2)]
    calls = await here.waiting(*(here.claim(w) for _ in range(3) for w in workers))
    for served in range(1, 7):
        task = await here.task()
        [got] = await told(calls[served - 1])
        assert got.task.id == task.id
        assert [call.done() for call in calls] == [True] * served + [False] * (6 - served)


async def test_many_tasks_at_once_wake_as_many_calls(here: Here) -> None:
    worker = await here.team.worker()
    calls = await here.waiting(*(here.claim(worker) for _ in range(5)))
    entries = [pb.NewTask(task=_task(here)) for _ in range(4)]
    request = pb.BatchCreateTasksRequest(project_id=here.team.project.id, tasks=entries)
    await here.owner.tasks.BatchCreateTasks(request)
    assert len({(await told(call))[0].task.id for call in calls[:4]}) == 4
    await here.looked()
    assert not calls[4].done()
    assert len(here.claims) <= 5


def _task(here: Here, **fields: Any) -> pb.Task:
    return pb.Task(**{"project_id": here.team.project.id, "title": "Task", **fields})


async def test_who_cannot_do_it_is_passed_over_without_a_claim(here: Here) -> None:
    can_not, can = await here.team.worker(), await here.team.worker(capabilities=["a", "b"])
    calls = await here.waiting(*[here.claim(can_not) for _ in range(5)], here.claim(can))
    await here.task(required_capabilities=["a"])
    assert await told(calls[-1])
    await here.looked()
    assert {agent_id for agent_id, _ in here.claims} == {can.agent.id}
    assert not any(call.done() for call in calls[:-1])


async def test_who_got_nothing_passes_it_on_to_who_can_do_something_else(here: Here) -> None:
    """The first could do what has a lock key that is taken; the second does the other."""
    one, other = [await here.team.worker(capabilities=[word]) for word in "ab"]
    await here.task(lock_key="k", required_capabilities=["a"])
    holder = await here.team.worker(capabilities=["a"])
    await Worker(holder.agent, here.service.client(holder.client)).claim()
    await here.task(lock_key="k", required_capabilities=["a"])
    calls = await here.waiting(here.claim(one), here.claim(one), here.claim(other))
    await here.task(required_capabilities=["b"])
    assert await told(calls[2])
    await here.looked()
    # The first of those who can do what is locked has looked, at each news, and no other.
    assert (one.agent.id, 1) not in here.claims
    assert here.claims.count((one.agent.id, 0)) <= here.rounds


async def test_who_holds_as_many_as_it_can_passes_it_on(here: Here) -> None:
    full, other = await here.team.worker(max_leases=1), await here.team.worker()
    await here.task()
    client = Worker(full.agent, here.service.client(full.client))
    [held] = await client.claim()
    calls = await here.waiting(here.claim(full), here.claim(full), here.claim(other))
    await here.task()
    assert await told(calls[2])
    await here.looked()
    assert here.claims.count((full.agent.id, 0)) == 1
    await here.task()
    done = pb.CompleteTaskRequest(task_id=held.task.id, fencing_token=1)
    await client.client.tasks.CompleteTask(done)
    assert await told(calls[0])


async def test_what_is_assigned_wakes_its_agent(here: Here) -> None:
    one, other = [await here.team.worker() for _ in range(2)]
    calls = await here.waiting(here.claim(one), here.claim(other))
    await here.task(assigned_to=other.agent.id, assigned_to_type=1)
    assert await told(calls[1])
    await here.looked()
    assert {agent_id for agent_id, _ in here.claims} == {other.agent.id}


async def test_a_lock_key_that_becomes_free_wakes_who_waits(here: Here) -> None:
    one, other = [await here.team.worker() for _ in range(2)]
    for _ in range(2):
        await here.task(lock_key="repo")
    client = Worker(one.agent, here.service.client(one.client))
    [held] = await client.claim()
    (call,) = await here.waiting(here.claim(other))
    done = pb.CompleteTaskRequest(task_id=held.task.id, fencing_token=1)
    await client.client.tasks.CompleteTask(done)
    assert await told(call)


async def test_what_gets_ready_later_is_claimed_then(here: Here) -> None:
    worker = await here.team.worker()
    now = datetime.now(UTC)
    await here.task(ready_at=now + timedelta(hours=1))
    (call,) = await here.waiting(here.claim(worker))
    soon = await here.task(ready_at=datetime.now(UTC) + timedelta(seconds=1))
    [got] = await told(call)
    assert got.task.id == soon.id


async def test_what_gets_ready_for_who_came_later_is_claimed_then(here: Here) -> None:
    one, other = [await here.team.worker() for _ in range(2)]
    for worker in (one, other):  # they go online, of which nothing may tell later on
        assert await worker.claim() == []
    await here.waiting(here.claim(one))
    soon: dict[str, Any] = {"ready_at": datetime.now(UTC) + timedelta(seconds=2)}
    task = await here.task(assigned_to=other.agent.id, assigned_to_type=1, **soon)
    await here.looked()
    [got] = await asyncio.wait_for(here.claim(other), SECONDS / 2)
    assert got.task.id == task.id


async def test_what_is_worked_on_already_is_woken_whenever_it_was_to_be_ready(here: Here) -> None:
    one, other = [await here.team.worker() for _ in range(2)]
    for worker in (one, other):
        assert await worker.claim() == []
    later: dict[str, Any] = {"ready_at": datetime.now(UTC) + timedelta(hours=1)}
    mine: dict[str, Any] = {"assigned_to": other.agent.id, "assigned_to_type": 1}
    task = await here.task(lock_key="k", **mine, **later)
    begun = pb.UpdateTaskStatusRequest(task_id=task.id, status=pb.TASK_STATUS_IN_PROGRESS)
    await here.owner.tasks.UpdateTaskStatus(begun)
    await here.task(lock_key="k")
    client = Worker(one.agent, here.service.client(one.client))
    [held] = await client.claim()
    (call,) = await here.waiting(here.claim(other, task_ids=[task.id]))
    done = pb.CompleteTaskRequest(task_id=held.task.id, fencing_token=1)
    await client.client.tasks.CompleteTask(done)
    [got] = await told(call)
    assert got.task.id == task.id


async def test_a_task_is_waited_for_by_its_id(here: Here) -> None:
    worker = await here.team.worker()
    later = datetime.now(UTC) + timedelta(hours=1)
    task, _ = await here.task(ready_at=later), await here.task()
    (call,) = await here.waiting(here.claim(worker, task_ids=[task.id]))
    changed = pb.UpdateTaskRequest(task=pb.Task(id=task.id))
    changed.task.ready_at.FromDatetime(datetime.now(UTC))
    changed.update_mask.paths.append("ready_at")
    await here.owner.tasks.UpdateTask(changed)
    [got] = await told(call)
    assert got.task.id == task.id
    await refused(here.claim(worker, 1, task_ids=[task.id]), Reason.NOT_CLAIMABLE)


@pytest.mark.parametrize("moment", ["before claiming", "after that"])
async def test_no_task_is_missed_between_a_claim_and_the_wait(
    world: World, team: Team, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    worker, attempts, attempt = await team.worker(), 0, rules._attempt

    async def beside(*arguments: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1 and moment == "before claiming":
            await team.owner.task(team.project)
        found = await attempt(*arguments)
        if attempts == 1 and moment == "after that":
            await team.owner.task(team.project)
        return found

    monkeypatch.setattr(rules, "_attempt", beside)
    async with serving(world, team, monkeypatch) as here:
        assert await asyncio.wait_for(here.claim(worker), SECONDS / 2)
    assert attempts == (2 if moment == "after that" else 1)


async def test_what_comes_while_another_has_the_baton_is_looked_at_again(
    world: World, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that began before the baton came says nothing of what the baton is for."""
    worker, attempt, slow, go_on = await team.worker(), rules._attempt, asyncio.Event(), True

    async def slowly(*arguments: Any) -> Any:
        nonlocal go_on
        found = await attempt(*arguments)
        if go_on and not found.rows and slow.is_set():
            go_on = False
            await team.owner.task(team.project)  # this look has not seen it
            await asyncio.sleep(2 * module.BATON_SECONDS)
        return found

    monkeypatch.setattr(rules, "_attempt", slowly)
    async with serving(world, team, monkeypatch) as here:
        (call,) = await here.waiting(here.claim(worker))
        slow.set()
        for waiter in here.queues._queues[UUID(team.project.id)].waiters:
            waiter.wake()
        assert await told(call)


async def test_a_task_of_another_process_is_noticed(here: Here) -> None:
    worker = await here.team.worker()
    (call,) = await here.waiting(here.claim(worker))
    await here.team.owner.task(here.team.project)
    assert await told(call)


async def test_a_task_of_the_same_process_is_noticed_at_once(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await here.team.worker()
    monkeypatch.setattr(pulse, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(pulse, "CALM_LOOK_SECONDS", 3600.0)
    (call,) = await here.waiting(here.claim(worker))
    await here.task()
    assert await told(call)


async def test_what_was_locked_is_found_later(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """No event tells that a lock has ended."""
    monkeypatch.setattr(module, "CALM_SECONDS", 0.1)
    worker = await here.team.worker()
    task = await here.task()
    async with under_way(here.world.url, LOCK, UUID(task.id)):
        (call,) = await here.service.begun(here.claim(worker))  # type: ignore[arg-type]
        rounds = here.rounds
        await until(lambda: here.rounds > rounds + 1)
        assert not call.done()
    assert await told(call)  # type: ignore[arg-type]


async def test_parked_calls_hold_no_place_and_no_connection(
    world: World, team: Team, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await team.worker()
    database = Database(await Pool.connect(as_service.url_for(world.url), 1, "tandem"))
    async with serving(world, team, monkeypatch, database) as here:
        calls = await here.waiting(*(here.claim(worker) for _ in range(100)))
        assert not here.service.server._interceptor._places.held
        await refused(here.claim(worker), Reason.LIMIT_EXCEEDED)
        await here.task()
        assert await told(calls[0])
        for call in calls:
            call.cancel()
        await here.service.gone()
    await database.close()


async def test_nothing_is_left_of_a_client_that_goes(here: Here) -> None:
    worker = await here.team.worker()
    first, second = await here.waiting(here.claim(worker), here.claim(worker))
    first.cancel()
    await until(lambda: len(here.service._parking) == 1)
    await here.task()
    assert await told(second)
    await here.service.gone()
    assert not here.queues._queues
    assert here.queues._check._task is None
    assert sum(number for _, number in here.claims) == 1


async def test_the_baton_goes_on_when_its_holder_goes(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATON_SECONDS", 3600.0)
    workers = [await here.team.worker() for _ in range(2)]
    calls: list[Call] = await here.waiting(*map(here.claim, workers))
    attempt, held, may_end = rules._attempt, asyncio.Event(), asyncio.Event()

    async def stuck(*arguments: Any) -> Any:
        if str(arguments[-1].agent_id) == workers[0].agent.id:
            held.set()
            await may_end.wait()
        return await attempt(*arguments)

    monkeypatch.setattr(rules, "_attempt", stuck)
    await here.task()
    await asyncio.wait_for(held.wait(), SECONDS)
    assert not calls[1].done()
    calls[0].cancel()
    assert await told(calls[1])
    may_end.set()


async def test_who_is_slow_does_not_keep_the_baton(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers = [await here.team.worker() for _ in range(2)]
    calls: list[Call] = await here.waiting(*map(here.claim, workers))
    attempt, may_end = rules._attempt, asyncio.Event()

    async def slow(*arguments: Any) -> Any:
        if str(arguments[-1].agent_id) == workers[0].agent.id:
            await may_end.wait()
        return await attempt(*arguments)

    monkeypatch.setattr(rules, "_attempt", slow)
    await here.task()
    assert await told(calls[1])
    may_end.set()
    await here.task()
    assert await told(calls[0])


@pytest.mark.parametrize("request_id", ["", REQUEST_ID])
async def test_what_a_client_that_has_gone_was_given_is_given_back(
    here: Here, monkeypatch: pytest.MonkeyPatch, request_id: str
) -> None:
    """Unless it can ask for it again."""
    worker = await here.team.worker()
    attempt, claimed, may_end = rules._attempt, asyncio.Event(), asyncio.Event()

    async def late(*arguments: Any) -> Any:
        found = await attempt(*arguments)
        claimed.set()
        await may_end.wait()
        return found

    monkeypatch.setattr(rules, "_attempt", late)
    task = await here.task()
    call = asyncio.create_task(here.claim(worker, request_id=request_id))
    await claimed.wait()
    call.cancel()
    await until(lambda: not here.queues._queues)
    may_end.set()
    if request_id:
        [again] = await here.claim(worker, request_id=request_id)
        assert again.lease.fencing_token == 1
        await until(lambda: not hand_out._giving_back)
        assert await here.world.value(LEASES) == 1
    else:
        await until(lambda: _is_pending(here, task))
        [again] = await here.claim(worker)
        assert (again.task.attempt, again.lease.fencing_token) == (1, 2)
        assert [each.outcome for each in again.previous] == [pb.ATTEMPT_OUTCOME_RELEASED]


async def _is_pending(here: Here, task: pb.Task) -> bool:
    status = "SELECT status = 'pending' AND NOT leased FROM tasks WHERE id = $1 AND fence = 1"
    return bool(await here.world.value(status, UUID(task.id)))


async def test_another_call_with_the_same_id_is_answered_the_same(here: Here) -> None:
    worker = await here.team.worker()
    await here.task()
    client = Worker(worker.agent, here.service.client(worker.client))
    fields: dict[str, Any] = {"request_id": REQUEST_ID, "wait": {"seconds": 60}}
    first = await client.claim(**fields)
    assert first
    assert await client.claim(**fields) == first


async def test_who_may_claim_no_longer_is_told(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.1)
    workers = [await here.team.worker() for _ in range(3)]
    admin = await here.world.user()
    await here.world.member(here.team.project.id, admin, "admin")
    by_admin = Worker(workers[2].agent, admin)
    calls = await here.waiting(*map(here.claim, [*workers, by_admin]))
    key = await here.world.value(
        "SELECT id FROM agent_api_keys WHERE agent_id = $1", UUID(workers[0].agent.id)
    )
    await here.team.owner.auth.RevokeApiKey(auth.RevokeApiKeyRequest(api_key_id=str(key)))
    await refused(told(calls[0]), Reason.CALLER_INACTIVE)
    deactivate = "UPDATE agents SET is_active = false WHERE id = $1"
    await here.world.execute(deactivate, UUID(workers[1].agent.id))
    await refused(told(calls[1]), Reason.CALLER_INACTIVE)
    await here.world.execute("DELETE FROM project_members WHERE user_id = $1", admin.id)
    await refused(told(calls[3]), Reason.NOT_PROJECT_OWNER)
    assert not calls[2].done()
    archive = projects.UpdateProjectRequest(project=projects.Project(id=here.team.project.id))
    archive.project.status = projects.PROJECT_STATUS_SUSPENDED
    archive.update_mask.paths.append("status")
    await here.team.owner.projects.UpdateProject(archive)
    await refused(told(calls[2]), Reason.PROJECT_NOT_ACTIVE)


async def test_what_an_agent_can_do_is_learnt_while_it_waits(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await here.team.worker()
    (call,) = await here.waiting(here.claim(worker))
    monkeypatch.setattr(checks, "CHECK_SECONDS", 0.1)
    await here.task(required_capabilities=["new"])
    learn = agents.UpdateAgentRequest(agent=agents.Agent(id=worker.agent.id, capabilities=["new"]))
    learn.update_mask.paths.append("capabilities")
    await here.team.owner.agents.UpdateAgent(learn)
    here.queues._check.end()
    here.queues._check.begin()
    assert await told(call)


async def test_a_wait_ends_when_its_time_is_over_or_before_its_deadline(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await here.team.worker()
    (call,) = await here.waiting(here.claim(worker, 1))
    assert await told(call) == []
    monkeypatch.setattr(ends, "MARGIN_SECONDS", SECONDS - 0.5)
    assert await here.claim(worker, deadline=SECONDS) == []


async def test_a_stop_ends_the_waits(here: Here) -> None:
    worker = await here.team.worker()
    (call,) = await here.waiting(here.claim(worker))
    await here.service.server.drain()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
