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
