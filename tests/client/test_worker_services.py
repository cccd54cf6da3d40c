"""A worker against both services, over real sockets."""

import asyncio
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import ApiKey, LeaseLost, RetryError, Tandem, Work
from tests.client.test_services import connected
from tests.task_service.team import Team
from tests.waiting import SECONDS, until
from tests.world import World


async def hired(world: World) -> tuple[Team, Tandem]:
    """A team, and a client with the API key of an agent of it."""
    team = await Team.formed(world)
    agent = await team.owner.agent(team.project)
    key = (await team.owner.api_key(agent)).secret
    return team, connected(world, ApiKey(key))


async def test_tasks_are_handled_as_they_come(world: World) -> None:
    team, client = await hired(world)
    async with client as tandem, tandem.worker(concurrency=2) as worker:
        handled: list[str] = []

        async def handle(work: Work) -> dict[str, Any]:
            handled.append(work.task.title)
            return {"token": work.fencing_token}

        running = asyncio.create_task(worker.run(handle))
        tasks = [await team.owner.task(team.project, title=str(n)) for n in range(5)]
        for task in tasks:
            request = pb.WaitTaskRequest(task_id=task.id, timeout=Duration(seconds=30))
            done = await team.owner.tasks.WaitTask(request)
            assert done.status == pb.TASK_STATUS_COMPLETED
            assert MessageToDict(done.result) == {"token": 1}
        worker.drain()
        await asyncio.wait_for(running, SECONDS)
    assert sorted(handled) == ["0", "1", "2", "3", "4"]


async def test_the_next_attempt_is_told_of_the_one_that_failed(world: World) -> None:
    team, client = await hired(world)
    task = await team.owner.task(team.project)

    async def handle(work: Work) -> None:
        if not work.previous:
            await work.progress(pages=3)
            raise RetryError("Again", 0.0, page=4)
        (before,) = work.previous
        assert MessageToDict(before.progress) == {"pages": 3}
        assert before.error["message"] == "Again"
        assert before.error["page"] == 4

    async with client as tandem, tandem.worker() as worker:
        running = asyncio.create_task(worker.run(handle))
        request = pb.WaitTaskRequest(task_id=task.id, timeout=Duration(seconds=30))
        assert (await team.owner.tasks.WaitTask(request)).status == pb.TASK_STATUS_COMPLETED
        worker.drain()
        await asyncio.wait_for(running, SECONDS)


async def test_a_worker_that_drains_gives_back_what_it_has_not_finished(world: World) -> None:
    team, client = await hired(world)
    task = await team.owner.task(team.project)
    begun = asyncio.Event()

    async def handle(work: Work) -> None:  # noqa: ARG001
        begun.set()
        await asyncio.Event().wait()

    async with client as tandem, tandem.worker(grace=0.0) as worker:
        running = asyncio.create_task(worker.run(handle))
        await asyncio.wait_for(begun.wait(), SECONDS)
        worker.drain()
        await asyncio.wait_for(running, SECONDS)
    found = await team.owner.tasks.GetTask(pb.GetTaskRequest(task_id=task.id))
    assert (found.status, found.attempt, found.leased) == (pb.TASK_STATUS_PENDING, 0, False)


async def test_a_task_that_its_owner_takes_away_cancels_the_handler(world: World) -> None:
    team, client = await hired(world)
    task = await team.owner.task(team.project)
    begun, stops = asyncio.Event(), []

    async def handle(work: Work) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stops.append(work.stop)

    async with client as tandem, tandem.worker(lease=5.0) as worker:
        running = asyncio.create_task(worker.run(handle))
        await asyncio.wait_for(begun.wait(), SECONDS)
        away = pb.UpdateTaskStatusRequest(task_id=task.id, status=pb.TASK_STATUS_CANCELLED)
        await team.owner.tasks.UpdateTaskStatus(away)
        await until(lambda: bool(stops))
        worker.drain()
        await asyncio.wait_for(running, SECONDS)
    assert stops == [LeaseLost(pb.ATTEMPT_OUTCOME_OVERRIDDEN)]
