"""`tandem db restored`: numbers of events that are lost are not taken for those of others."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import asyncpg
import pytest

from shared.events.vocabulary import NIL
from tests.cli.conftest import Tandem
from tests.cli.test_downgrade import on_a_terminal
from tests.event_log import append
from tests.migrations.database import Database

LOGS = "SELECT project_id, log_id, first, last FROM event_heads ORDER BY project_id"
OTHER = UUID(int=1)


@pytest.fixture
def logs(database_url: str) -> Database:
    """A database with two logs: that of users, and that of a project."""
    database = Database(database_url)
    database.make(lambda connection: append(connection, OTHER, 3))
    return database


def test_each_log_becomes_another_one_and_keeps_its_events(tandem: Tandem, logs: Database) -> None:
    before = logs.rows(LOGS)
    assert [row[0] for row in before] == [NIL, OTHER]
    result = tandem("db", "restored", "--yes")
    assert result.exit_code == 0
    assert "LOG_REWOUND" in result.stderr
    assert result.stderr.splitlines()[-1] == "2 logs became another one."
    after = logs.rows(LOGS)
    assert {row[1] for row in before}.isdisjoint(row[1] for row in after)
    assert len({row[1] for row in after}) == 2
    assert [(row[0], *row[2:]) for row in after] == [(row[0], *row[2:]) for row in before]
    assert logs.values("SELECT count(*) FROM events") == [3]


def test_without_a_terminal_nothing_is_changed(tandem: Tandem, logs: Database) -> None:
    before = logs.rows(LOGS)
    assert "Add --yes to go on." in tandem.refuses("db", "restored")
    assert logs.rows(LOGS) == before


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_asks(tandem: Tandem, logs: Database, answer: str) -> None:
    before = logs.rows(LOGS)
    with on_a_terminal(tandem, "db", "restored") as run:
        assert "LOG_REWOUND" in run.question
        assert run.answer(answer) == (answer == "n")
    assert (logs.rows(LOGS) == before) is (answer == "n")


@contextmanager
def connected(url: str, name: str) -> Iterator[None]:
    """A session of this name on the database."""
    with asyncio.Runner() as runner:
        settings = {"application_name": name}
        connection = runner.run(asyncpg.connect(url, server_settings=settings))
        yield
        runner.run(connection.close())


@pytest.mark.parametrize("name", ["agents", "tasks"])
def test_services_that_are_connected_keep_it_from_that(
    tandem: Tandem, logs: Database, name: str, postgres_url: str
) -> None:
    before = logs.rows(LOGS)
    with connected(logs.url, name):
        assert f"services are connected ({name})" in tandem.refuses("db", "restored", "--yes")
        assert logs.rows(LOGS) == before
        assert tandem("db", "restored", "--yes", "--force").exit_code == 0
    with connected(postgres_url, name), connected(logs.url, "psql"):
        assert tandem("db", "restored", "--yes").exit_code == 0
    assert logs.rows(LOGS) != before
