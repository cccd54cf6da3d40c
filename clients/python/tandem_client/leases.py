"""The leases that a worker holds: renewed in time, and lost at the latest when they may have ended.

A lease counts as lost once it has lasted since the last good heartbeat was *sent*, on the clock of
this machine that is never set back. The service ends it later than that, never sooner.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.struct_pb2 import Struct

from tandem.task.v1 import task_service_pb2 as pb
from tandem_client.errors import TandemError
from tandem_client.runtime import Runtime

LOGGER = logging.getLogger("tandem_client")
# The most leases that one call renews.
BATCH_SIZE = 100
# A lease is renewed when this part of it is over,
RENEWED_AFTER = 1 / 3
# and after a failure again after this part. What is due within it goes along with what is due now.
AGAIN_AFTER = 1 / 12


@dataclass(frozen=True)
class LeaseLost:
    """The task is not held any more: nothing may be written that belongs to it.

    `outcome` is how the attempt ended: OVERRIDDEN if someone moved the task, EXPIRED, CANCELLED, …;
    ATTEMPT_OUTCOME_UNSPECIFIED if the task was deleted, or if no heartbeat got through in time.
    """

    outcome: "pb.AttemptOutcome.ValueType" = pb.ATTEMPT_OUTCOME_UNSPECIFIED


@dataclass(frozen=True)
class CancelRequested:
    """Someone wants the task cancelled, which it is in any case in so many `seconds`."""

    reason: str
    seconds: float


@dataclass(frozen=True)
class Draining:
    """The worker stops, and its time is over. The task is given back."""


Stop: TypeAlias = LeaseLost | CancelRequested | Draining


class Lease:
    """The right to work on a task; `on_stop` is told when the work has to end, and why."""

    def __init__(self, lease: pb.Lease, sent: float, on_stop: Callable[[Stop], None]) -> None:
        """`sent`: when it was asked for."""
        self.task_id = lease.task_id
        self.fencing_token = lease.fencing_token
        self.seconds = lease.expires_in.ToNanoseconds() / 1e9
        self.good_until = sent + self.seconds
        self.renew_at = sent + self.seconds * RENEWED_AFTER
        self._on_stop = on_stop

    def take(self, state: pb.LeaseState, sent: float) -> None:
        """What a heartbeat that was sent then has answered."""
        match state.WhichOneof("state"):
            case "held":
                self._extend(sent + state.held.expires_in.ToNanoseconds() / 1e9)
            case "cancel_requested":
                asked = state.cancel_requested
                self._extend(sent + asked.expires_in.ToNanoseconds() / 1e9)
                deadline = asked.deadline_in.ToNanoseconds() / 1e9
                self._on_stop(CancelRequested(asked.reason, deadline))
            case _:
                self._on_stop(LeaseLost(state.lost.outcome))

    def _extend(self, until: float) -> None:
        # Of two heartbeats at once the older one may be answered last.
        self.good_until = max(self.good_until, until)

    def end(self) -> None:
        """No heartbeat has got through in time."""
        self._on_stop(LeaseLost())


class Leases:
    """All leases of a worker, of which each is renewed by itself."""

    def __init__(
        self,
        runtime: Runtime,
        method: Callable[..., Awaitable[Any]],
        project_id: str,
        agent_id: str,
    ) -> None:
        """`method`: HeartbeatTasks of a stub."""
        self._runtime = runtime
        self._method = method
        self._of = {"project_id": project_id, "agent_id": agent_id}
        self._held: set[Lease] = set()
        self._changed = asyncio.Event()

    def hold(self, lease: Lease) -> None:
        """Renew a lease from now on."""
        self._held.add(lease)
        self._changed.set()

    def drop(self, lease: Lease) -> None:
        """Let a lease be."""
        self._held.discard(lease)

    async def run(self) -> None:
        """Renew what is held, when it is due. Has no end."""
        while True:
            self._changed.clear()
            if due := self._due():
                parts = range(0, len(due), BATCH_SIZE)
                await asyncio.gather(*(self._try(due[at : at + BATCH_SIZE]) for at in parts))
            elif self._held:
                next_at = min(lease.renew_at for lease in self._held)
                pause = self._runtime.sleep(next_at - self._runtime.now())
                await first(pause, self._changed.wait())
            else:
                await self._changed.wait()

    def _due(self) -> list[Lease]:
        now = self._runtime.now()
        if all(lease.renew_at > now for lease in self._held):
            return []
        return [each for each in self._held if each.renew_at <= now + each.seconds * AGAIN_AFTER]

    async def _try(self, leases: Sequence[Lease]) -> None:
        try:
            await self.renew(leases)
        except TandemError as error:
            LOGGER.warning("Leases of %d tasks could not be renewed: %s", len(leases), error)

    async def renew(self, leases: Sequence[Lease], progress: Struct | None = None) -> None:
        """Renew some leases, and keep the progress of their tasks. Raises TandemError."""
        sent = self._runtime.now()
        for lease in leases:
            lease.renew_at = sent + lease.seconds * RENEWED_AFTER
        beats = [
            pb.Heartbeat(task_id=each.task_id, fencing_token=each.fencing_token, progress=progress)
            for each in leases
        ]
        seconds = min(lease.seconds for lease in leases) * RENEWED_AFTER
        try:
            request = pb.HeartbeatTasksRequest(heartbeats=beats, **self._of)
            response = await self._method(request, timeout=seconds)
        except TandemError:
            for lease in leases:
                lease.renew_at = self._runtime.now() + lease.seconds * AGAIN_AFTER
            raise
        for lease, state in zip(leases, response.leases, strict=True):
            if state.HasField("lost"):
                self.drop(lease)
            lease.take(state, sent)

    async def expiry(self, lease: Lease) -> None:
        """Return when a lease has not been renewed in time."""
        while (left := lease.good_until - self._runtime.now()) > 0:
            await self._runtime.sleep(left)


async def first(*waits: Awaitable[object]) -> None:
    """Return as soon as one of them has ended; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
