"""What may happen to many tasks at once."""

import asyncio
from collections.abc import Iterable, Sequence
from uuid import UUID

from shared.auth.caller import Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import Reason, all_not_found, invalid_field
from shared.events.recording import Log
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.project_scoped import PROJECTS, require_insertable
from shared.resources.validation import Parsed
from task_service.assignees import Assignee, Assignees
from task_service.graph import queries
from task_service.graph.batch import Batch, New
from task_service.graph.creation import create_all
from task_service.graph.path import Node, critical_path
from task_service.graph.shape import Graph, Origin, Parts, Split
from task_service.graph.splitting import split
from task_service.tasks.queries import TASKS, lock_referenced

CREATE, CHECK = Permission.CREATE_TASKS, Permission.CHECK_TASKS
CLAIM = Permission.CLAIM_TASKS
# Questions to the agent service that are asked at once.
AT_ONCE = 20
MAXIMUM_EDGES = 20_000
DIRECTIONS = {"dependencies": queries.DEPENDENCIES, "dependents": queries.DEPENDENTS}


class GraphRules:
    """The use cases of many tasks at once."""

    def __init__(self, database: Database, assignees: Assignees) -> None:
        self._database = database
        self._assignees = assignees

    async def create_batch(
        self, call: IdempotentCall[M], project_id: str, batch: Parsed[Batch]
    ) -> M:
        """Create tasks that may refer to each other, all or none."""

        async def work(connection: Connection, log: Log) -> list[Record]:
            known = await PROJECTS.content(connection, call.caller, project_id, batch, CREATE)
            creator = {"project_id": UUID(project_id), **call.caller.as_creator}
            locking = lock_referenced(frozenset(creator))
            project = await locking.row(connection, {**call.caller.rights, **creator})
            require_insertable(project, call.caller, CREATE, UUID(project_id))
            return await create_all(connection, log, call.caller, UUID(project_id), known)

        if batch.refusal is None and (assignees := _assignees(batch.value.tasks)):
            stored = await self._before_asking(call, project_id)
            if stored is not None:
                return stored
            await self.require_assignees(UUID(project_id), assignees)
        return await call.transaction(self._database, work)

    async def split(self, call: IdempotentCall[M], task_id: str, parsed: Parsed[Split]) -> M:
        """Split a task under a lease, which ends: it waits for the parts that are created."""

        async def work(connection: Connection, log: Log) -> Parts:
            asked = await TASKS.content(connection, call.caller, task_id, parsed, CLAIM)
            return await split(connection, log, call.caller, UUID(task_id), asked)

        if parsed.refusal is None and (assignees := _assignees(parsed.value.parts.tasks)):
            stored, task = await self._before_splitting(call, task_id)
            if stored is not None:
                return stored
            assert task is not None, "a malformed id is refused with the rest of the content"
            await self.require_assignees(task["project_id"], assignees)
        return await call.transaction(self._database, work)

    async def _before_splitting(
        self, call: IdempotentCall[M], task_id: str
    ) -> tuple[M | None, Record | None]:
        """As `_before_asking`, and the task."""

        async def unit_of_work(connection: Connection) -> tuple[M | None, Record | None]:
            stored = await call.stored_response(connection)
            if stored is not None:
                return stored, None
            return None, await TASKS.require(connection, call.caller, task_id, CLAIM)

        return await self._database.read(unit_of_work)

    async def require_assignees(self, project_id: UUID, assignees: Sequence[Assignee]) -> None:
        """Ask the agent service whether tasks of a project can be assigned to each of these."""
        for start in range(0, len(assignees), AT_ONCE):
            some = assignees[start : start + AT_ONCE]
            await asyncio.gather(*(self._assignees.require(project_id, each) for each in some))

    async def graph(
        self, caller: Caller, project_id: str, roots: Sequence[str], origin: Parsed[Origin]
    ) -> Graph:
        """Tasks and the dependencies between them: of a project, or from roots."""

        async def unit_of_work(connection: Connection) -> Graph:
            if origin.refusal is not None:
                if project_id:
                    await PROJECTS.require(connection, caller, project_id, CHECK)
                for root in roots[:1]:
                    await TASKS.require(connection, caller, root, CHECK)
            asked = origin.value
            if asked.roots:
                nodes = await _reached(connection, caller, asked)
            else:
                await PROJECTS.get(connection, caller, UUID(asked.project_id), CHECK)
                nodes = await queries.NEWEST.rows(
                    connection, project_id=UUID(asked.project_id), room=asked.maximum + 1
                )
            return await _between(connection, nodes, asked.maximum)

        return await self._database.read(unit_of_work)

    async def _before_asking(self, call: IdempotentCall[M], project_id: str) -> M | None:
        """The stored response to a call that is repeated, unless it is refused.

        No connection is kept while the agent service is asked: it may take seconds.
        """

        async def unit_of_work(connection: Connection) -> M | None:
            stored = await call.stored_response(connection)
            if stored is None:
                await PROJECTS.require(connection, call.caller, project_id, CREATE)
            return stored

        return await self._database.read(unit_of_work)


async def _reached(connection: Connection, caller: Caller, asked: Origin) -> list[Record]:
    """The roots, then what is reached from them, one more than was asked for at most."""
    project_id = await _project_of(connection, caller, asked.roots)
    found = dict.fromkeys(asked.roots)
    for direction in asked.directions:
        level: Sequence[UUID] = asked.roots
        seen = dict.fromkeys(asked.roots)
        for _ in range(asked.depth):
            if not level or len(found) > asked.maximum:
                break
            room = asked.maximum + 1
            rows = await DIRECTIONS[direction].rows(
                connection, project_id=project_id, ids=list(level), seen=list(seen), room=room
            )
            level = [row["id"] for row in rows]
            seen.update(dict.fromkeys(level))
            found.update(dict.fromkeys(level))
    ids = list(found)[: asked.maximum + 1]
    rows = await queries.NODES.rows(connection, project_id=project_id, ids=ids)
    by_id = {row["id"]: row for row in rows}
    return [by_id[each] for each in ids if each in by_id]


async def _project_of(connection: Connection, caller: Caller, roots: Sequence[UUID]) -> UUID:
    """The project of all the roots, if the caller may look at its graph.

    Raises Refusal: TASK_NOT_FOUND, INVALID_FIELD, and those of `access.require`.
    """
    rows = await queries.ROOTS.rows(connection, caller.rights, ids=list(roots))
    known = {row["id"]: row for row in rows}
    for root in roots:
        if root not in known:
            missing = [each for each in roots if each not in known]
            raise all_not_found(Reason.TASK_NOT_FOUND, missing)
        TASKS.require_permitted(caller, known[root], CHECK)
    if len(projects := {row["project_id"] for row in rows}) > 1:
        raise invalid_field("roots.task_ids", "must be of one project")
    (project_id,) = projects
    return UUID(str(project_id))


async def _between(connection: Connection, nodes: Sequence[Record], maximum: int) -> Graph:
    shown, is_truncated = nodes[:maximum], len(nodes) > maximum
    edges: Sequence[Record] = []
    if shown:
        edges = await queries.EDGES.rows(
            connection,
            project_id=shown[0]["project_id"],
            ids=[node["id"] for node in shown],
            room=MAXIMUM_EDGES + 1,
        )
    is_truncated = is_truncated or len(edges) > MAXIMUM_EDGES
    path, length = critical_path(
        (Node(node["id"], node["status"], node["estimate"]) for node in shown),
        ((edge["task_id"], edge["depends_on_id"]) for edge in edges[:MAXIMUM_EDGES]),
    )
    return Graph(shown, edges[:MAXIMUM_EDGES], path, length, is_truncated)


def _assignees(tasks: Iterable[New]) -> list[Assignee]:
    """The distinct assignees."""
    assigned = (
        Assignee.of(task.values)
        for task in tasks
        if task.values.get("assigned_agent_id") or task.values.get("assigned_user_id")
    )
    return list(dict.fromkeys(assigned))
