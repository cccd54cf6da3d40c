"""A worker, by a service that the test plays, and by a clock that it moves."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.json_format import MessageToDict

from shared.errors import Reason
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import (
    CancelRequested,
    Draining,
    LeaseLost,
    PermanentError,
    RetryError,
    TandemError,
    Work,
    Worker,
)
from tests.client.scripted import Call, Service, serving, settle
from tests.waiting import SECONDS, until

CLAIM, BEAT, COMPLETE, FAIL = "ClaimTasks", "HeartbeatTasks", "CompleteTask", "FailTask"
RELEASE, SPLIT, INPUT = "ReleaseTask", "SplitTask", "RequestInput"
LEASE = 60


class Desk:
    """A worker at work, and the handler's side of it: what was begun, and how it has ended."""

    def __init__(self, service: Service, worker: Worker) -> None:
        self.service, self.worker, self.clock = service, worker, service.clock
        self.begun: list[Work] = []
        self.stops: list[Any] = []
        self.results: asyncio.Queue[Any] = asyncio.Queue()

    async def handle(self, work: Work) -> Any:
        """Work until the test says how it ends."""
        self.begun.append(work)
        try:
            result = await self.results.get()
        except asyncio.CancelledError:
            self.stops.append(work.stop)
            raise
        if isinstance(result, BaseException):
            raise result
        return await result(work) if callable(result) else result

    async def give(self, *names: str, seconds: int = LEASE) -> Call:
        """Answer the next claim by these tasks; wait until each is begun."""
        call = await self.service.take(CLAIM)
        number = len(self.begun) + len(names)
        call.answer(pb.ClaimTasksResponse(tasks=[claimed(name, seconds) for name in names]))
        await until(lambda: len(self.begun) == number)
        return call

    async def beat(self, *states: pb.LeaseState) -> Call:
        """Answer the next heartbeat, by default that all is held; wait until that is known."""
        call = await self.service.take(BEAT)
        before = self.known()
        call.answer(pb.HeartbeatTasksResponse(leases=states or held(call)))
        await until(lambda: self.known() != before)
        await settle()
        return call

    def known(self) -> list[Any]:
        """What the worker knows of its leases."""
        return [(work.lease.good_until, work.stop) for work in self.begun]

    async def end(self, name: str, result: Any) -> Call:
        """Let the handler end, and take the call that says so."""
        self.results.put_nowait(result)
        return await self.service.take(name)


@asynccontextmanager
async def working(
    handler: Callable[[Work], Awaitable[Any]] | None = None, **options: Any
) -> AsyncIterator[Desk]:
    """A worker that runs in the block, and has to end with it."""
    options = {"project_id": "p", "agent_id": "a", "lease": LEASE, **options}
    async with serving() as (service, tandem), tandem.worker(**options) as worker:
        desk = Desk(service, worker)
        running = asyncio.create_task(worker.run(handler or desk.handle))
        desk.running = running  # type: ignore[attr-defined]
        try:
            yield desk
        finally:
            running.cancel()
            service.end()
            await asyncio.wait([running], timeout=SECONDS)


def claimed(name: str, seconds: int = LEASE) -> pb.ClaimedTask:
    lease = pb.Lease(task_id=name, agent_id="a", fencing_token=7)
    lease.expires_in.FromSeconds(seconds)
    previous = [pb.Attempt(fencing_token=6, outcome=pb.ATTEMPT_OUTCOME_EXPIRED)]
    return pb.ClaimedTask(task=pb.Task(id=name), lease=lease, previous=previous)


def held(call: Call) -> list[pb.LeaseState]:
    state = pb.HeldLease(expires_in=Duration(seconds=LEASE))
    return [pb.LeaseState(task_id=b.task_id, held=state) for b in call.request.heartbeats]


def lost(outcome: Any = pb.ATTEMPT_OUTCOME_OVERRIDDEN) -> pb.LeaseState:
    return pb.LeaseState(lost=pb.LostLease(outcome=outcome))


def beaten(call: Call) -> set[str]:
    return {beat.task_id for beat in call.request.heartbeats}


async def test_a_result_completes_the_task_under_its_lease() -> None:
    async with working(capabilities=["search"]) as desk:
        claim = (await desk.give("one")).request
        assert (claim.project_id, claim.agent_id, claim.max_tasks) == ("p", "a", 1)
        assert (claim.lease_duration.seconds, claim.wait.seconds) == (LEASE, 20)
        assert list(claim.capabilities) == ["search"]
        work = desk.begun[0]
        assert (work.task.id, work.fencing_token, work.previous[0].fencing_token) == ("one", 7, 6)
        call = await desk.end(COMPLETE, {"found": [1, "two"]})
        assert (call.request.task_id, call.request.fencing_token) == ("one", 7)
        assert MessageToDict(call.request.result) == {"found": [1, "two"]}
        call.answer(pb.Task())
        again = await desk.service.take(CLAIM)
        assert again.request.request_id != claim.request_id


@pytest.mark.parametrize(
    ("error", "retryable", "pause", "said"),
    [
        (KeyError("x"), True, None, {"message": "'x'", "type": "KeyError"}),
        (PermanentError("No", page=3), False, None, {"message": "No", "page": 3}),
        (RetryError("Later", 90), True, 90, {"message": "Later", "type": "RetryError"}),
        (asyncio.CancelledError(), True, None, {"message": "CancelledError"}),
    ],
)
async def test_an_exception_fails_the_attempt(
    error: BaseException, retryable: bool, pause: int | None, said: dict[str, Any]
) -> None:
    async with working() as desk:
        await desk.give("one")
        request = (await desk.end(FAIL, error)).request
        assert request.retryable is retryable
        assert (request.retry_after.seconds if request.HasField("retry_after") else None) == pause
        assert said.items() <= MessageToDict(request.error).items()


async def test_a_result_that_is_refused_fails_the_attempt() -> None:
    async with working() as desk:
        await desk.give("one")
        (await desk.end(COMPLETE, {})).refuse(Reason.INVALID_FIELD)
        request = (await desk.service.take(FAIL)).request
        assert (request.task_id, request.retryable) == ("one", True)
        assert "INVALID_FIELD" in request.error["message"]


async def test_a_result_that_is_not_json_fails_the_attempt() -> None:
    async with working() as desk:
        await desk.give("one")
        assert (await desk.end(FAIL, {"it": object()})).request.retryable


async def test_a_claim_whose_answer_is_lost_is_repeated_with_its_request_id() -> None:
    async with working() as desk:
        first = await desk.service.take(CLAIM)
        for _ in range(10):
            first.fail()
            await until_asleep(desk)
            await desk.clock.wait(5.0)
            again = await desk.service.take(CLAIM)
            assert again.request == first.request
            first = again
        first.refuse(Reason.PROJECT_NOT_ACTIVE)
        with pytest.raises(TandemError, match="PROJECT_NOT_ACTIVE"):
            await desk.running  # type: ignore[attr-defined]


async def test_no_answer_without_tasks_is_followed_by_another_claim_at_once() -> None:
    async with working() as desk:
        (await desk.service.take(CLAIM)).answer(pb.ClaimTasksResponse())
        await until_asleep(desk)
        assert desk.service.pending(CLAIM) == 0
        await desk.clock.wait(1.0)
        await desk.service.take(CLAIM)


async def test_a_completion_is_repeated_as_long_as_the_lease_lasts() -> None:
    async with working() as desk:
        await desk.give("one")
        first = call = await desk.end(COMPLETE, None)
        for _ in range(3):
            call.fail()
            await until_asleep(desk)
            await desk.clock.wait(5.0)
            call = await desk.service.take(COMPLETE)
            assert call.request == first.request
            assert call.request.request_id
        await desk.clock.wait(5.0)
        await desk.beat()  # the lease is kept meanwhile
        await desk.clock.wait(100.0)
        call.fail()
        await desk.service.take(CLAIM)
        assert [desk.service.pending(name) for name in (COMPLETE, FAIL)] == [0, 0]


async def test_leases_are_renewed_together_at_every_third() -> None:
    async with working(concurrency=150) as desk:
        await desk.give(*map(str, range(100)))
        await desk.give(*map(str, range(100, 150)))
        for _ in range(3):
            await desk.clock.wait(19.0)
            assert desk.service.pending(BEAT) == 0
            await desk.clock.wait(1.0)
            one, other = await desk.beat(), await desk.beat()
            assert sorted(map(len, (beaten(one), beaten(other)))) == [50, 100]
            assert beaten(one) | beaten(other) == {*map(str, range(150))}
        assert desk.stops == []


async def test_a_lease_counts_from_when_the_last_good_heartbeat_was_sent() -> None:
    async with working() as desk:
        await desk.give("one")
        await desk.clock.wait(20.0)
        sent_at_20 = await desk.service.take(BEAT)
        await desk.clock.wait(15.0)
        sent_at_20.answer(pb.HeartbeatTasksResponse(leases=held(sent_at_20)))
        await until(lambda: desk.begun[0].lease.good_until == 80.0)
        await desk.clock.wait(44.0)
        assert desk.stops == []
        await desk.clock.wait(1.0)
        assert desk.stops == [LeaseLost()]
        assert desk.service.pending(RELEASE) == 0


async def test_a_heartbeat_that_fails_is_sent_again_soon() -> None:
    async with working() as desk:
        await desk.give("one")
        await desk.clock.wait(20.0)
        (await desk.service.take(BEAT)).fail()
        await until(lambda: desk.begun[0].lease.renew_at == 25.0)
        await desk.clock.wait(5.0)
        await desk.beat()
        await desk.clock.wait(59.0)
        assert desk.stops == []


async def test_a_lost_lease_cancels_the_handler_and_nothing_is_written() -> None:
    async with working() as desk:
        await desk.give("one")
        await desk.clock.wait(20.0)
        await desk.beat(lost())
        assert desk.stops == [LeaseLost(pb.ATTEMPT_OUTCOME_OVERRIDDEN)]
        await desk.service.take(CLAIM)
        assert [desk.service.pending(name) for name in (COMPLETE, FAIL, RELEASE)] == [0, 0, 0]


async def test_a_lease_that_may_have_ended_on_the_way_is_renewed_before_the_work_begins() -> None:
    async with working() as desk:
        call = await desk.service.take(CLAIM)
        await desk.clock.wait(61.0)
        call.answer(pb.ClaimTasksResponse(tasks=[claimed("one")]))
        beat = await desk.service.take(BEAT)
        assert desk.begun == []
        beat.answer(pb.HeartbeatTasksResponse(leases=[lost(pb.ATTEMPT_OUTCOME_EXPIRED)]))
        await desk.service.take(CLAIM)
        assert desk.begun == []


async def test_a_request_to_cancel_cancels_the_handler_and_gives_the_task_up() -> None:
    async with working() as desk:
        await desk.give("one")
        await desk.clock.wait(20.0)
        asked = pb.CancelRequest(reason="Enough")
        asked.expires_in.FromSeconds(LEASE)
        asked.deadline_in.FromSeconds(30)
        await desk.beat(pb.LeaseState(cancel_requested=asked))
        assert desk.stops == [CancelRequested("Enough", 30.0)]
        assert (await desk.service.take(RELEASE)).request.fencing_token == 7


async def test_progress_is_kept_at_once_and_renews_the_lease() -> None:
    async with working() as desk:
        await desk.give("one")
        await desk.clock.wait(10.0)
        desk.results.put_nowait(lambda work: work.progress(pages=3))
        call = await desk.beat()
        assert MessageToDict(call.request.heartbeats[0].progress) == {"pages": 3}
        assert (await desk.service.take(COMPLETE)).request.task_id == "one"
        assert desk.begun[0].lease.renew_at == 30.0


@pytest.mark.parametrize(
    ("name", "ends", "answer"),
    [
        (SPLIT, lambda work: work.split(pb.NewTask(ref="part")), pb.SplitTaskResponse()),
        (INPUT, lambda work: work.request_input(pb.Input(key="k")), pb.Task()),
    ],
)
async def test_a_handler_that_ends_the_lease_itself_is_done(
    name: str, ends: Any, answer: Any
) -> None:
    async def end(work: Work) -> None:
        await ends(work)

    async with working() as desk:
        await desk.give("one")
        call = await desk.end(name, end)
        assert (call.request.task_id, call.request.fencing_token) == ("one", 7)
        await desk.clock.wait(20.0)
        beat = await desk.service.take(BEAT)
        beat.answer(pb.HeartbeatTasksResponse(leases=[lost(pb.ATTEMPT_OUTCOME_SPLIT)]))
        work = desk.begun[0]
        await until(lambda: work.lease not in work._leases._held)
        await settle()
        call.answer(answer)
        await desk.service.take(CLAIM)
        assert desk.stops == []
        assert desk.service.pending(COMPLETE) == 0


async def test_no_more_is_claimed_than_may_be_worked_on() -> None:
    async with working(concurrency=3) as desk:
        assert (await desk.give("one", "two")).request.max_tasks == 3
        assert (await desk.give("three")).request.max_tasks == 1
        await settle()
        assert desk.service.pending(CLAIM) == 0
        (await desk.end(COMPLETE, None)).answer(pb.Task())
        assert (await desk.service.take(CLAIM)).request.max_tasks == 1


async def test_at_sigterm_handlers_have_a_time_of_grace_and_then_give_their_tasks_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with working(concurrency=3, grace=30.0) as desk:
        await desk.give("quick", "slow")
        claim = await desk.service.take(CLAIM)
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(claim.cancelled.wait(), SECONDS)
        last = await desk.service.take(CLAIM)
        assert last.request == claim.request
        last.answer(pb.ClaimTasksResponse(tasks=[claimed("late")]))
        late = await desk.service.take(RELEASE)
        assert late.request.task_id == "late"
        late.answer(pb.Task())
        (await desk.end(COMPLETE, None)).answer(pb.Task())
        await desk.clock.wait(29.0)
        assert desk.stops == []
        await desk.beat()
        await desk.clock.wait(1.0)
        assert desk.stops == [Draining()]
        (await desk.service.take(RELEASE)).answer(pb.Task())
        await asyncio.wait_for(desk.running, SECONDS)  # type: ignore[attr-defined]
        assert [work.task.id for work in desk.begun] == ["quick", "slow"]
    assert signal.getsignal(signal.SIGTERM) == before


async def test_a_second_signal_ends_the_time_of_grace() -> None:
    async with working() as desk:
        await desk.give("one")
        desk.worker.drain()
        await settle()
        assert desk.stops == []
        desk.worker.drain()
        (await desk.service.take(RELEASE)).answer(pb.Task())
        await asyncio.wait_for(desk.running, SECONDS)  # type: ignore[attr-defined]
        assert desk.stops == [Draining()]


async def test_a_worker_that_is_cancelled_gives_its_tasks_back() -> None:
    async with working() as desk:
        await desk.give("one")
        desk.running.cancel()  # type: ignore[attr-defined]
        (await desk.service.take(RELEASE)).answer(pb.Task())
        with pytest.raises(asyncio.CancelledError):
            await desk.running  # type: ignore[attr-defined]


async def until_asleep(desk: Desk) -> None:
    """Until the worker waits for one of the next seconds."""
    soon = desk.clock.now + 5.0
    await until(lambda: any(at <= soon and not woken.done() for at, _, woken in desk.clock.asleep))
