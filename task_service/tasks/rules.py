"""What may happen to tasks: one method, one use case, one transaction."""

from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.auth.caller import Agent, Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.dependents.rules import follow, propagate, recount
from shared.errors import (
    Reason,
    Refusal,
    assignee_not_found,
    caller_inactive,
    invalid_transition,
    lease_lost,
    lease_required,
    not_found,
)
from shared.events.recording import Change, Log, Recorder
from shared.resources import leases
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.membership import unless_of_project
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import (
    PROJECTS,
    InsertIf,
    ProjectScopedTable,
    Refusals,
    Values,
    as_new,
    require_revision,
)
from shared.resources.validation import Parsed, as_uuid
from shared.schema import (
    FK_TASKS_ASSIGNED_AGENT,
    FK_TASKS_ASSIGNED_USER,
    FK_TASKS_CREATED_BY,
    FK_TASKS_CREATED_BY_AGENT,
    FK_TASKS_PARENT,
    FK_TASKS_PROJECT,
    FK_TASKS_ROOM,
)
from task_service.assignees import Assignee, Assignees
from task_service.tasks import edges, queries
from task_service.tasks.assigning import queries as assigning
from task_service.tasks.lifecycle import ENDED, MOVES, sources
from task_service.tasks.queries import GOING, TASKS
from task_service.tasks.whole import Whole, alone_or_whole

REFUSALS: Refusals = {
    FK_TASKS_PROJECT: lambda task: not_found(Reason.PROJECT_NOT_FOUND, task["project_id"]),
    FK_TASKS_ROOM: lambda task: not_found(Reason.ROOM_NOT_FOUND, task["room_id"]),
    FK_TASKS_PARENT: lambda task: not_found(Reason.TASK_NOT_FOUND, task["parent_id"]),
    FK_TASKS_ASSIGNED_AGENT: lambda task: assignee_not_found(task["assigned_agent_id"], "agent"),
    FK_TASKS_ASSIGNED_USER: lambda task: assignee_not_found(task["assigned_user_id"], "user"),
    FK_TASKS_CREATED_BY: lambda _task: caller_inactive(),
    FK_TASKS_CREATED_BY_AGENT: lambda _task: caller_inactive(),
}


async def _not_assignable(connection: Connection, task: Values) -> Refusal:
    """The refusal of a user who is neither owner nor member of the project by now."""
    user_id = task["assigned_user_id"]
    missing = assignee_not_found(user_id, "user")
    return await unless_of_project(connection, task["project_id"], user_id, missing)


def _not_moved(found: Record, wanted: str) -> Exception:
    """Why a move was declined: it is refused, or needs a transaction."""
    status = found["found_status"]
    if wanted not in MOVES[status]:
        return invalid_transition("TASK_STATUS", status, wanted, MOVES[status])
    if wanted in GOING and found["found_open_dependencies"]:
        message = "The task waits for dependencies that are not completed."
        return Refusal(Reason.DEPENDENCY_NOT_COMPLETED, message)
    return Whole()


async def _end_lease(connection: Connection, caller: Caller, task: Record, values: Values) -> bool:
    """End the lease of a task that is locked, if it has one; whether the task was for all before.

    Raises Refusal: LEASE_REQUIRED, LEASE_LOST.
    """
    fence = values.get("fence")
    if not task["leased"] and fence is None:
        return False
    is_holder = isinstance(caller, Agent) and task["assigned_agent_id"] == caller.id
    if fence is None and is_holder:
        raise lease_required(task["id"])
    if not task["leased"] or fence not in (None, task["fence"]):
        raise lease_lost(task["id"], None)
    outcome = OUTCOMES.get(values["status"], "released") if is_holder else "overridden"
    ids = {"project_id": task["project_id"], "task_id": task["id"]}
    lease = await leases.END.row(connection, **ids, outcome=outcome)
    return bool(lease and lease["pooled"])


# How the attempt ends of an agent that moves its task to one of these.
OUTCOMES = {status: status for status in ENDED}
FOR_USER = InsertIf(queries.create_for_user, _not_assignable)
CREATE, MANAGE = Permission.CREATE_TASKS, Permission.MANAGE_TASKS
MOVE, CHECK = Permission.MOVE_TASKS, Permission.CHECK_TASKS


class TaskRules:
    """The use cases of tasks."""

    def __init__(self, database: Database, assignees: Assignees) -> None:
        self._database = database
        self._assignees = assignees

    async def create(self, call: IdempotentCall[M], project_id: str, task: Parsed[Values]) -> M:
        """Create a task, pending unless it waits for others."""

        async def work(connection: Connection, log: Recorder) -> Record:
            values = await PROJECTS.content(connection, call.caller, project_id, task, CREATE)
            values = {"id": uuid7(), **call.caller.as_creator, **values}
            condition = FOR_USER if values.get("assigned_user_id") else None
            if values["dependencies"] and edges.waits(values):
                values |= await edges.lock_for_new(connection, call.caller, values)
            row = await TASKS.insert(connection, log, call.caller, values, REFUSALS, condition)
            if row["dependencies"]:
                await edges.add_new(connection, row)
            if row["parent_id"]:
                await edges.require_depth(connection, row["parent_id"])
            return row

        if task.refusal is not None:
            return await call.single(self._database, work)
        values = task.value
        if values.get("assigned_agent_id") or values.get("assigned_user_id"):
            stored, _ = await self._before_asking(call, PROJECTS, project_id, CREATE)
            if stored is not None:
                return stored
            await self._assignees.require(UUID(project_id), Assignee.of(values))
        refers = values["dependencies"] or values.get("parent_id")
        run = call.transaction if refers else call.single
        return await run(self._database, work)

    async def get(self, caller: Caller, task_id: UUID) -> Record:
        """One task."""
        return await self._database.read(lambda c: TASKS.get(c, caller, task_id))

    async def get_many(self, caller: Caller, task_ids: Sequence[UUID]) -> list[Record]:
        """Many tasks in the order of their ids; all or nothing."""
        return await self._database.read(lambda c: queries.GET_MANY.get(c, caller, task_ids))

    async def list(self, caller: Caller, project_id: str, query: Parsed[Query]) -> Listing:
        """A page of tasks."""
        return await self._database.read(
            lambda c: queries.LIST.page(c, caller, PROJECTS, project_id, query)
        )

    async def count(
        self, caller: Caller, project_id: str, filters: Parsed[Values]
    ) -> Sequence[Record]:
        """How many tasks have each status."""
        return await self._database.read(
            lambda c: queries.LIST.counts(c, caller, PROJECTS, project_id, filters)
        )

    async def update(
        self, call: IdempotentCall[M], task_id: str, revision: int, changes: Parsed[Values]
    ) -> M:
        """Change some fields of a task."""

        async def work(connection: Connection, log: Recorder) -> Record:
            return await TASKS.update(
                connection, log, call.caller, task_id, revision, changes, REFUSALS
            )

        async def with_dependencies(connection: Connection, log: Log) -> Record:
            before = await edges.lock(connection, call.caller, UUID(task_id))
            row = await work(connection, log)
            if row["dependencies"] == before["dependencies"]:
                return row
            return await edges.write(connection, log, row, before["dependencies"])

        if changes.refusal is None and "dependencies" in changes.value:
            return await call.transaction(self._database, with_dependencies)
        return await call.single(self._database, work)

    async def delete(
        self, call: IdempotentCall[M], task_id: str, revision: Parsed[int], *, force: bool
    ) -> M:
        """Delete a task on which no other depends; with `force` none will.

        It is locked first: a call that creates a task upon it either has committed before, and is
        found here, or waits and then finds no task.
        """

        async def work(connection: Connection, log: Log) -> None:
            given = await TASKS.content(connection, call.caller, task_id, revision)
            lock = edges.lock if force else TASKS.lock
            task = await lock(connection, call.caller, UUID(task_id))
            require_revision(given, task["revision"])
            await edges.detach(connection, log, task, force=force)
            await TASKS.delete(connection, log, task["id"])

        return await call.transaction(self._database, work)

    async def assign(
        self, call: IdempotentCall[M], task_id: str, revision: int, assignee: Parsed[Assignee]
    ) -> M:
        """Assign a task, in place of its assignee.

        The statement decides whether the assignee is deleted or removed meanwhile.
        """
        stored, task = await self._before_asking(call, TASKS, task_id, MANAGE)
        if stored is not None:
            return stored
        known = assignee.value
        assert task is not None, "a malformed id is refused with the rest of the content"
        await self._assignees.require(task["project_id"], known)

        change = assigning.ASSIGN_AGENT if known.kind == "agent" else assigning.ASSIGN_USER

        async def work(connection: Connection, log: Recorder, how: Change) -> Record:
            new = {"assignee_id": known.id, **as_new(known.columns)}
            with translate_violations(REFUSALS, known.columns):
                outcome = await TASKS.decide(
                    connection, log, call.caller, how, UUID(task_id), revision=revision, **new
                )
            if outcome.row is None:
                if how is change.alone:
                    raise Whole  # it may have waited for the end of a lease, and not seen that
                values = {"project_id": task["project_id"], **known.columns}
                raise await _not_assignable(connection, values)
            return outcome.row

        return await self._reassign(call, task_id, change, work, known.id)

    async def unassign(self, call: IdempotentCall[M], task_id: str, revision: Parsed[int]) -> M:
        """Take the assignee off a task."""

        async def work(connection: Connection, log: Recorder, how: Change) -> Record:
            given = await TASKS.content(connection, call.caller, task_id, revision)
            outcome = await TASKS.decide(
                connection, log, call.caller, how, UUID(task_id), revision=given
            )
            if outcome.row is None:
                raise Whole
            return outcome.row

        return await self._reassign(call, task_id, assigning.UNASSIGN, work)

    async def _reassign(
        self,
        call: IdempotentCall[M],
        task_id: str,
        change: assigning.Reassignment,
        work: Callable[[Connection, Recorder, Change], Awaitable[Record]],
        assignee_id: UUID | None = None,
    ) -> M:
        """Run `work` with the change. A lease ends unless the agent that holds it is the assignee.

        The assignee, if there is one, is locked before the task.
        """

        async def whole(connection: Connection, log: Log) -> Record:
            ids: Values = {"id": UUID(task_id), "assignee_id": assignee_id}
            await change.lock.run(connection, **{name: ids[name] for name in change.lock.names})
            task = await TASKS.lock(connection, call.caller, UUID(task_id))
            if task["leased"] and task["assigned_agent_id"] == assignee_id:
                return await work(connection, log, change.alone)
            if task["leased"]:
                of_task = {"project_id": task["project_id"], "task_id": task["id"]}
                await leases.END.run(connection, **of_task, outcome="overridden")
            row = await work(connection, log, change.whole)
            return await follow(connection, log, row, task["status"])

        return await alone_or_whole(
            call, self._database, lambda c, log: work(c, log, change.alone), whole
        )

    async def move(
        self,
        call: IdempotentCall[M],
        task_id: str,
        revision: int,
        move: Parsed[Values],
    ) -> M:
        """Move a task to another status, with or without a result.

        A lease under which it is held ends: the agent that holds it gives its `fence`.
        """

        async def alone(connection: Connection, log: Recorder) -> Record:
            values = await TASKS.content(connection, call.caller, task_id, move, MOVE)
            if "fence" in values:
                raise Whole
            how = queries.MOVE_WITH_RESULT if "result" in values else queries.MOVE
            return await self._move(connection, log, call, task_id, revision, values, how.alone)

        async def whole(connection: Connection, log: Log) -> Record:
            values = await TASKS.content(connection, call.caller, task_id, move, MOVE)
            before = await TASKS.lock(connection, call.caller, UUID(task_id), MOVE)
            pooled = await _end_lease(connection, call.caller, before, values)
            how = queries.MOVE_WITH_RESULT if "result" in values else queries.MOVE
            row = await self._move(
                connection, log, call, task_id, revision, values, how.whole, pooled=pooled
            )
            if row["has_dependents"]:
                await propagate(connection, log, row, before["status"])
            return row

        return await alone_or_whole(call, self._database, alone, whole)

    async def _move(
        self,
        connection: Connection,
        log: Recorder,
        call: IdempotentCall[M],
        task_id: str,
        revision: int,
        values: Values,
        change: Change,
        **others: bool,
    ) -> Record:
        wanted = values["status"]
        outcome = await TASKS.decide(
            connection,
            log,
            call.caller,
            change,
            UUID(task_id),
            MOVE,
            revision=revision,
            sources=sources(wanted),
            **others,
            **as_new({name: value for name, value in values.items() if name != "fence"}),
        )
        if outcome.row is None:
            raise _not_moved(outcome.found, wanted)
        return outcome.row

    async def verify(
        self, caller: Caller, task_id: str, project_id: str, wanted: Parsed[Sequence[UUID]]
    ) -> None:
        """Refuse dependencies that a task, or a new task of a project, cannot have."""

        async def unit_of_work(connection: Connection) -> None:
            if task := await TASKS.require(connection, caller, task_id, CHECK):
                project, waits = task["project_id"], edges.waits(task)
            else:
                await PROJECTS.require(connection, caller, project_id, CHECK)
                project, waits = as_uuid(project_id), False
            known = as_uuid(task_id)
            await edges.require(connection, project, known, wanted.value, locked=False, waits=waits)

        await self._database.read(unit_of_work)

    async def add_dependency(
        self, call: IdempotentCall[M], task_id: str, revision: int, dependency: Parsed[UUID]
    ) -> M:
        """Let a task depend on one more, which comes last in its list."""

        async def work(connection: Connection, log: Log) -> Record:
            known = await TASKS.content(connection, call.caller, task_id, dependency)
            added = str(known)
            before = await edges.lock(connection, call.caller, UUID(task_id))
            listed = before["dependencies"]
            wanted = listed if added in listed else [*listed, added]
            row = await edges.relist(connection, log, call.caller, before["id"], revision, wanted)
            if added in listed:
                return row
            edges.require_room(wanted)
            return await edges.write(connection, log, row, listed)

        return await call.transaction(self._database, work)

    async def remove_dependency(
        self, call: IdempotentCall[M], task_id: str, revision: int, dependency: Parsed[UUID]
    ) -> M:
        """Let a task depend on one less. What is left was possible, and need not be any more."""

        async def work(connection: Connection, log: Log) -> Record:
            known = await TASKS.content(connection, call.caller, task_id, dependency)
            removed = str(known)
            before = await edges.lock(connection, call.caller, UUID(task_id))
            left = [task for task in before["dependencies"] if task != removed]
            row = await edges.relist(connection, log, call.caller, before["id"], revision, left)
            await edges.drop(connection, row)
            return await recount(connection, log, row) if edges.waits(row) else row

        return await call.transaction(self._database, work)

    async def _before_asking(
        self, call: IdempotentCall[M], table: ProjectScopedTable, row_id: str, needed: Permission
    ) -> tuple[M | None, Record | None]:
        """The stored response to a call that is repeated, else the row for which it is permitted.

        No connection is kept while the agent service is asked: it may take seconds.
        """

        async def unit_of_work(connection: Connection) -> tuple[M | None, Record | None]:
            stored = await call.stored_response(connection)
            if stored is not None:
                return stored, None
            return None, await table.require(connection, call.caller, row_id, needed)

        return await self._database.read(unit_of_work)
