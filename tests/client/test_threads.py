"""A worker of the client for threads, against both services, over real sockets."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from shared.errors import Reason
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import ApiKey, Draining, LeaseLost, RetryError, TandemError, sync
from tests.task_service.team import Team
from tests.waiting import SECONDS, until
from tests.world import World

PROGRAM = """
import os
from tandem_client import ApiKey, sync

def handle(work):
    print("begun", flush=True)
    work.stopped.wait()
    work.check()

addresses = {name: os.environ[name.upper()] for name in ("agent_address", "task_address")}
with sync.connect(credentials=ApiKey(os.environ["KEY"]), **addresses) as tandem:
    tandem.worker(grace=float(os.environ["GRACE"])).run(handle)
print("ended")
"""
ENDS_AT = "SELECT expires_at FROM task_leases WHERE task_id = $1"


class Desk:
    """A team, and the client with the API key of an agent of it."""

    def __init__(self, world: World, team: Team, key: str) -> None:
        self.world, self.team, self.key = world, team, key
        self.agents, self.tasks = world.settings.agent_address, world.settings.task_address

    @classmethod
    async def of(cls, world: World) -> "Desk":
        team = await Team.formed(world)
        agent = await team.owner.agent(team.project)
        return cls(world, team, (await team.owner.api_key(agent)).secret)

    def worker(self, **options: Any) -> sync.Worker:
        key = ApiKey(self.key)
        with sync.connect(
            agent_address=self.agents, task_address=self.tasks, credentials=key
        ) as tandem:  # workers do not use this connection
            return tandem.worker(**options)

    async def task(self, **fields: Any) -> str:
        task: pb.Task = await self.team.owner.task(self.team.project, **fields)
        return task.id

    async def ended(self, task_id: str) -> pb.Task:
        """The task, once it has ended."""
        request = pb.WaitTaskRequest(task_id=task_id, timeout=Duration(seconds=60))
        task: pb.Task = await self.team.owner.tasks.WaitTask(request)
        return task

    async def now(self, task_id: str) -> tuple[Any, int, bool]:
        task = await self.team.owner.tasks.GetTask(pb.GetTaskRequest(task_id=task_id))
        return task.status, task.attempt, task.leased


async def running(worker: sync.Worker, handler: Callable[[sync.Work], Any]) -> None:
    """The worker runs in a thread, until it has ended."""
    await asyncio.wait_for(asyncio.to_thread(worker.run, handler), SECONDS)


async def test_the_handler_runs_in_the_thread_that_runs_the_worker(world: World) -> None:
    desk, threads = await Desk.of(world), []
    worker = desk.worker()

    def handle(work: sync.Work) -> dict[str, Any]:
        threads.append(threading.current_thread())
        return {"token": work.fencing_token, "title": work.task.title}

    def run() -> threading.Thread:
        worker.run(handle)
        return threading.current_thread()

    ids = [await desk.task(title=title) for title in ("one", "two")]
    run_in = asyncio.ensure_future(asyncio.to_thread(run))
    results = [MessageToDict((await desk.ended(each)).result) for each in ids]
    worker.drain()
    assert set(threads) == {await asyncio.wait_for(run_in, SECONDS)}
    assert results == [{"token": 1, "title": "one"}, {"token": 1, "title": "two"}]


async def test_several_are_handled_at_once(world: World) -> None:
    desk, both = await Desk.of(world), threading.Barrier(2, timeout=SECONDS)
    worker = desk.worker(concurrency=2)
    ids = [await desk.task() for _ in range(2)]

    def handle(work: sync.Work) -> None:  # noqa: ARG001
        both.wait()

    runs = asyncio.ensure_future(running(worker, handle))
    for each in ids:
        assert (await desk.ended(each)).status == pb.TASK_STATUS_COMPLETED
    worker.drain()
    await runs


async def test_the_next_attempt_is_told_of_the_one_that_failed(world: World) -> None:
    desk = await Desk.of(world)
    worker, task_id = desk.worker(), await desk.task()

    def handle(work: sync.Work) -> None:
        if not work.previous:
            work.progress(pages=3)
            raise RetryError("Again", 0.0, page=4)
        (before,) = work.previous
        assert MessageToDict(before.progress) == {"pages": 3}
        assert before.error["page"] == 4

    runs = asyncio.ensure_future(running(worker, handle))
    task = await desk.ended(task_id)
    assert (task.status, task.attempt) == (pb.TASK_STATUS_COMPLETED, 2)
    worker.drain()
    await runs


async def test_leases_are_renewed_while_the_handler_blocks(world: World) -> None:
    desk, goes_on = await Desk.of(world), threading.Event()
    worker, task_id = desk.worker(lease=5.0), UUID(await desk.task())

    def handle(work: sync.Work) -> None:  # noqa: ARG001
        goes_on.wait(SECONDS)

    async def is_held() -> bool:
        return await world.value(ENDS_AT, task_id) is not None

    async def is_renewed() -> bool:
        await asyncio.sleep(0.1)
        return bool(await world.value(ENDS_AT, task_id) > first)

    runs = asyncio.ensure_future(running(worker, handle))
    await until(is_held)
    first = await world.value(ENDS_AT, task_id)
    await until(is_renewed)
    goes_on.set()
    worker.drain()
    await runs


async def test_a_handler_sees_that_its_lease_is_lost_and_nothing_is_written(world: World) -> None:
    desk, begun, stops = await Desk.of(world), threading.Event(), []
    worker, task_id = desk.worker(lease=5.0), await desk.task()

    def handle(work: sync.Work) -> dict[str, Any]:
        work.check()
        begun.set()
        work.stopped.wait(SECONDS)
        stops.append(work.stop)
        return {"too": "late"}

    runs = asyncio.ensure_future(running(worker, handle))
    await asyncio.to_thread(begun.wait, SECONDS)
    away = pb.UpdateTaskStatusRequest(task_id=task_id, status=pb.TASK_STATUS_CANCELLED)
    await desk.team.owner.tasks.UpdateTaskStatus(away)
    await until(lambda: bool(stops))
    worker.drain()
    await runs
    assert stops == [LeaseLost(pb.ATTEMPT_OUTCOME_OVERRIDDEN)]
    task = await desk.ended(task_id)
    assert (task.status, MessageToDict(task.result)) == (pb.TASK_STATUS_CANCELLED, {})


@pytest.mark.parametrize("ends", ["check", "interrupt"])
async def test_a_handler_that_is_stopped_gives_its_task_back(world: World, ends: str) -> None:
    desk, begun, stops = await Desk.of(world), threading.Event(), []
    worker, task_id = desk.worker(grace=0.0), await desk.task()

    def handle(work: sync.Work) -> None:
        begun.set()
        if ends == "interrupt":
            raise KeyboardInterrupt
        work.stopped.wait(SECONDS)
        stops.append(work.stop)
        work.check()

    def run() -> bool:
        try:
            worker.run(handle)
        except KeyboardInterrupt:
            return True
        return False

    runs = asyncio.ensure_future(asyncio.to_thread(run))
    await asyncio.to_thread(begun.wait, SECONDS)
    if ends == "check":
        worker.drain()
    assert await asyncio.wait_for(runs, SECONDS) is (ends == "interrupt")
    assert await desk.now(task_id) == (pb.TASK_STATUS_PENDING, 0, False)
    assert stops == ([Draining()] if ends == "check" else [])


async def test_a_process_drains_at_sigterm(world: World) -> None:
    desk = await Desk.of(world)
    task_id = await desk.task()
    variables = {"AGENT_ADDRESS": desk.agents, "TASK_ADDRESS": desk.tasks}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM),
        env={**os.environ, **variables, "KEY": desk.key, "GRACE": "0"},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    try:
        assert await process.stdout.readline() == b"begun\n"
        process.send_signal(signal.SIGTERM)
        assert (await process.communicate())[0] == b"ended\n"
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    assert await desk.now(task_id) == (pb.TASK_STATUS_PENDING, 0, False)


async def test_what_keeps_a_worker_from_claiming_is_raised(world: World) -> None:
    desk = await Desk.of(world)
    desk.key = f"{desk.key}x"
    with pytest.raises(TandemError, match=Reason.API_KEY_INVALID.name):
        await running(desk.worker(), lambda _: None)


def test_channels_of_your_own_do_not_say_where_they_lead() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        tandem = sync.Tandem(channel, channel)
        with pytest.raises(ValueError, match="made by `connect`"):
            tandem.worker()
