"""The role of the services reads and writes rows, and can do nothing else."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from shared.database import roles
from shared.schema import metadata
from tests import as_service

FORBIDDEN = (
    "COPY users FROM PROGRAM 'id'",
    "COPY users TO PROGRAM 'cat'",
    "COPY users TO '/tmp/users'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "CREATE TABLE made (id int)",
    "CREATE TEMPORARY TABLE made (id int)",
    "CREATE SCHEMA made",
    "CREATE FUNCTION made() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EXTENSION dblink",
    "CREATE ROLE made",
    "CREATE DATABASE made",
    "CREATE INDEX ON users (username)",
    "ALTER TABLE users ADD made int",
    "DROP TABLE users",
    "TRUNCATE users",
    "CREATE TRIGGER made AFTER INSERT ON users EXECUTE FUNCTION unique_key_recheck()",
    "COMMENT ON TABLE users IS 'made'",
    "ALTER SYSTEM SET fsync = off",
    "ALTER ROLE CURRENT_USER SUPERUSER",
    "SET SESSION AUTHORIZATION {owner}",
    "SET ROLE {owner}",
    "UPDATE alembic_version SET version_num = ''",
    "INSERT INTO alembic_version VALUES ('')",
    "DELETE FROM alembic_version",
    "UPDATE events SET type = ''",
    "TRUNCATE events, event_heads",
)


ROLE = f"tandem_test_{uuid4().hex}"


@pytest.fixture
async def service(database_url: str) -> AsyncIterator[Any]:
    """A connection of the services' role to a fresh database."""
    await as_service.divide(database_url)
    connection = await asyncpg.connect(as_service.url_for(database_url))
    yield connection
    await connection.close()


async def test_it_may_do_nothing_but_read_and_write_rows(service: Any, database_url: str) -> None:
    owner = await asyncpg.connect(database_url)
    name = await owner.fetchval("SELECT quote_ident(current_user)")
    assert await roles.excess(owner, as_service.NAME) == []
    await owner.close()
    for statement in FORBIDDEN:
        with pytest.raises(asyncpg.PostgresError) as refused:
            await service.execute(statement.format(owner=name))
        assert type(refused.value) is asyncpg.InsufficientPrivilegeError, statement


async def test_it_reads_and_writes_the_rows_of_every_table(service: Any) -> None:
    for table in metadata.tables:
        for privilege in roles.LESS.get(table, roles.ROWS).split(", "):
            assert await service.fetchval("SELECT has_table_privilege($1, $2)", table, privilege)
    assert await service.fetchval("SELECT version_num FROM alembic_version")


async def test_tables_to_come_are_the_services_and_their_rows_only(
    service: Any, database_url: str
) -> None:
    owner = await asyncpg.connect(database_url)
    await owner.execute("CREATE TABLE later (id int)")
    await service.execute("INSERT INTO later VALUES (1)")
    assert await service.fetchval("DELETE FROM later RETURNING id") == 1
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute("TRUNCATE later")
    await owner.close()


@pytest.fixture
async def owner(database_url: str) -> AsyncIterator[Any]:
    """A connection of the owner with the role ROLE, of which nothing is kept."""
    connection = await asyncpg.connect(database_url)
    transaction = connection.transaction()
    await transaction.start()
    await roles.make_role(connection, ROLE, "secret")
    yield connection
    await transaction.rollback()
    await connection.close()


async def test_what_made_it_more_is_taken(owner: Any) -> None:
    await owner.execute(f"ALTER ROLE {ROLE} SUPERUSER CREATEROLE")
    await owner.execute(f"GRANT pg_execute_server_program TO {ROLE}")
    assert await roles.confine(owner, ROLE) == [
        "NOSUPERUSER",
        "NOCREATEROLE",
        "no longer a member of pg_execute_server_program",
    ]
    assert await roles.confine(owner, ROLE) == []


async def test_what_it_has_set_for_its_sessions_is_taken(owner: Any) -> None:
    database = roles.quoted(await owner.fetchval("SELECT current_database()"))
    await owner.execute(f"ALTER ROLE {ROLE} SET default_transaction_read_only = on")
    await owner.execute(f"ALTER ROLE {ROLE} IN DATABASE {database} SET statement_timeout = '1ms'")
    assert sorted(await roles.confine(owner, ROLE)) == [
        "no longer with default_transaction_read_only=on",
        "no longer with statement_timeout=1ms",
    ]
    assert await roles.confine(owner, ROLE) == []


async def test_a_statement_that_sets_a_password_has_only_its_verifier() -> None:
    one, other = (roles.scram_verifier("hunter2") for _ in range(2))
    assert one != other
    assert one.startswith("SCRAM-SHA-256$4096:")
    assert "hunter2" not in one
