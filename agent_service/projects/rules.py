"""What may happen to projects: one method, one use case, one transaction."""

from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.projects import queries
from shared.auth.caller import Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import Reason, Refusal, caller_inactive
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import PROJECTS, Refusals, Values
from shared.resources.validation import Parsed
from shared.schema import FK_PROJECTS_OWNER, UQ_PROJECTS_SLUG


class ProjectRules:
    """The use cases of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, call: IdempotentCall[M], project: Parsed[Values]) -> M:
        """Create a project of the caller's. The unique constraint decides who gets a slug."""

        async def unit_of_work(connection: Connection) -> Record:
            values = {"id": uuid7(), "owner_id": call.caller.id, **project.value}
            return await PROJECTS.insert(connection, call.caller, values, REFUSALS)

        return await call.single(self._database, unit_of_work)

    async def get(self, caller: Caller, project_id: UUID) -> Record:
        """One project."""
        return await self._database.read(lambda c: PROJECTS.get(c, caller, project_id))

    async def list(self, caller: Caller, query: Query) -> Listing:
        """A page of projects."""
        return await self._database.read(lambda c: queries.LIST.run(c, caller, query))

    async def update(
        self, call: IdempotentCall[M], project_id: str, revision: int, changes: Parsed[Values]
    ) -> M:
        """Change some fields of a project."""

        async def unit_of_work(connection: Connection) -> Record:
            return await PROJECTS.update(
                connection, call.caller, project_id, revision, changes, REFUSALS
            )

        return await call.single(self._database, unit_of_work)

    async def delete(self, call: IdempotentCall[M], project_id: str, revision: Parsed[int]) -> M:
        """Delete a project and everything in it."""

        async def unit_of_work(connection: Connection) -> None:
            project = await PROJECTS.lock_to_delete(
                connection, call.caller, project_id, revision, Permission.OWN
            )
            await PROJECTS.delete_by_id.run(connection, id=project["id"])

        return await call.transaction(self._database, unit_of_work)


def _slug_taken(values: Values) -> Refusal:
    slug = str(values.get("slug"))
    return Refusal(
        Reason.PROJECT_SLUG_TAKEN,
        f'There is a project with the slug "{slug}" already.',
        metadata={"slug": slug},
        resource=("project", slug),
    )


REFUSALS: Refusals = {
    UQ_PROJECTS_SLUG: _slug_taken,
    FK_PROJECTS_OWNER: lambda _project: caller_inactive(),
}
