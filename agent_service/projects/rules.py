"""What may happen to projects: one method, one use case, one transaction."""

from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.projects import queries
from agent_service.queries import detach_user
from shared.auth.caller import Caller
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import Reason, Refusal, caller_inactive, not_found
from shared.events.recording import Log, Recorder
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import PROJECTS, Refusals, Values, require_revision
from shared.resources.validation import Parsed
from shared.schema import FK_PROJECTS_OWNER, UQ_PROJECTS_SLUG

OWN = Permission.OWN


class ProjectRules:
    """The use cases of projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, call: IdempotentCall[M], project: Parsed[Values]) -> M:
        """Create a project of the caller's. The unique constraint decides who gets a slug."""

        async def work(connection: Connection, log: Recorder) -> Record:
            values = {"id": uuid7(), "owner_id": call.caller.id, **project.value}
            return await PROJECTS.insert(connection, log, call.caller, values, REFUSALS)

        return await call.single(self._database, work)

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

        async def work(connection: Connection, log: Recorder) -> Record:
            return await PROJECTS.update(
                connection, log, call.caller, project_id, revision, changes, REFUSALS
            )

        return await call.single(self._database, work)

    async def delete(self, call: IdempotentCall[M], project_id: str, revision: Parsed[int]) -> M:
        """Delete a project and everything in it."""

        async def work(connection: Connection, log: Log) -> None:
            project = await PROJECTS.lock_to_delete(
                connection, call.caller, project_id, revision, OWN
            )
            await PROJECTS.delete(connection, log, project["id"])
            log.end(project)

        return await call.transaction(self._database, work)

    async def transfer(self, call: IdempotentCall[M], project_id: str, to: Parsed[Values]) -> M:
        """Make another user the owner of a project, who is no member of it any more.

        `to` has the new `owner_id`, the `former_owner_role`, None without one, and the `revision`.

        The users are locked first, against their deletion, then the project: a call that assigns a
        task to the former owner, or adds a member, either has committed before, and what it did is
        found here, or waits and then finds another owner.
        """

        async def work(connection: Connection, log: Log) -> Record:
            wanted = await PROJECTS.content(connection, call.caller, project_id, to, OWN)
            found = await PROJECTS.get(connection, call.caller, UUID(project_id), OWN)
            user_ids = [wanted["owner_id"], found["owner_id"]]
            locked = await queries.LOCK_USERS.rows(connection, user_ids=user_ids)
            project = await PROJECTS.lock(connection, call.caller, UUID(project_id), OWN)
            require_revision(wanted["revision"], project["revision"])
            if project["owner_id"] == wanted["owner_id"]:
                return project
            if not any(row["id"] == wanted["owner_id"] and row["is_active"] for row in locked):
                raise not_found(Reason.USER_NOT_FOUND, wanted["owner_id"])
            return await _hand_over(connection, log, project, wanted)

        return await call.transaction(self._database, work)


async def _hand_over(connection: Connection, log: Log, project: Record, to: Values) -> Record:
    """Change the owner of a project that is locked, and what the former one is in it."""
    project_id, former_id = project["id"], project["owner_id"]
    user_ids = [to["owner_id"], former_id]
    drop, transfer, keep = queries.DROP_MEMBERS, queries.TRANSFER, queries.KEEP_AS_MEMBER
    log.add(await drop.rows(connection, project_id=project_id, user_ids=user_ids))
    (row,) = await transfer.rows(connection, project_id=project_id, new_owner_id=to["owner_id"])
    log.add([row])
    if to["former_owner_role"] is None:
        await detach_user(connection, log, project_id, former_id)
    else:
        member = {"project_id": project_id, "user_id": former_id, "role": to["former_owner_role"]}
        log.add(await keep.rows(connection, id=uuid7(), **member))
    return row


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
