"""What may happen to agents: one method, one use case, one transaction."""

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.agents import queries
from agent_service.agents.lifecycle import MOVES, sources
from agent_service.agents.queries import AGENTS
from agent_service.api_keys.keys import NewKey
from agent_service.api_keys.rules import ApiKeyRules
from shared.auth.caller import Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.dependents.rules import follow_all
from shared.errors import (
    Reason,
    Refusal,
    assignee_not_found,
    invalid_transition,
    not_found,
    of_assignee,
)
from shared.events.recording import Log, Recorder
from shared.resources import leases
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import PROJECTS, Refusals, Values
from shared.resources.validation import Parsed
from shared.schema import FK_AGENTS_PROJECT, UQ_AGENT_PROJECT_NAME

# The columns of an agent, and of its first API key.
NewAgent: TypeAlias = tuple[Values, Values | None]


class AgentRules:
    """The use cases of agents."""

    def __init__(self, database: Database, api_keys: ApiKeyRules) -> None:
        self._database = database
        self._api_keys = api_keys

    async def create(self, call: IdempotentCall[M], project_id: str, agent: Parsed[NewAgent]) -> M:
        """Create an agent, offline, with or without its first API key.

        The unique constraint decides who gets a name.
        """

        async def work(connection: Connection, log: Recorder) -> Record:
            values, _ = await PROJECTS.content(connection, call.caller, project_id, agent)
            values = {"id": uuid7(), **values}
            return await AGENTS.insert(connection, log, call.caller, values, REFUSALS)

        async def with_api_key(
            connection: Connection, log: Log
        ) -> tuple[Record, tuple[Record, NewKey]]:
            row = await work(connection, log)
            _, api_key = agent.value
            create = self._api_keys.create_first
            return row, await create(connection, log, call.caller, row["id"], api_key or {})

        if agent.refusal is not None or agent.value[1] is None:
            return await call.single(self._database, work)
        self._api_keys.require_available()
        return await call.transaction(self._database, with_api_key)

    async def get(self, caller: Caller, agent_id: UUID) -> Record:
        """One agent."""
        return await self._database.read(lambda c: AGENTS.get(c, caller, agent_id))

    async def verify(self, caller: Caller, agent_id: UUID) -> tuple[Record, bool]:
        """One agent, and whether the caller may administer its project."""
        agent = await self.get(caller, agent_id)
        return agent, AGENTS.is_permitted(caller, agent, Permission.ADMINISTER)

    async def get_many(self, caller: Caller, agent_ids: Sequence[UUID]) -> list[Record]:
        """Many agents in the order of their ids; all or nothing."""
        return await self._database.read(lambda c: queries.GET_MANY.get(c, caller, agent_ids))

    async def list(self, caller: Caller, project_id: str, query: Parsed[Query]) -> Listing:
        """A page of agents."""
        return await self._database.read(
            lambda c: queries.LIST.page(c, caller, PROJECTS, project_id, query)
        )

    async def update(
        self, call: IdempotentCall[M], agent_id: str, revision: int, changes: Parsed[Values]
    ) -> M:
        """Change some fields of an agent. One that is deactivated works on no task any more."""

        async def work(connection: Connection, log: Recorder) -> Record:
            return await AGENTS.update(
                connection, log, call.caller, agent_id, revision, changes, REFUSALS
            )

        async def and_stop_tasks(connection: Connection, log: Log) -> Record:
            before = await AGENTS.lock(connection, call.caller, UUID(agent_id))
            row = await work(connection, log)
            if before["is_active"]:
                await _release(connection, log, row)
                of_agent = {"of_project": row["project_id"], "row_id": row["id"]}
                stopped = await queries.STOP_TASKS.rows(connection, **of_agent)
                await follow_all(connection, log, stopped)
            return row

        if changes.refusal is None and changes.value.get("is_active") is False:
            return await call.transaction(self._database, and_stop_tasks)
        return await call.single(self._database, work)

    async def delete(self, call: IdempotentCall[M], agent_id: str, revision: Parsed[int]) -> M:
        """Delete an agent with its API keys and participants, and unassign its tasks.

        The agent is locked first: a call that assigns a task to it either has committed before, and
        the task is unassigned here, or waits and then finds no agent.
        """

        async def work(connection: Connection, log: Log) -> None:
            agent = await AGENTS.lock_to_delete(connection, call.caller, agent_id, revision)
            await _release(connection, log, agent)
            of_agent = {"of_project": agent["project_id"], "row_id": agent["id"]}
            detached = await queries.DETACH_TASKS.rows(connection, **of_agent)
            await follow_all(connection, log, detached)
            await AGENTS.delete(connection, log, agent["id"])

        return await call.transaction(self._database, work)

    async def set_status(self, call: IdempotentCall[M], agent_id: str, status: Parsed[str]) -> M:
        """Move an agent to another status, or leave it where it is already."""

        async def work(connection: Connection, log: Recorder) -> Record:
            needed = Permission.SET_AGENT_STATUS
            wanted = await AGENTS.content(connection, call.caller, agent_id, status, needed)
            outcome = await AGENTS.decide(
                connection,
                log,
                call.caller,
                queries.SET_STATUS,
                UUID(agent_id),
                needed,
                revision=0,
                new_status=wanted,
                sources=sources(wanted),
            )
            if outcome.row is None:
                found = outcome.found["found_status"]
                raise invalid_transition("AGENT_STATUS", found, wanted, MOVES[found])
            return outcome.row

        return await call.single(self._database, work)

    async def validate_assignee(
        self, caller: Caller, project_id: str, assignee: Parsed[tuple[UUID, str]]
    ) -> None:
        """Refuse an assignee that does not exist, is not of the project, or is not active."""

        async def unit_of_work(connection: Connection) -> None:
            needed = Permission.CREATE_TASKS
            assignee_id, kind = await PROJECTS.content(
                connection, caller, project_id, assignee, needed
            )
            known = UUID(project_id)
            statement = queries.AGENT_ASSIGNEE if kind == "agent" else queries.USER_ASSIGNEE
            row = await statement.row(connection, caller.rights, id=known, assignee_id=assignee_id)
            if row is None:
                raise not_found(Reason.PROJECT_NOT_FOUND, known)
            PROJECTS.require_permitted(caller, row, needed)
            _require_assignable(row, known, assignee_id, kind)

        await self._database.read(unit_of_work)


async def _release(connection: Connection, log: Log, agent: Record) -> None:
    """End the leases of an agent that is locked."""
    of_agent = {"project_id": agent["project_id"], "agent_id": agent["id"]}
    await follow_all(connection, log, await leases.RELEASE.rows(connection, **of_agent))


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
    if row["is_active"] is None:
        raise assignee_not_found(assignee_id, kind)
    metadata = of_assignee(assignee_id, kind)
    if row["assignee_project_id"] != project_id:
        message = f"The agent {assignee_id} is of another project."
        raise Refusal(Reason.ASSIGNEE_OUTSIDE_PROJECT, message, metadata)
    if not row["is_active"]:
        message = f"The {kind} {assignee_id} is not active."
        raise Refusal(Reason.ASSIGNEE_INACTIVE, message, metadata)


REFUSALS: Refusals = {
    UQ_AGENT_PROJECT_NAME: _name_taken,
    FK_AGENTS_PROJECT: lambda agent: not_found(Reason.PROJECT_NOT_FOUND, agent["project_id"]),
}
