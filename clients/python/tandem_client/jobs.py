"""Carries out one task under its lease, and says what has become of it."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from tandem.agent.v1.error_reason_pb2 import ErrorReason
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client.calls import Calls, with_request_id
from tandem_client.errors import TandemError
from tandem_client.leases import LOGGER, LeaseLost, Leases
from tandem_client.retries import is_transient
from tandem_client.waiting import duration
from tandem_client.work import Handler, PermanentError, Result, RetryError, Work, to_struct

if TYPE_CHECKING:
    from tandem.task.v1.task_service_pb2_grpc import TaskServiceAsyncStub

GONE = (ErrorReason.ERROR_REASON_LEASE_LOST, ErrorReason.ERROR_REASON_TASK_NOT_FOUND)
# Of the text of an error, so much is sent.
LONGEST_MESSAGE = 4096


class Job:
    """A task from the claim to its end."""

    def __init__(
        self, work: Work, calls: Calls, tasks: "TaskServiceAsyncStub", leases: Leases
    ) -> None:
        self.work = work
        self._calls = calls
        self._tasks = tasks
        self._leases = leases

    async def run(self, handler: Handler) -> None:
        """Let the handler work while the lease lasts. Raises nothing that the handler raises."""
        work = self.work
        self._leases.hold(work.lease)
        guard = asyncio.create_task(self._guard())
        try:
            if await self._is_held():
                work.begin(handler)
                assert work.handler
                await asyncio.wait([work.handler])
                if not work.ended:
                    await self._settle(work.handler)
        finally:
            guard.cancel()
            self._leases.drop(work.lease)

    async def _guard(self) -> None:
        await self._leases.expiry(self.work.lease)
        self.work.lease.end()

    async def _is_held(self) -> bool:
        """Whether there is time left; an answer that was long on its way may have used it up."""
        lease, now = self.work.lease, self._calls.runtime.now
        if lease.good_until <= now():
            try:
                await self._leases.renew([lease])
            except TandemError as error:
                LOGGER.warning("%s", error)
        return lease.good_until > now()

    async def _settle(self, handler: "asyncio.Future[Result]") -> None:
        if isinstance(self.work.stop, LeaseLost):
            LOGGER.warning("The lease of task %s is lost: %s", self.work.task.id, self.work.stop)
            return
        try:
            await self._end(handler)
        except (TandemError, ValueError) as error:
            LOGGER.warning("How task %s has ended was not taken: %s", self.work.task.id, error)

    async def _end(self, handler: "asyncio.Future[Result]") -> None:
        """Complete, fail or release the task. Raises TandemError."""
        try:
            result = handler.result()
            request = self._completion(result)
        except asyncio.CancelledError as error:
            await (self._release() if self.work.stop else self._fail(error))
        except Exception as error:
            LOGGER.warning("The attempt at task %s has failed.", self.work.task.id, exc_info=error)
            await self._fail(error)
        else:
            await self._complete(request)

    def _completion(self, result: Result) -> pb.CompleteTaskRequest:
        result = None if result is None else to_struct(result)
        return pb.CompleteTaskRequest(**self.work.held(), result=result)

    async def _complete(self, request: pb.CompleteTaskRequest) -> None:
        try:
            await self._send(self._tasks.CompleteTask, request)
        except TandemError as error:
            if error.reason in GONE or is_transient(error):
                raise
            # A result that is refused would be refused again when the lease has expired.
            await self._fail(error)

    async def _release(self) -> None:
        await self._send(self._tasks.ReleaseTask, pb.ReleaseTaskRequest(**self.work.held()))

    async def _fail(self, error: BaseException) -> None:
        message = str(error)[:LONGEST_MESSAGE] or type(error).__name__
        details = {"message": message, "type": type(error).__name__}
        request = pb.FailTaskRequest(**self.work.held(), retryable=True)
        if isinstance(error, PermanentError):
            details |= error.details
            request.retryable = isinstance(error, RetryError)
        if isinstance(error, RetryError):
            request.retry_after.CopyFrom(duration(error.seconds))
        request.error.CopyFrom(to_struct(details))
        await self._send(self._tasks.FailTask, request)

    async def _send(self, method: Callable[[Any], Awaitable[Any]], request: Any) -> None:
        """Send a request until it is answered, as long as the lease lasts. Raises TandemError.

        Each time it has the same `request_id`, so what has happened is answered as it was then.
        """
        request, failures = with_request_id(request), 0
        while True:
            try:
                await method(request)
                return
            except TandemError as error:
                failures += 1
                if not is_transient(error) or isinstance(self.work.stop, LeaseLost):
                    raise
                wait = (error.retry_after or 0.0) + self._calls.retries.backoff(failures)
            await self._calls.runtime.sleep(wait)
