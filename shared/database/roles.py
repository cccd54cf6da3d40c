"""The two roles of a database: its owner, which migrates, and the services', which has rows only.

Nothing here is needed by a service: `tandem up` and `tandem db roles` give the privileges.
"""

import base64
import hashlib
import hmac
import os
from collections.abc import Iterable
from typing import TypeAlias

import asyncpg

from shared.database import queries

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

VERSION_TABLE = "alembic_version"
"""The services read the revision in it; only a migration changes that."""

SCRAM_ITERATIONS = 4096  # PostgreSQL's own number
ROWS = "SELECT, INSERT, UPDATE, DELETE"
# Tables of which the services may do less. What has happened is not changed afterwards.
LESS = {VERSION_TABLE: "SELECT", "events": "SELECT, INSERT, DELETE"}

# What a role that only has rows must not be, and the word that ends it.
ATTRIBUTES = {
    "rolsuper": "NOSUPERUSER",
    "rolcreatedb": "NOCREATEDB",
    "rolcreaterole": "NOCREATEROLE",
    "rolreplication": "NOREPLICATION",
    "rolbypassrls": "NOBYPASSRLS",
}

ROLE = "SELECT * FROM pg_roles WHERE rolname = $1"

# The roles that a role is a member of, and so has the privileges of.
GROUPS = "SELECT roleid::regrole::text FROM pg_auth_members WHERE member = to_regrole($1)"

# What a role has set for its own sessions, which it may do itself: a time limit of a millisecond or
# read-only transactions would stop the services for good. The database is NULL for all of them.
SESSION_SETTINGS = """
SELECT datname, unnest(setconfig) AS setting
FROM pg_db_role_setting LEFT JOIN pg_database ON pg_database.oid = setdatabase
WHERE setrole = to_regrole($1) AND (setdatabase = 0 OR datname = current_database())
"""

# The tables in the schema: all of the owner's, or, whoever owns them, those with the names.
TABLES = """
SELECT relname, pg_get_userbyid(relowner) AS owner
FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p')
    AND CASE WHEN $2::text[] IS NULL THEN relowner = to_regrole($1) ELSE relname = ANY($2) END
ORDER BY relname
"""


async def make_role(connection: Connection, name: str, password: str) -> bool:
    """Let the role log in with this password, and return whether it is new."""
    is_new = await connection.fetchrow(ROLE, name) is None
    verb = "CREATE" if is_new else "ALTER"
    await connection.execute(
        f"{verb} ROLE {quoted(name)} LOGIN PASSWORD '{scram_verifier(password)}'"
    )
    return is_new


async def confine(connection: Connection, name: str) -> list[str]:
    """Take from the role what makes it more than others; what was taken, in words."""
    role = await connection.fetchrow(ROLE, name)
    assert role
    taken = [word for attribute, word in ATTRIBUTES.items() if role[attribute]]
    if taken:
        await connection.execute(f"ALTER ROLE {quoted(name)} {' '.join(taken)}")
    groups = [row[0] for row in await connection.fetch(GROUPS, quoted(name))]
    for group in groups:  # a regrole is quoted already
        await connection.execute(f"REVOKE {group} FROM {quoted(name)}")
    settings = await connection.fetch(SESSION_SETTINGS, quoted(name))
    for database in {row["datname"] for row in settings}:
        where = f" IN DATABASE {quoted(database)}" if database else ""
        await connection.execute(f"ALTER ROLE {quoted(name)}{where} RESET ALL")
    return [
        *taken,
        *(f"no longer a member of {group}" for group in groups),
        *(f"no longer with {row['setting']}" for row in settings),
    ]


async def tables(
    connection: Connection, owner: str, names: Iterable[str] | None = None
) -> list[asyncpg.Record]:
    """The tables of the schema with these names, or else those of the owner: relname, owner."""
    chosen = None if names is None else list(names)
    found: list[asyncpg.Record] = await connection.fetch(TABLES, quoted(owner), chosen)
    return found


async def divide(connection: Connection, owner: str, service: str) -> None:
    """Give the owner the schema, and the service the rows of tables that the owner will make.

    The connection is in a transaction, and its role may grant in the schema, in the database and
    for the owner.
    """
    schema = quoted(await connection.fetchval("SELECT current_schema()"))
    database = quoted(await connection.fetchval("SELECT current_database()"))
    theirs, its = quoted(owner), quoted(service)
    for statement in (
        f"GRANT CONNECT ON DATABASE {database} TO {theirs}, {its}",
        f"GRANT TEMPORARY ON DATABASE {database} TO {theirs}",
        f"REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC, {its}",
        f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {theirs}",
        f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {its}",
        f"GRANT USAGE ON SCHEMA {schema} TO {its}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {theirs} IN SCHEMA {schema}"
        f" GRANT {ROWS} ON TABLES TO {its}",
    ):
        await connection.execute(statement)


async def give_rows(
    connection: Connection, owner: str, service: str, names: Iterable[str] | None = None
) -> None:
    """Give the service the rows of the tables with these names, or else of all of the owner's."""
    for row in await tables(connection, owner, names):
        rows = LESS.get(row["relname"], ROWS)
        table, its = quoted(row["relname"]), quoted(service)
        await connection.execute(f"REVOKE ALL ON {table} FROM {its}")
        await connection.execute(f"GRANT {rows} ON {table} TO {its}")


async def excess(connection: Connection, service: str) -> list[str]:
    """What the service's role can still do beyond rows, in words."""
    return queries.excess_in(await connection.fetchrow(queries.EXCESS.sql, service))


def quoted(name: str) -> str:
    """The name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'


def scram_verifier(password: str) -> str:
    """What PostgreSQL stores of a password (RFC 5802), so that no statement has the password."""
    salt = os.urandom(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, SCRAM_ITERATIONS)
    client = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = [base64.b64encode(part).decode() for part in (salt, client, server)]
    return f"SCRAM-SHA-256${SCRAM_ITERATIONS}:{parts[0]}${parts[1]}:{parts[2]}"
