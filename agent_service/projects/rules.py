"""What may happen to projects: one method, one use case, one transaction."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.projects import queries
from shared.auth.access import require_project, require_reach
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.errors import Reason, Refusal, caller_inactive, not_found
from shared.resources.idempotency import M, Mutation
from shared.resources.listing import Listing, Query
from shared.resources.project_scoped import require_revision
from shared.resources.validation import read_after_access
from shared.schema import FK_PROJECTS_OWNER, UQ_PROJECTS_SLUG

Values = dict[str, Any]


class ProjectRules:
    """The use cases of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, call: Mutation[M], values: Values) -> M:
        """Create a project of the caller's. The unique constraint decides who gets a slug."""

        async def work(connection: Connection) -> Record | None:
            refusals = {
                UQ_PROJECTS_SLUG: _slug_taken(values),
                FK_PROJECTS_OWNER: caller_inactive(),
            }
            with translate_violations(refusals):
                return await queries.CREATE.row(
                    connection, id=uuid7(), owner_id=call.caller.id, **values
                )

        return await call.single(self._database, work)

    async def get(self, caller: Caller, project_id: UUID) -> Record:
        """One project."""
        row = await self._database.read(lambda c: queries.GET.row(c, id=project_id))
        return _owned(row, caller, project_id)

    async def list(self, caller: Caller, query: Query) -> Listing:
        """A page of projects."""
        return await self._database.read(lambda c: queries.LIST.run(c, caller, query))

    async def update(
        self, call: Mutation[M], project_id: str, revision: int, read: Callable[[], Values]
    ) -> M:
        """Change some fields of a project."""

        async def work(connection: Connection) -> Record:
            access = partial(require_project, connection, call.caller, project_id)
            values = await read_after_access(read, access)
            with translate_violations({UQ_PROJECTS_SLUG: _slug_taken(values)}):
                row = await queries.update_fields(frozenset(values)).row(
                    connection,
                    **call.caller.rights,
                    id=UUID(project_id),
                    revision=revision,
                    **{f"new_{name}": value for name, value in values.items()},
                )
            if row is None:
                raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
            require_reach(call.caller, row["found_owner_id"], project_id=UUID(project_id))
            if row["id"] is None:
                require_revision(revision, row["found_revision"])
            return row

        return await call.single(self._database, work)

    async def delete(self, call: Mutation[M], project_id: str, read: Callable[[], int]) -> M:
        """Delete a project and everything in it."""

        async def work(connection: Connection) -> None:
            access = partial(require_project, connection, call.caller, project_id)
            revision = await read_after_access(read, access)
            known = UUID(project_id)
            row = _owned(await queries.LOCK.row(connection, id=known), call.caller, known)
            require_revision(revision, row["revision"])
            await queries.DELETE.run(connection, id=known)

        return await call.transaction(self._database, work)


def _owned(row: Record | None, caller: Caller, project_id: UUID) -> Record:
    if row is None:
        raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
    require_reach(caller, row["owner_id"], project_id=project_id)
    return row


def _slug_taken(values: Values) -> Refusal:
    slug = str(values.get("slug"))
    return Refusal(
        Reason.PROJECT_SLUG_TAKEN,
        f'There is a project with the slug "{slug}" already.',
        metadata={"slug": slug},
        resource=("project", slug),
    )
