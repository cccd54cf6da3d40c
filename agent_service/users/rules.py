"""What may happen to users: one method, one use case, one transaction."""

from functools import partial
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.users import queries
from shared.auth.caller import Caller, User, offered
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.dependents.rules import follow_all
from shared.errors import (
    Reason,
    Refusal,
    Violation,
    conflict,
    not_found,
    superuser_required,
)
from shared.events.recording import Log, Recorder
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import Refusals, Values, as_new, require_revision
from shared.resources.validation import Parsed, as_uuid
from shared.schema import UQ_USERS_EMAIL, UQ_USERS_USERNAME

# What users may change of themselves.
OWN_COLUMNS = frozenset({"email", "full_name"})


class UserRules:
    """The use cases of users. Only superusers reach those that create, list and delete."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, call: IdempotentCall[M], user: Parsed[Values]) -> M:
        """Create a user. The unique indexes decide who gets a name and an email address."""
        values = {"id": uuid7(), **user.value}
        change = queries.insert_columns(frozenset(values))

        async def work(connection: Connection, log: Recorder) -> Record | None:
            with translate_violations(REFUSALS, values):
                return await log.run(connection, change, offered(call.caller), values)

        return await call.single(self._database, work)

    async def get(self, caller: Caller, user_id: UUID) -> Record:
        """One user."""
        _require_self(caller, str(user_id))
        return await self._database.read(partial(get, user_id=user_id))

    async def lookup(self, caller: Caller, by: str | None, key: Parsed[tuple[str, str]]) -> Record:
        """The user with a name, or for superusers with an email address.

        Others find active users only.
        """
        is_superuser = _is_superuser(caller)
        if by == "email" and not is_superuser:
            raise superuser_required("find users by their email addresses")
        name, value = key.value
        row = await self._database.read(partial(find, by=name, value=value))
        if row is None or not (row["is_active"] or is_superuser):
            raise _nobody_with(name, value)
        return row

    async def list(self, caller: Caller, query: Query) -> Listing:
        """A page of users."""
        return await self._database.read(lambda c: queries.LIST.run(c, caller, query))

    async def update(
        self, call: IdempotentCall[M], user_id: str, revision: int, changes: Parsed[Values]
    ) -> M:
        """Change some fields of a user. Users may change some of themselves."""
        _require_self(call.caller, user_id)
        wanted = changes.value
        allowed = None if _is_superuser(call.caller) else OWN_COLUMNS

        async def work(connection: Connection, log: Log) -> Record:
            return await change(connection, log, UUID(user_id), revision, wanted, allowed)

        return await call.transaction(self._database, work)

    async def delete(self, call: IdempotentCall[M], user_id: str, revision: Parsed[int]) -> M:
        """Delete a user."""
        given = revision.value

        async def work(connection: Connection, log: Log) -> None:
            await delete(connection, log, UUID(user_id), given)

        return await call.transaction(self._database, work)


async def get(connection: Connection, user_id: UUID) -> Record:
    """One user. Raises Refusal(USER_NOT_FOUND)."""
    row = await queries.GET.row(connection, id=user_id)
    return _required(row, user_id)


async def find(connection: Connection, by: str, value: str) -> Record | None:
    """The user with this "username" or "email", whatever the case of the letters."""
    statement = queries.BY_USERNAME if by == "username" else queries.BY_EMAIL
    return await statement.row(connection, value=value)


async def change(
    connection: Connection,
    log: Log,
    user_id: UUID,
    revision: int,
    values: Values,
    allowed: frozenset[str] | None = None,
) -> Record:
    """Give columns of a user these values, if the revision matches (0: any).

    Those that are not `allowed` (None: all are) must be what they are. A user of which nothing new
    is said stays as it is. Raises Refusal: USER_NOT_FOUND, INSUFFICIENT_ROLE, REVISION_MISMATCH,
    LAST_SUPERUSER, USERNAME_TAKEN, EMAIL_TAKEN.
    """
    demotes = False in (values.get("is_active"), values.get("is_superuser"))
    kept = await _lock_superusers(connection, user_id) if demotes else set[UUID]()
    row = _required(await queries.LOCK_TO_UPDATE.row(connection, id=user_id), user_id)
    changed = {name: value for name, value in values.items() if row[name] != value}
    if allowed is not None and not changed.keys() <= allowed:
        raise superuser_required(f"change {', '.join(sorted(changed.keys() - allowed))} of a user")
    require_revision(revision, row["revision"])
    if demotes:
        _require_other_superuser(row, kept)
    return await _update(connection, log, row, changed) if changed else row


async def delete(connection: Connection, log: Log, user_id: UUID, revision: int) -> None:
    """Delete a user, if the revision matches (0: any), and unassign its tasks.

    The user is locked first: a call that assigns a task to it, or makes it an owner or a member,
    has either committed before, and is found here, or waits and then finds no user.
    Raises Refusal: USER_NOT_FOUND, REVISION_MISMATCH, LAST_SUPERUSER, USER_OWNS_PROJECTS.
    """
    kept = await _lock_superusers(connection, user_id)
    row = _required(await queries.LOCK_TO_DELETE.row(connection, id=user_id), user_id)
    require_revision(revision, row["revision"])
    _require_other_superuser(row, kept)
    if owned := await queries.OWNED.rows(connection, id=user_id):
        raise _owner(owned)
    log.add(await queries.DELETE_MEMBERSHIPS.rows(connection, id=user_id))
    await follow_all(connection, log, await queries.DETACH_TASKS.rows(connection, id=user_id))
    for statement in (queries.LEAVE_ROOMS, queries.DELETE):
        log.add(await statement.rows(connection, id=user_id))


async def _lock_superusers(connection: Connection, user_id: UUID) -> set[UUID]:
    """Two of the active superusers, if there are, who stay ones; none if the user is no such."""
    rows = await queries.LOCK_SUPERUSERS.rows(connection, id=user_id)
    return {row["id"] for row in rows}


def _require_other_superuser(row: Record, kept: set[UUID]) -> None:
    """Raise a Refusal if the user is the only active superuser."""
    if not (row["is_active"] and row["is_superuser"]):
        return
    if not kept:
        raise conflict()  # it is one only since then
    if kept == {row["id"]}:
        message = f'The user "{row["username"]}" is the last active superuser.'
        raise Refusal(Reason.LAST_SUPERUSER, message)


async def _update(connection: Connection, log: Log, row: Record, changed: Values) -> Record:
    statement = queries.update_columns(frozenset(changed))
    with translate_violations(REFUSALS, changed):
        (updated,) = await statement.rows(connection, id=row["id"], **as_new(changed))
    log.add([updated])
    return updated


def _require_self(caller: Caller, user_id: str) -> None:
    """Raise Refusal(INSUFFICIENT_ROLE) for other users, whether they exist or not.

    A malformed id is refused with the rest of the content.
    """
    if not _is_superuser(caller) and as_uuid(user_id) not in (None, caller.id):
        raise superuser_required("access other users")


def _is_superuser(caller: Caller) -> bool:
    return isinstance(caller, User) and caller.is_superuser


def _required(row: Record | None, user_id: UUID) -> Record:
    if row is None:
        raise not_found(Reason.USER_NOT_FOUND, user_id)
    return row


def _nobody_with(by: str, value: str) -> Refusal:
    return Refusal(
        Reason.USER_NOT_FOUND,
        f'There is no user with the {by} "{value}".',
        metadata={by: value},
        resource=("user", value),
    )


def _taken(reason: Reason, column: str, values: Values) -> Refusal:
    value = str(values.get(column))
    return Refusal(
        reason,
        f'There is a user with the {column} "{value}" already.',
        metadata={column: value},
        resource=("user", value),
    )


def _owner(owned: list[Record]) -> Refusal:
    total = owned[0]["total"]
    them = "a project" if total == 1 else f"{total} projects"
    ids = ",".join(str(project["id"]) for project in owned)
    return Refusal(
        Reason.USER_OWNS_PROJECTS,
        f"The user owns {them}, to be transferred or deleted first.",
        metadata={"project_ids": ids, "total": str(total)},
        preconditions=[
            Violation(str(project["id"]), "belongs to the user", "USER_OWNS_PROJECTS")
            for project in owned
        ],
    )


REFUSALS: Refusals = {
    UQ_USERS_USERNAME: partial(_taken, Reason.USERNAME_TAKEN, "username"),
    UQ_USERS_EMAIL: partial(_taken, Reason.EMAIL_TAKEN, "email"),
}
