"""A worker: claims tasks for an agent, lets a handler carry them out, and keeps their leases."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from tandem.agent.v1.auth_service_pb2 import CALLER_TYPE_AGENT, WhoAmIRequest
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client.calls import Calls
from tandem_client.errors import TandemError
from tandem_client.jobs import Job
from tandem_client.leases import LOGGER, RENEWED_AFTER, Draining, Leases, first
from tandem_client.retries import is_transient
from tandem_client.waiting import LONGEST_SECONDS, duration
from tandem_client.work import Handler, Work

if TYPE_CHECKING:
    from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceAsyncStub
    from tandem.task.v1.task_service_pb2_grpc import TaskServiceAsyncStub

# The most that ClaimTasks gives at once.
MOST_TASKS = 100
# After an answer without tasks that did not wait as long, the next one is not asked for at once.
PAUSE_SECONDS = 1.0
# How long an answer that was under way is asked for again, when the worker stops.
LAST_SECONDS = 2.0


@dataclass(frozen=True)
class WorkerOptions:
    """How to work, see Tandem.worker."""

    capabilities: Sequence[str]
    concurrency: int
    lease: float
    grace: float
    signals: Sequence[signal.Signals]


class Worker:
    """Claims tasks, as many at once as it may: `await worker.run(handler)`. See Tandem.worker."""

    def __init__(
        self,
        calls: Calls,
        auth: "AuthServiceAsyncStub",
        tasks: "TaskServiceAsyncStub",
        of: tuple[str, str],
        options: WorkerOptions,
    ) -> None:
        """`of`: the ids of the project and the agent, "" for those of the API key."""
        self._calls = calls
        self._auth = auth
        self._tasks = tasks
        self._project_id, self._agent_id = of
        self._options = options
        self._jobs: dict[asyncio.Task[None], Job] = {}
        self._draining, self._hurrying = asyncio.Event(), asyncio.Event()
        self._handled: dict[signal.Signals, Any] = {}

    async def __aenter__(self) -> "Worker":
        await self._introduce()
        self._leases = Leases(
            self._calls.runtime, self._tasks.HeartbeatTasks, self._project_id, self._agent_id
        )
        self._renewing = asyncio.create_task(self._leases.run())
        self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._renewing.cancel()
        for number, handled in self._handled.items():
            asyncio.get_running_loop().remove_signal_handler(number)
            signal.signal(number, handled or signal.SIG_DFL)

    async def run(self, handler: Handler) -> None:
        """Claim tasks and have them handled, until `drain` is called, by a signal for example.

        handler: an asynchronous function of a Work. What it returns, a mapping as in JSON or None,
            is the result that the task is completed with. If it raises an exception the attempt
            has failed, and there is another one, unless it is a PermanentError. If it is cancelled,
            `work.stop` says why.

        Raises TandemError if the service refuses claims for good. In each case it first stops as
        `drain` does; if it is cancelled itself, without a time of grace.
        """
        try:
            while slots := await self._slots():
                claimed, sent = await self._claim(slots)
                for each in claimed:
                    self._begin(Work(each, sent, self._leases, self._tasks), handler)
                if not claimed:
                    await self._pause(sent + PAUSE_SECONDS)
        except asyncio.CancelledError:
            self._hurrying.set()
            raise
        finally:
            await self._finish()

    def drain(self) -> None:
        """Claim nothing any more, give handlers a time of grace, then cancel them, and release.

        Called again, it ends the time of grace.
        """
        if self._draining.is_set():
            self._hurrying.set()
        self._draining.set()

    async def _introduce(self) -> None:
        """Find out whom this works for, if that was not said."""
        if self._project_id and self._agent_id:
            return
        caller = await self._auth.WhoAmI(WhoAmIRequest())
        if caller.caller_type != CALLER_TYPE_AGENT:
            raise ValueError("Without an API key, a worker needs a project_id and an agent_id.")
        self._project_id, self._agent_id = caller.project_id, caller.caller_id

    def _listen(self) -> None:
        """Drain at a signal, where there are signals: not on Windows, and not in threads."""
        with suppress(NotImplementedError, RuntimeError, ValueError):
            for number in self._options.signals:
                handled = signal.getsignal(number)
                asyncio.get_running_loop().add_signal_handler(number, self.drain)
                self._handled[number] = handled

    async def _slots(self) -> int:
        """Wait until there is a task less than may be, and say how many less; 0 is the end."""
        while len(self._jobs) >= self._options.concurrency and not self._draining.is_set():
            ended = asyncio.wait(self._jobs, return_when=asyncio.FIRST_COMPLETED)
            await first(ended, self._draining.wait())
        if self._draining.is_set():
            return 0
        return min(self._options.concurrency - len(self._jobs), MOST_TASKS)

    async def _claim(self, slots: int) -> tuple[Sequence[pb.ClaimedTask], float]:
        """Tasks, none if there are none or the worker drains; and when they were asked for.

        The request is the same until it is answered, so that tasks whose answer was lost are given
        again. Raises TandemError.
        """
        wait = min(self._options.lease * RENEWED_AFTER, LONGEST_SECONDS)
        request = self._request(slots, wait)
        sent, failures = self._calls.runtime.now(), 0
        while not self._draining.is_set():
            try:
                if (claimed := await self._ask(request, wait + self._calls.seconds)) is None:
                    return await self._ask_last(request), sent
                return claimed, sent
            except TandemError as error:
                if not is_transient(error):
                    raise
                failures += 1
                pause = (error.retry_after or 0.0) + self._calls.retries.backoff(failures)
                LOGGER.warning("Tasks could not be claimed: %s", error)
            await self._pause(self._calls.runtime.now() + pause)
        return (), sent

    async def _pause(self, until: float) -> None:
        """Wait, unless it is later, or the worker drains."""
        if (left := until - self._calls.runtime.now()) > 0:
            await first(self._calls.runtime.sleep(left), self._draining.wait())

    def _request(self, slots: int, wait: float) -> pb.ClaimTasksRequest:
        return pb.ClaimTasksRequest(
            project_id=self._project_id,
            agent_id=self._agent_id,
            max_tasks=slots,
            lease_duration=duration(self._options.lease),
            capabilities=self._options.capabilities,
            wait=duration(wait),
            request_id=str(uuid4()),
        )

    async def _ask(
        self, request: pb.ClaimTasksRequest, seconds: float
    ) -> Sequence[pb.ClaimedTask] | None:
        """What the service answers; None if the worker drains before that."""
        call = asyncio.ensure_future(self._send(request, seconds))
        await first(call, self._draining.wait())
        return None if call.cancelled() else call.result()

    async def _send(
        self, request: pb.ClaimTasksRequest, seconds: float
    ) -> Sequence[pb.ClaimedTask]:
        response: pb.ClaimTasksResponse = await self._tasks.ClaimTasks(request, timeout=seconds)
        return response.tasks

    async def _ask_last(self, request: pb.ClaimTasksRequest) -> Sequence[pb.ClaimedTask]:
        """The tasks that the service may have given while the call was cancelled."""
        try:
            return await self._send(request, LAST_SECONDS)
        except TandemError:
            return ()  # their leases expire

    def _begin(self, work: Work, handler: Handler) -> None:
        job = Job(work, self._calls, self._tasks, self._leases)
        task = asyncio.create_task(job.run(handler))
        self._jobs[task] = job
        if self._draining.is_set():
            work.cancel(Draining())
        task.add_done_callback(lambda ended: self._jobs.pop(ended))

    async def _finish(self) -> None:
        self._draining.set()
        if self._jobs:
            ended = asyncio.wait(self._jobs)
            await first(
                ended, self._calls.runtime.sleep(self._options.grace), self._hurrying.wait()
            )
        for job in self._jobs.values():
            job.work.cancel(Draining())
        if self._jobs:
            await asyncio.wait(self._jobs)
