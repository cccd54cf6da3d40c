"""The wait for a task: it is looked at, then followed, looked at again, and so on at news of it."""

from time import monotonic
from typing import NamedTuple
from uuid import UUID

from shared.auth.authenticator import Authenticator
from shared.auth.caller import Call, Caller, current_call
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.grpc_server.parking import parked
from shared.resources.validation import Parsed
from task_service.events.waiting import Followed, Waiter, Waiters
from task_service.tasks.lifecycle import ENDED
from task_service.tasks.queries import TASKS

# A wait ends so long before the deadline of its call, so that the answer comes in time.
MARGIN_SECONDS = 0.2
READ = Permission.READ_TASKS


class Wait(NamedTuple):
    """How long to wait, and for what: for a revision above this one, if any, or for the end."""

    seconds: float
    revision: int | None

    def is_enough(self, task: Record) -> bool:
        """Whether this is what is waited for."""
        is_newer = self.revision is not None and task["revision"] > self.revision
        return is_newer or task["status"] in ENDED


def end_of(call: Call, seconds: float, begun: float) -> float:
    """When a wait ends that has begun and is to take some seconds, by time.monotonic()."""
    left = call.time_remaining()
    end = begun + seconds
    return end if left is None else min(end, monotonic() + left - MARGIN_SECONDS)


class WaitRules:
    """The use case."""

    def __init__(self, database: Database, authenticator: Authenticator, waiters: Waiters) -> None:
        self._database = database
        self._authenticator = authenticator
        self._waiters = waiters

    async def wait(self, task_id: str, parsed: Parsed[Wait]) -> Record:
        """The task once it has ended or has a newer revision, or else as it is at the end.

        It is read as its caller reads it then. Between two looks the call is parked.
        """
        call = current_call.get()
        assert call.caller is not None, "the interceptor has refused all others"
        begun, first = monotonic(), call.caller
        task = await self._database.read(lambda c: _first(c, first, task_id, parsed))
        wait = parsed.value
        end = end_of(call, wait.seconds, begun)
        if wait.is_enough(task) or monotonic() >= end:
            return task
        waiter = Waiter(call, task["id"], wait.is_enough)
        with self._waiters.join(task["project_id"], waiter) as followed:
            while True:
                task = await self._look(waiter, followed)
                if wait.is_enough(task) or (seconds := end - monotonic()) <= 0:
                    return task
                waiter.has_seen(task)
                async with parked():
                    await waiter.woken(seconds)

    async def _look(self, waiter: Waiter, followed: Followed) -> Record:
        """The task as it is now, for the caller as that is now."""
        waiter.begin_to_look()
        proof = await self._authenticator.authenticate((f"Bearer {waiter.call.token}",))

        async def unit_of_work(connection: Connection) -> Record:
            await followed.begin(connection)
            return await TASKS.get(connection, proof.caller, waiter.task_id)

        return await self._database.read(unit_of_work)


async def _first(
    connection: Connection, caller: Caller, task_id: str, parsed: Parsed[Wait]
) -> Record:
    await TASKS.content(connection, caller, task_id, parsed, READ)
    return await TASKS.get(connection, caller, UUID(task_id))
