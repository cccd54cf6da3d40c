"""What may happen to agents: one method, one use case, one transaction."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.agents import queries
from agent_service.agents.lifecycle import MOVES, sources
from agent_service.agents.queries import AGENTS
from shared.auth.access import as_uuid, require_project, require_reach
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.errors import Reason, Refusal, invalid_transition, not_found
from shared.resources.idempotency import M, Mutation
from shared.resources.listing import Listing, Query
from shared.resources.project_scoped import created, require_revision
from shared.resources.validation import read_after_access
from shared.schema import FK_AGENTS_PROJECT, UQ_AGENT_PROJECT_NAME

Values = dict[str, Any]


class AgentRules:
    """The use cases of agents."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, call: Mutation[M], project_id: str, read: Callable[[], Values]) -> M:
        """Create an agent, offline. The unique constraint decides who gets a name."""

        async def work(connection: Connection) -> Record:
            access = partial(require_project, connection, call.caller, project_id)
            values = await read_after_access(read, access)
            refusals = {
                UQ_AGENT_PROJECT_NAME: _name_taken(values),
                FK_AGENTS_PROJECT: not_found(Reason.PROJECT_NOT_FOUND, project_id),
            }
            with translate_violations(refusals):
                row = await queries.CREATE.row(
                    connection, **call.caller.rights, id=uuid7(), **values
                )
            return created(row, call.caller, values["project_id"])

        return await call.single(self._database, work)

    async def get(self, caller: Caller, agent_id: UUID) -> Record:
        """One agent."""
        return await self._database.read(lambda c: AGENTS.get(c, caller, agent_id))

    async def get_many(self, caller: Caller, agent_ids: Sequence[UUID]) -> list[Record]:
        """Many agents in the order of their ids; all or nothing."""
        rows = await self._database.read(lambda c: queries.GET_MANY.rows(c, ids=agent_ids))
        found = {row["id"]: row for row in rows}
        for agent_id in agent_ids:
            if agent_id not in found:
                raise not_found(Reason.AGENT_NOT_FOUND, agent_id)
            require_reach(caller, found[agent_id]["owner_id"])
        return [found[agent_id] for agent_id in agent_ids]

    async def list(self, caller: Caller, project_id: str, read: Callable[[], Query]) -> Listing:
        """A page of agents."""
        access = partial(require_project, caller=caller, project_id=project_id)
        return await queries.LIST.page(self._database, caller, read, access)

    async def update(
        self, call: Mutation[M], agent_id: str, revision: int, read: Callable[[], Values]
    ) -> M:
        """Change some fields of an agent."""

        async def work(connection: Connection) -> Record:
            access = partial(self._require_agent, connection, call.caller, agent_id)
            values = await read_after_access(read, access)
            with translate_violations({UQ_AGENT_PROJECT_NAME: _name_taken(values)}):
                row = await queries.update_fields(frozenset(values)).row(
                    connection,
                    **call.caller.rights,
                    id=UUID(agent_id),
                    revision=revision,
                    **{f"new_{name}": value for name, value in values.items()},
                )
            return AGENTS.written(row, call.caller, UUID(agent_id), revision)

        return await call.single(self._database, work)

    async def delete(self, call: Mutation[M], agent_id: str, read: Callable[[], int]) -> M:
        """Delete an agent with its API keys and participants, and unassign its tasks.

        The agent is locked first: whoever assigns a task to it either has committed before, and the
        task is unassigned here, or waits and then finds no agent.
        """

        async def work(connection: Connection) -> None:
            access = partial(self._require_agent, connection, call.caller, agent_id)
            revision = await read_after_access(read, access)
            agent = await AGENTS.lock(connection, call.caller, UUID(agent_id))
            require_revision(revision, agent["revision"])
            await queries.UNASSIGN.run(
                connection, of_project=agent["project_id"], of_agent=agent["id"]
            )
            await queries.DELETE.run(connection, id=agent["id"])

        return await call.transaction(self._database, work)

    async def set_status(self, call: Mutation[M], agent_id: str, read: Callable[[], str]) -> M:
        """Move an agent to another status, or leave it where it is already."""

        async def work(connection: Connection) -> Record:
            access = partial(self._require_agent, connection, call.caller, agent_id)
            status = await read_after_access(read, access)
            answer = await queries.SET_STATUS.row(
                connection,
                **call.caller.rights,
                id=UUID(agent_id),
                revision=0,
                new_status=status,
                sources=sources(status),
            )
            row = AGENTS.written(answer, call.caller, UUID(agent_id))
            if row["id"] is None:
                found = row["found_status"]
                raise invalid_transition(found, status, MOVES[found])
            return row

        return await call.single(self._database, work)

    async def validate_assignee(
        self, caller: Caller, project_id: str, read: Callable[[], tuple[UUID, str]]
    ) -> None:
        """Refuse an assignee who does not exist, is not of the project, or is not active."""

        async def work(connection: Connection) -> Record:
            access = partial(require_project, connection, caller, project_id)
            assignee_id, kind = await read_after_access(read, access)
            statement = queries.AGENT_ASSIGNEE if kind == "agent" else queries.USER_ASSIGNEE
            row = await statement.row(connection, id=UUID(project_id), assignee_id=assignee_id)
            if row is None:
                raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
            require_reach(caller, row["owner_id"], project_id=UUID(project_id))
            _require_assignable(row, UUID(project_id), assignee_id, kind)
            return row

        await self._database.read(work)

    async def _require_agent(self, connection: Connection, caller: Caller, agent_id: str) -> None:
        known = as_uuid(agent_id)
        if known is not None:
            await AGENTS.get(connection, caller, known)


def _name_taken(values: Values) -> Refusal:
    name = str(values.get("name"))
    project = {"project_id": str(values["project_id"])} if "project_id" in values else {}
    return Refusal(
        Reason.AGENT_NAME_TAKEN,
        f'The project has an agent with the name "{name}" already.',
        metadata={"name": name, **project},
        resource=("agent", name),
    )


def _require_assignable(row: Record, project_id: UUID, assignee_id: UUID, kind: str) -> None:
    metadata = {"assignee_id": str(assignee_id), "assignee_type": kind}
    if row["is_active"] is None:
        message = f"There is no {kind} {assignee_id}."
        raise Refusal(Reason.ASSIGNEE_NOT_FOUND, message, metadata)
    if row["project_id"] != project_id:
        message = f"The agent {assignee_id} is of another project."
        raise Refusal(Reason.ASSIGNEE_OUTSIDE_PROJECT, message, metadata)
    if not row["is_active"]:
        message = f"The {kind} {assignee_id} is not active."
        raise Refusal(Reason.ASSIGNEE_INACTIVE, message, metadata)
