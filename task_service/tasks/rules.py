"""What may happen to tasks: one method, one use case, one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.auth.access import as_uuid, require_project
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.errors import Reason, Refusal, caller_inactive, invalid_transition, not_found
from shared.resources.idempotency import M, Mutation
from shared.resources.listing import Listing, Query
from shared.resources.project_scoped import created, require_revision
from shared.resources.validation import read_after_access
from shared.schema import (
    FK_TASKS_ASSIGNED_AGENT,
    FK_TASKS_ASSIGNED_USER,
    FK_TASKS_CREATED_BY,
    FK_TASKS_PROJECT,
    FK_TASKS_ROOM,
)
from task_service.assignees import Assignee, Assignees
from task_service.tasks import edges, queries
from task_service.tasks.lifecycle import MOVES, sources
from task_service.tasks.queries import TASKS

T = TypeVar("T")
Values = dict[str, Any]

REFERENCES = {
    FK_TASKS_PROJECT: ("project_id", Reason.PROJECT_NOT_FOUND),
    FK_TASKS_ROOM: ("room_id", Reason.ROOM_NOT_FOUND),
    FK_TASKS_ASSIGNED_AGENT: ("assigned_agent_id", Reason.ASSIGNEE_NOT_FOUND),
    FK_TASKS_ASSIGNED_USER: ("assigned_user_id", Reason.ASSIGNEE_NOT_FOUND),
}


class TaskRules:
    """The use cases of tasks."""

    def __init__(self, database: Database, assignees: Assignees) -> None:
        self._database = database
        self._assignees = assignees

    async def create(
        self,
        call: Mutation[M],
        project_id: str,
        read: Callable[[], Values],
        *,
        assigned: bool,
        dependent: bool,
    ) -> M:
        """Create a task, pending; `assigned` and `dependent` say whether it is."""

        async def access(connection: Connection) -> None:
            await require_project(connection, call.caller, project_id)

        async def work(connection: Connection) -> Record:
            values = await read_after_access(read, partial(access, connection))
            row = await self._insert(connection, call.caller, values)
            if dependent:
                wanted = edges.listed(row)
                await edges.require(connection, row["project_id"], None, wanted, held=True)
                await edges.write(connection, row)
            return row

        if assigned:
            first, _ = await self._before_asking(call, access)
            if first is not None:
                return first
            values = read()
            await self._assignees.require(values["project_id"], Assignee.of(values))
        unit = call.transaction if dependent else call.single
        return await unit(self._database, work)

    async def get(self, caller: Caller, task_id: UUID) -> Record:
        """One task."""
        return await self._database.read(lambda c: TASKS.get(c, caller, task_id))

    async def list(self, caller: Caller, project_id: str, read: Callable[[], Query]) -> Listing:
        """A page of tasks."""
        access = partial(require_project, caller=caller, project_id=project_id)
        return await queries.LIST.page(self._database, caller, read, access)

    async def update(
        self,
        call: Mutation[M],
        task_id: str,
        revision: int,
        read: Callable[[], Values],
        *,
        dependent: bool,
    ) -> M:
        """Change some fields of a task; `dependent`: its dependencies are among them."""

        async def work(connection: Connection) -> Record:
            access = partial(self._require_task, connection, call.caller, task_id)
            values = await read_after_access(read, access)
            if not dependent:
                return await self._update(connection, call.caller, UUID(task_id), revision, values)
            before = await edges.hold(connection, call.caller, UUID(task_id))
            row = await self._update(connection, call.caller, UUID(task_id), revision, values)
            if row["dependencies"] != before["dependencies"]:
                wanted = edges.listed(row)
                await edges.require(connection, row["project_id"], row["id"], wanted, held=True)
                await edges.write(connection, row)
            return row

        unit = call.transaction if dependent else call.single
        return await unit(self._database, work)

    async def delete(
        self, call: Mutation[M], task_id: str, read: Callable[[], int], *, force: bool
    ) -> M:
        """Delete a task that nothing depends on; with `force` nothing will.

        It is locked first: whoever creates a task upon it either has committed before, and is found
        here, or waits and then finds no task.
        """

        async def work(connection: Connection) -> None:
            access = partial(self._require_task, connection, call.caller, task_id)
            revision = await read_after_access(read, access)
            lock = edges.hold if force else TASKS.lock
            task = await lock(connection, call.caller, UUID(task_id))
            require_revision(revision, task["revision"])
            await edges.release(connection, task, force=force)
            await queries.DELETE.run(connection, id=task["id"])

        return await call.transaction(self._database, work)

    async def assign(self, call: Mutation[M], task_id: str, read: Callable[[], Assignee]) -> M:
        """Assign a task, in place of whom it was assigned to.

        Whether the assignee is deleted meanwhile is decided by the foreign keys.
        """
        access = partial(self._require_task, caller=call.caller, task_id=task_id)
        first, task = await self._before_asking(call, access)
        if first is not None:
            return first
        assignee = read()
        assert task is not None
        await self._assignees.require(task["project_id"], assignee)

        async def work(connection: Connection) -> Record:
            columns = assignee.columns
            with translate_violations(_dangling(columns)):
                row = await queries.ASSIGN[assignee.kind].row(
                    connection,
                    **call.caller.rights,
                    id=UUID(task_id),
                    revision=0,
                    assignee_id=assignee.id,
                    **{f"new_{name}": value for name, value in columns.items()},
                )
            return TASKS.written(row, call.caller, UUID(task_id))

        return await call.single(self._database, work)

    async def unassign(self, call: Mutation[M], task_id: str, read: Callable[[], None]) -> M:
        """Take the assignee off a task."""

        async def work(connection: Connection) -> Record:
            access = partial(self._require_task, connection, call.caller, task_id)
            await read_after_access(read, access)
            row = await queries.UNASSIGN.row(
                connection, **call.caller.rights, id=UUID(task_id), revision=0
            )
            return TASKS.written(row, call.caller, UUID(task_id))

        return await call.single(self._database, work)

    async def move(self, call: Mutation[M], task_id: str, read: Callable[[], Values]) -> M:
        """Move a task to another status, with or without a result."""

        async def work(connection: Connection) -> Record:
            access = partial(self._require_task, connection, call.caller, task_id)
            values = await read_after_access(read, access)
            answer = await queries.move(with_result="result" in values).row(
                connection,
                **call.caller.rights,
                id=UUID(task_id),
                revision=0,
                sources=sources(values["status"]),
                **{f"new_{name}": value for name, value in values.items()},
            )
            row = TASKS.written(answer, call.caller, UUID(task_id))
            if row["id"] is None:
                found = row["found_status"]
                raise invalid_transition(found, values["status"], MOVES[found])
            return row

        return await call.single(self._database, work)

    async def verify(
        self, caller: Caller, task_id: str, project_id: str, read: Callable[[], Sequence[UUID]]
    ) -> None:
        """Refuse dependencies that a task, or a new task of a project, cannot have."""

        async def work(connection: Connection) -> None:
            if task := await self._require_task(connection, caller, task_id):
                project = task["project_id"]
            else:
                await require_project(connection, caller, project_id)
                project = as_uuid(project_id)
            await edges.require(connection, project, as_uuid(task_id), read(), held=False)

        await self._database.read(work)

    async def _insert(self, connection: Connection, caller: Caller, values: Values) -> Record:
        with translate_violations({**_dangling(values), FK_TASKS_CREATED_BY: caller_inactive()}):
            answer = await queries.CREATE.row(
                connection, **caller.rights, id=uuid7(), created_by=caller.id, **values
            )
        return created(answer, caller, values["project_id"])

    async def _update(
        self, connection: Connection, caller: Caller, task_id: UUID, revision: int, values: Values
    ) -> Record:
        with translate_violations(_dangling(values)):
            row = await queries.update_fields(frozenset(values)).row(
                connection,
                **caller.rights,
                id=task_id,
                revision=revision,
                **{f"new_{name}": value for name, value in values.items()},
            )
        return TASKS.written(row, caller, task_id, revision)

    async def _before_asking(
        self, call: Mutation[M], access: Callable[[Connection], Awaitable[T]]
    ) -> tuple[M | None, T | None]:
        """The first answer of a call that is repeated, else what `access` finds.

        No connection is held while the agent service is asked: it may take seconds.
        """

        async def work(connection: Connection) -> tuple[M | None, T | None]:
            first = await call.first_answer(connection)
            return first, None if first is not None else await access(connection)

        return await self._database.read(work)

    async def _require_task(
        self, connection: Connection, caller: Caller, task_id: str
    ) -> Record | None:
        known = as_uuid(task_id)
        return None if known is None else await TASKS.get(connection, caller, known)


def _dangling(values: Values) -> dict[str, Refusal]:
    return {
        constraint: not_found(reason, values[column])
        for constraint, (column, reason) in REFERENCES.items()
        if values.get(column)
    }
