"""The role of the services on the PostgreSQL of the tests."""

from urllib.parse import urlsplit

import asyncpg

from shared.database import roles

NAME = "tandem_test_service"
PASSWORD = "of tests only"  # pragma: allowlist secret


def url_for(url: str) -> str:
    """The URL of the same database for the role of the services."""
    parts = urlsplit(url)
    hosts = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{NAME}:{PASSWORD.replace(' ', '%20')}@{hosts}").geturl()


async def divide(url: str) -> None:
    """Make the role if it is missing, and give it the rows of a migrated database.

    A role belongs to the whole server: two processes of tests cannot change one at once.
    """
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            owner = await connection.fetchval("SELECT current_user")
            if not await connection.fetchval("SELECT to_regrole($1)", NAME):
                await roles.make_role(connection, NAME, PASSWORD)
            await roles.divide(connection, owner, NAME)
            await roles.give_rows(connection, owner, NAME)
    finally:
        await connection.close()
