"""The services connect to the embedded PostgreSQL as a role that only reads and writes rows."""

import stat
from pathlib import Path

import asyncpg
import pytest

from local.embedded_postgres import start
from tests.local.embedded_postgres.folders import ask

MAKE = "CREATE TABLE made AS SELECT 42 AS answer"
ANSWER = "SELECT answer FROM made"
PROGRAM = "COPY made FROM PROGRAM 'id -u'"


def test_the_services_have_rows_and_not_the_machine(data_dir: Path) -> None:
    server = start(data_dir)
    ask(server.url, MAKE)
    assert ask(server.service_url, ANSWER) == 42
    ask(server.url, PROGRAM)
    for statement in (PROGRAM, "CREATE TABLE mine (id int)", "DROP TABLE made"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(server.service_url, statement)
    password = (data_dir / "postgres.service.password").stat()
    assert stat.S_IMODE(password.st_mode) == 0o600


def test_data_that_was_made_without_the_role_gets_it(data_dir: Path) -> None:
    server = start(data_dir)
    ask(server.url, MAKE)
    ask(server.url, "DROP OWNED BY tandem_service")
    ask(server.url, "DROP ROLE tandem_service")
    (data_dir / "postgres.service.password").unlink()
    adopted = start(data_dir)
    assert adopted.adopted
    assert ask(adopted.service_url, ANSWER) == 42
    adopted.stop()
    assert ask(start(data_dir).service_url, ANSWER) == 42


def test_a_role_that_became_more_is_confined_at_the_next_start(data_dir: Path) -> None:
    server = start(data_dir)
    ask(server.url, "ALTER ROLE tandem_service SUPERUSER PASSWORD 'another'")
    assert ask(start(data_dir).service_url, "SHOW is_superuser") == "off"
