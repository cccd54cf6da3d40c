"""`tandem db roles`: the owner of the tables, and the role of the services."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import asyncpg

from cli.console import CommandError
from cli.database import run
from shared.database import roles
from shared.schema import metadata
from shared.settings import SecretStr, Settings

LOCK_TIMEOUT = "SET LOCAL lock_timeout = '10s'"
# Two at once would change the same rows of PostgreSQL's catalogs, which fails. It is the lock of
# the migrations, which change what is granted here.
LOCK = "SELECT pg_advisory_xact_lock(x'74616e64656d'::bigint)"  # "tandem"

# Whether this role has the privileges of another one, as a superuser or as its member.
HAS_PRIVILEGES = "SELECT pg_has_role($1::name, 'USAGE')"

TABLES = (roles.VERSION_TABLE, *metadata.tables)

MISSING = (
    "Set TANDEM_DATABASE_OWNER_URL and TANDEM_DATABASE_URL: `tandem db roles` makes the roles that "
    "they name, with their passwords. The embedded PostgreSQL has both already."
)


@dataclass(frozen=True)
class Account:
    """The role, the password and the database of a URL."""

    name: str
    password: str = field(repr=False)
    database: str


def make_roles(settings: Settings) -> list[str]:
    """Make both roles, or complete them; what was done, in sentences.

    Raises CommandError, and then nothing has changed.
    """
    if not (settings.database_owner_url and settings.database_url):
        raise CommandError(MISSING)
    owner = _account(settings.database_owner_url, "TANDEM_DATABASE_OWNER_URL")
    service = _account(settings.database_url, "TANDEM_DATABASE_URL")
    if owner.name == service.name:
        raise CommandError("TANDEM_DATABASE_OWNER_URL and TANDEM_DATABASE_URL name the same role.")
    admin = settings.database_admin_url or settings.database_owner_url

    async def work(connection: roles.Connection) -> list[str]:
        database = await connection.fetchval("SELECT current_database()")
        if {owner.database, service.database} != {database}:
            raise CommandError("The URLs name different databases.")
        async with connection.transaction():
            try:
                return await _make(connection, owner, service)
            except (asyncpg.InsufficientPrivilegeError, asyncpg.LockNotAvailableError) as error:
                raise CommandError(f"Nothing was changed: {error}.") from None

    return run(admin.get_secret_value(), work)


def _account(url: SecretStr, variable: str) -> Account:
    parts = urlsplit(url.get_secret_value())
    name, password = unquote(parts.username or ""), unquote(parts.password or "")
    database = unquote(parts.path.removeprefix("/"))
    if not (name and password and database and password.isascii() and password.isprintable()):
        raise CommandError(
            f"{variable} must have a user, a password of visible ASCII characters and a database."
        )
    return Account(name, password, database)


async def _make(connection: roles.Connection, owner: Account, service: Account) -> list[str]:
    admin = await connection.fetchval("SELECT current_user")
    if service.name == admin:
        raise CommandError(f"{admin} makes the roles: it cannot be the one of the services.")
    await connection.execute(LOCK_TIMEOUT)
    await connection.execute(LOCK)
    done = [await _role(connection, each) for each in (owner, service) if each.name != admin]
    done += [f"{service.name}: {taken}." for taken in await roles.confine(connection, service.name)]
    async with _member_of(connection, owner.name):
        await roles.divide(connection, owner.name, service.name)
        done += await _hand_over(connection, owner.name)
        await roles.give_rows(connection, owner.name, service.name, TABLES)
    if excess := await roles.excess(connection, service.name):
        raise CommandError(
            f"Nothing was changed: {service.name} would keep more than rows: {', '.join(excess)}."
        )
    done.append(f"{owner.name} migrates; {service.name} reads and writes rows, and nothing else.")
    return done


async def _role(connection: roles.Connection, account: Account) -> str:
    if await roles.make_role(connection, account.name, account.password):
        return f"{account.name}: created."
    return f"{account.name}: exists; its password is the one of the URL now."


async def _hand_over(connection: roles.Connection, owner: str) -> list[str]:
    """Make the owner that of every table of Tandem."""
    done = []
    for row in await roles.tables(connection, owner, TABLES):
        if row["owner"] != owner:
            table = roles.quoted(row["relname"])
            await connection.execute(f"ALTER TABLE {table} OWNER TO {roles.quoted(owner)}")
            done.append(f"{row['relname']}: belongs to {owner}, no longer to {row['owner']}.")
    return done


@asynccontextmanager
async def _member_of(connection: roles.Connection, role: str) -> AsyncIterator[None]:
    """This role has the privileges of `role` in this block, also if it is no superuser."""
    if await connection.fetchval(HAS_PRIVILEGES, role):
        yield
        return
    await connection.execute(f"GRANT {roles.quoted(role)} TO CURRENT_USER")
    yield
    await connection.execute(f"REVOKE {roles.quoted(role)} FROM CURRENT_USER")
