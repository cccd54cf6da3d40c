"""Finds and creates users."""

from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from cli import queries
from cli.console import CommandError
from cli.database import run

TAKEN = {"uq_users_username": "name", "uq_users_email": "e-mail address"}


def find_user(url: str, name: str) -> UUID | None:
    """The id of the user with this name, None if there is none."""
    row = run(url, lambda connection: connection.fetchrow(queries.USER_BY_NAME, name))
    return row["id"] if row else None


def create_user(url: str, name: str, email: str, *, superuser: bool = False) -> UUID:
    """Create a user, and return its id. Raises CommandError if the name or address is taken."""
    user_id = uuid7()
    row = (user_id, name, email, superuser)
    try:
        run(url, lambda connection: connection.execute(queries.INSERT_USER, *row))
    except asyncpg.UniqueViolationError as error:
        what = TAKEN[error.constraint_name or ""]
        raise CommandError(f"The {what} is taken by another user.") from None
    return user_id


def find_or_create_user(url: str, name: str) -> UUID:
    """The user with this name, created if there is none. Concurrent calls get the same user."""
    try:
        return find_user(url, name) or create_user(url, name, f"{name}@localhost")
    except CommandError:
        if user_id := find_user(url, name):
            return user_id
        raise


def link_identity(url: str, name: str, issuer: str, subject: str) -> None:
    """Link an issuer's subject to a user. Raises CommandError if it is linked to another one."""
    user_id, identity = _required_user(url, name), (issuer, subject)

    async def link(connection: asyncpg.Connection) -> asyncpg.Record | None:
        await connection.execute(queries.INSERT_IDENTITY, *identity, user_id)
        return await connection.fetchrow(queries.USER_BY_IDENTITY, *identity)

    owner = run(url, link)
    if owner and owner["id"] != user_id:
        raise CommandError(f"The subject is linked to the user {owner['username']}: unlink it.")


def unlink_identity(url: str, name: str, issuer: str, subject: str) -> None:
    """End the link of a subject to a user. Raises CommandError if there is none."""
    identity = (issuer, subject, _required_user(url, name))
    if not run(url, lambda connection: connection.fetchrow(queries.DELETE_IDENTITY, *identity)):
        raise CommandError(f"The subject is not linked to the user {name}.")


def identities_of(url: str, name: str) -> list[tuple[str, str]]:
    """The identities of a user, each an issuer and a subject."""
    user_id = _required_user(url, name)
    rows = run(url, lambda connection: connection.fetch(queries.IDENTITIES, user_id))
    return [(row["issuer"], row["subject"]) for row in rows]


def _required_user(url: str, name: str) -> UUID:
    if user_id := find_user(url, name):
        return user_id
    raise CommandError(f"There is no user {name}: `tandem users create` creates one.")
