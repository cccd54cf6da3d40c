"""A task in the hands of a worker: what its handler gets, and may do with it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from google.protobuf.struct_pb2 import Struct

from tandem.task.v1 import task_service_pb2 as pb
from tandem_client.leases import Lease, LeaseLost, Leases, Stop

if TYPE_CHECKING:
    from tandem.task.v1.task_service_pb2_grpc import TaskServiceAsyncStub

R = TypeVar("R")
Result: TypeAlias = Mapping[str, Any] | Struct | None
Handler: TypeAlias = Callable[["Work"], Awaitable[Result]]


class PermanentError(Exception):
    """The task has failed, and another attempt would not help. `details` go with the error."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message)
        self.details = details


class RetryError(PermanentError):
    """The attempt has failed; the next one may begin after so many `seconds`."""

    def __init__(self, message: str, seconds: float, **details: Any) -> None:
        super().__init__(message, **details)
        self.seconds = seconds


class Work:
    """A task, and the lease under which the worker holds it.

    task: as it was when it was claimed.
    fencing_token: pass it to what you write to: whoever refuses lower ones than the highest that it
        has seen is safe from a worker that has lost its lease and does not know it yet.
    previous: the last 5 attempts, the latest first, with their errors and progress.
    inputs: what was asked for by `request_input`, and answered.
    stop: why the handler is cancelled; None while it is not. LeaseLost, CancelRequested, Draining.
    """

    def __init__(
        self, claimed: pb.ClaimedTask, sent: float, leases: Leases, tasks: "TaskServiceAsyncStub"
    ) -> None:
        self.task = claimed.task
        self.fencing_token = claimed.lease.fencing_token
        self.previous: Sequence[pb.Attempt] = tuple(claimed.previous)
        self.inputs: Sequence[pb.Input] = tuple(claimed.inputs)
        self.stop: Stop | None = None
        # For the worker.
        self.lease = Lease(claimed.lease, sent, self.cancel)
        self._leases = leases
        self._tasks = tasks
        self.handler: asyncio.Task[Result] | None = None
        self.ended = False

    async def progress(self, **values: Any) -> None:
        """Keep what the next attempt should know, if this one fails: see `previous`.

        It replaces what was kept before, and renews the lease. Raises TandemError.
        """
        await self._leases.renew([self.lease], to_struct(values))

    async def split(self, *parts: pb.NewTask) -> pb.SplitTaskResponse:
        """Create parts of the task, for which it waits from now on: return after that.

        Once they are completed, the task is claimed again, with this agent preferred. Raises
        TandemError.
        """
        request = pb.SplitTaskRequest(**self.held(), tasks=parts)
        return await self._end(self._tasks.SplitTask(request))

    async def request_input(self, wanted: pb.Input) -> pb.Task:
        """Ask for something, for which the task waits from now on: return after that.

        Once it is answered, the task is claimed again, with the answer in `inputs`. Raises
        TandemError.
        """
        request = pb.RequestInputRequest(**self.held(), input=wanted)
        return await self._end(self._tasks.RequestInput(request))

    def begin(self, handler: Handler) -> None:
        """Let the handler work, unless it is to stop already."""
        self.handler = asyncio.ensure_future(handler(self))
        if self.stop:
            self.handler.cancel()

    def held(self) -> dict[str, Any]:
        """What a request under the lease has to say."""
        return {"task_id": self.task.id, "fencing_token": self.fencing_token}

    async def _end(self, call: Awaitable[R]) -> R:
        self.ended = True  # that the lease is lost is no surprise from here on
        try:
            return await call
        except BaseException:
            self.ended = False
            raise

    def cancel(self, why: Stop) -> None:
        """Cancel the handler. Why it was cancelled first stays, unless the lease is lost."""
        lost = isinstance(why, LeaseLost) and not isinstance(self.stop, LeaseLost)
        if self.ended or (self.stop and not lost):
            return
        is_first, self.stop = self.stop is None, why
        if self.handler and is_first:
            self.handler.cancel()


def to_struct(values: Mapping[str, Any] | Struct) -> Struct:
    """The values as a message. Raises ValueError if one is not as in JSON."""
    if isinstance(values, Struct):
        return values
    struct = Struct()
    struct.update(values)
    return struct
