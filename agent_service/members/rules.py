"""What may happen to members: one method, one use case, one transaction."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.members import queries
from agent_service.members.queries import MEMBERS
from agent_service.queries import detach_user
from shared.auth.access import require_active
from shared.auth.caller import Caller, User
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database
from shared.errors import Reason, Refusal, conflict, not_found
from shared.events.recording import Log, Recorder
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import (
    PROJECTS,
    InsertIf,
    Refusals,
    Values,
    as_new,
    require_revision,
)
from shared.resources.validation import Parsed, as_uuid
from shared.schema import (
    FK_PROJECT_MEMBERS_PROJECT,
    FK_PROJECT_MEMBERS_USER,
    UQ_PROJECT_MEMBERS_USER,
)

ADMINISTER = Permission.ADMINISTER


class MemberRules:
    """The use cases of members."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, call: IdempotentCall[M], project_id: str, member: Parsed[Values]) -> M:
        """Make a user a member. The unique constraint decides between two calls."""

        async def work(connection: Connection, log: Recorder) -> Record:
            values = await PROJECTS.content(connection, call.caller, project_id, member)
            values = {"id": uuid7(), **values}
            return await MEMBERS.insert(connection, log, call.caller, values, REFUSALS, NEW)

        return await call.single(self._database, work)

    async def list(self, caller: Caller, project_id: str, query: Parsed[Query]) -> Listing:
        """A page of members."""
        return await self._database.read(
            lambda c: queries.LIST.page(c, caller, PROJECTS, project_id, query)
        )

    async def update(
        self,
        call: IdempotentCall[M],
        project_id: str,
        user_id: str,
        revision: int,
        changes: Parsed[Values],
    ) -> M:
        """Change the role of a member."""

        async def work(connection: Connection, log: Recorder) -> Record:
            values = await PROJECTS.content(connection, call.caller, project_id, changes)
            of_project, of_user = UUID(project_id), UUID(user_id)
            found = await _find(connection, call.caller, of_project, of_user, ADMINISTER)
            require_active(of_project, found["found_project_status"])
            change = MEMBERS.update_columns(frozenset(values))
            with _naming(of_project, of_user):
                return await MEMBERS.change(
                    connection,
                    log,
                    call.caller,
                    change,
                    _member_id(found, of_user),
                    revision=revision,
                    **as_new(values),
                )

        return await call.single(self._database, work)

    async def remove(
        self, call: IdempotentCall[M], project_id: str, user_id: str, revision: Parsed[int]
    ) -> M:
        """Remove a member, unassign its tasks, and take it out of the rooms. Members may leave.

        The member is locked first: a call that assigns a task to it or adds it to a room either has
        committed before, and is found here, or waits and then finds no member.
        """
        leaves = isinstance(call.caller, User) and as_uuid(user_id) == call.caller.id
        needed = Permission.READ_PROJECT if leaves else ADMINISTER

        async def work(connection: Connection, log: Log) -> None:
            given = await PROJECTS.content(connection, call.caller, project_id, revision, needed)
            of_project, of_user = UUID(project_id), UUID(user_id)
            member = await queries.lock(needed).row(
                connection, call.caller.rights, project_id=of_project, user_id=of_user
            )
            if member is None:
                found = await _find(connection, call.caller, of_project, of_user, needed)
                _member_id(found, of_user)
                raise conflict()  # the user is a member, or the caller may, only since then
            require_revision(given, member["revision"])
            await MEMBERS.delete(connection, log, member["id"])
            await detach_user(connection, log, of_project, of_user)

        return await call.transaction(self._database, work)


async def _find(
    connection: Connection, caller: Caller, project_id: UUID, user_id: UUID, needed: Permission
) -> Record:
    """A project in which the caller has the permission, and what a user is in it."""
    row = await queries.FIND.row(connection, caller.rights, project_id=project_id, user_id=user_id)
    if row is None:
        raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
    PROJECTS.require_permitted(caller, row, needed)
    return row


def _member_id(found: Record, user_id: UUID) -> UUID:
    if found["member_id"] is None:
        raise _no_member(found["id"], user_id)
    member_id: UUID = found["member_id"]
    return member_id


@contextmanager
def _naming(project_id: UUID, user_id: UUID) -> Iterator[None]:
    """Name a member that is removed meanwhile as clients know it, by its project and user."""
    try:
        yield
    except Refusal as refusal:
        if refusal.reason is Reason.MEMBER_NOT_FOUND:
            raise _no_member(project_id, user_id) from None
        raise


async def _not_addable(connection: Connection, member: Values) -> Refusal:
    """The refusal of a user who is inactive or owns the project by now."""
    project_id, user_id = member["project_id"], member["user_id"]
    row = await queries.OWNER.row(connection, project_id=project_id, user_id=user_id)
    if row is None:
        return not_found(Reason.PROJECT_NOT_FOUND, project_id)
    if not row["is_active"]:
        return not_found(Reason.USER_NOT_FOUND, user_id)
    return _taken(member) if row["owner_id"] == user_id else conflict()


def _no_member(project_id: UUID, user_id: UUID) -> Refusal:
    return Refusal(
        Reason.MEMBER_NOT_FOUND,
        f"The user {user_id} is not a member of the project.",
        metadata={"user_id": str(user_id), "project_id": str(project_id)},
        resource=("member", str(user_id)),
    )


def _taken(member: Values) -> Refusal:
    return Refusal(
        Reason.ALREADY_MEMBER,
        "The user is a member or the owner of the project already.",
        metadata={name: str(member[name]) for name in ("project_id", "user_id")},
        resource=("member", str(member["user_id"])),
    )


NEW = InsertIf(queries.create, _not_addable)
REFUSALS: Refusals = {
    UQ_PROJECT_MEMBERS_USER: _taken,
    FK_PROJECT_MEMBERS_PROJECT: lambda m: not_found(Reason.PROJECT_NOT_FOUND, m["project_id"]),
    FK_PROJECT_MEMBERS_USER: lambda m: not_found(Reason.USER_NOT_FOUND, m["user_id"]),
}
