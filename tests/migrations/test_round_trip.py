"""Down and up again with rows in every table: what the older schema can store comes back."""

import json

import pytest

from migrations import run
from migrations.history import BASE, BASE_WITH_CREATORS, REVISIONS
from tests.migrations.database import Database
from tests.migrations.filled import fill
from tests.migrations.legacy import Mix, fill_legacy
from tests.migrations.test_data_loss import MADE_ANEW

BASE_TABLES = ("users", "projects", "chat_rooms", "chat_participants", "agent_api_keys")


@pytest.fixture
def filled(database_url: str) -> Database:
    database = Database(database_url)
    database.make(fill)
    return database


@pytest.mark.parametrize("target", REVISIONS[2:])
def test_from_agents_on_every_row_survives_but_what_is_listed(
    filled: Database, target: str
) -> None:
    lost = {loss.what for loss in run.data_loss(filled.url, target)} | MADE_ANEW
    before = filled.contents(without=lost)
    filled.downgrade(target)
    filled.upgrade()
    assert filled.contents(without=lost) == before
    after = filled.contents()
    assert [table for table in lost - MADE_ANEW if after.get(table)] == []


def test_before_agents_their_ids_survive_as_placeholders(
    filled: Database, caplog: pytest.LogCaptureFixture
) -> None:
    lost = {loss.what for loss in run.data_loss(filled.url, BASE)}
    before, agents = filled.contents(without=lost), ids_of_agents(filled)
    filled.downgrade(BASE)
    filled.upgrade()
    after = filled.contents(without=lost)
    assert {table: after[table] for table in BASE_TABLES} == {
        table: before[table] for table in BASE_TABLES
    }
    assert ids_of_agents(filled) == agents
    assert filled.values("SELECT count(*) FROM tasks") == [0]
    assert "tasks: 6 rows will be lost." in caplog.text
    assert "agents: 1 row will be lost." in caplog.text


def ids_of_agents(database: Database) -> list[str]:
    return [json.loads(row)["id"] for row in database.contents()["agents"]]


def test_a_downgrade_to_base_leaves_nothing(
    filled: Database, caplog: pytest.LogCaptureFixture
) -> None:
    filled.downgrade("base")
    assert filled.structure() == set()
    assert filled.current() is None
    for table in BASE_TABLES:
        assert f"{table}: " in caplog.text


def test_a_legacy_database_comes_back_unchanged(legacy: Database) -> None:
    """Except that rows which were moved keep the agent of their own project."""
    fill_legacy(legacy, Mix(in_keys=3, in_both=3, in_two_projects=3, alike=3, users=2, rows=2))
    before = base_rows(legacy, "agent_id")
    legacy.upgrade()
    migrated = base_rows(legacy)
    legacy.downgrade(BASE_WITH_CREATORS)
    assert base_rows(legacy, "agent_id") == before
    legacy.upgrade()
    assert base_rows(legacy) == migrated


def base_rows(database: Database, *without: str) -> list[tuple[str, str]]:
    """The rows of the tables that a legacy database has."""
    statement = "SELECT (to_jsonb(t) - $1::text[])::text FROM {} AS t"
    return [
        (table, row)
        for table in BASE_TABLES
        for row in sorted(database.values(statement.format(table), list(without)))
    ]
