"""The services' role in an embedded PostgreSQL, also in one that was made without it."""

import asyncio

import asyncpg

from shared.database import roles
from shared.host.embedded_postgres import OWNER, SERVICE, EmbeddedPostgresError

CONNECT_SECONDS = 20.0


def ensure_service_role(owner_url: str, password: str) -> None:
    """Let the services connect as SERVICE with this password, which may read and write rows.

    Raises EmbeddedPostgresError.
    """
    try:
        asyncio.run(_ensure(owner_url, password))
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise EmbeddedPostgresError(
            f"The role of the services could not be made ({type(error).__name__}: {error})."
        ) from None


async def _ensure(owner_url: str, password: str) -> None:
    # Without TLS, which the server has not: asyncpg would look for certificates in the home folder.
    connection = await asyncpg.connect(owner_url, timeout=CONNECT_SECONDS, ssl=False)
    try:
        async with connection.transaction():
            await roles.make_role(connection, SERVICE.role, password)
            await roles.confine(connection, SERVICE.role)
            await roles.divide(connection, OWNER.role, SERVICE.role)
            await roles.give_rows(connection, OWNER.role, SERVICE.role)
    finally:
        await connection.close()
