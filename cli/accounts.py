"""Users, as the command line finds and makes them."""

from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from cli import queries
from cli.console import CommandError
from cli.database import run
from shared.database import Connection
from shared.schema.users import UQ_USERS_EMAIL, UQ_USERS_USERNAME

TAKEN = {UQ_USERS_USERNAME: "name", UQ_USERS_EMAIL: "email address"}


def find_user(url: str, name: str) -> UUID | None:
    """The id of the user with this name."""

    async def find(connection: Connection) -> UUID | None:
        row = await queries.USER_BY_NAME.row(connection, name=name)
        return row["id"] if row else None

    return run(url, find)


def create_user(url: str, name: str, email: str, *, superuser: bool = False) -> UUID:
    """Make a user, whose id is returned. Raises CommandError that names what is taken."""

    async def create(connection: Connection) -> UUID:
        user_id = uuid7()
        try:
            await queries.INSERT_USER.run(
                connection, id=user_id, name=name, email=email, superuser=superuser
            )
        except asyncpg.UniqueViolationError as error:
            what = TAKEN[error.constraint_name or ""]
            raise CommandError(f"The {what} is taken by another user.") from None
        return user_id

    return run(url, create)


def find_or_create_user(url: str, name: str) -> UUID:
    """The user with this name, made where there is none; of two who make it, both get the same."""
    try:
        return find_user(url, name) or create_user(url, name, f"{name}@localhost")
    except CommandError:
        if user_id := find_user(url, name):
            return user_id
        raise
