"""What a downgrade drops is listed first, all of it, and cannot change between list and deed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from migrations import run
from migrations.losses import Loss
from migrations.run import MigrationError
from tests.migrations.database import Database
from tests.migrations.test_drift import REVISIONS
from tests.migrations.test_round_trip import contents, fill

# Dropped, but the older schema says the same elsewhere: tests/migrations/test_round_trip.py.
KEPT_OTHERWISE = {
    "chat_participants.project_id",  # its room's
    "tasks.assigned_agent_id",  # assigned_to
    "tasks.assigned_user_id",
    "task_dependencies",  # tasks.dependencies
}

PARTS = """
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'
UNION ALL
SELECT table_name || '.' || column_name FROM information_schema.columns
WHERE table_schema = 'public'
"""


@pytest.fixture
def filled(database_url: str) -> Database:
    """A row and more in every table, none of them as it was made."""
    database = Database(database_url)
    database.make(fill)
    tables = contents(database)
    assert all(tables.values())
    for table in (name for name, rows in tables.items() if '"revision": 1' in rows[0]):
        database.rows(f"UPDATE {table} SET revision = 2")  # noqa: S608
    return database


def test_whatever_a_downgrade_drops_is_listed(filled: Database) -> None:
    for older in [*reversed(REVISIONS[:-1]), "base"]:
        listed = {loss.what for loss in run.losses(filled.url, older)}
        before = set(filled.values(PARTS))
        filled.downgrade("-1")
        dropped = before - set(filled.values(PARTS))
        of_tables_that_stay = {part for part in dropped if part.partition(".")[0] not in dropped}
        whole = {part for part in dropped if "." not in part}
        assert (whole | of_tables_that_stay) - KEPT_OTHERWISE <= listed, older
        assert listed <= dropped, older


def test_the_list_counts_every_row_once(filled: Database) -> None:
    counted = {table: len(rows) for table, rows in contents(filled).items()}
    edges = counted.pop("task_dependencies")
    losses = {loss.what: loss.count for loss in run.losses(filled.url, "base")}
    assert losses == {**counted, "task_dependencies.created_at": edges}


def test_what_is_as_the_older_schema_makes_it_is_no_loss(database_url: str) -> None:
    database = Database(database_url)
    database.make(fill)
    database.rows("DELETE FROM request_ids")
    assert run.losses(database.url, "006_add_task_dependency_edges") == []


def test_nobody_changes_what_is_lost_after_it_was_listed(filled: Database) -> None:
    async def interfere() -> None:
        connection = await asyncpg.connect(filled.url)
        try:
            await connection.execute("SET lock_timeout = '100ms'")
            await connection.execute("INSERT INTO agents SELECT * FROM agents")
        finally:
            await connection.close()

    def review(listed: list[Loss]) -> None:
        assert listed
        with ThreadPoolExecutor(1) as elsewhere, pytest.raises(asyncpg.LockNotAvailableError):
            elsewhere.submit(asyncio.run, interfere()).result()

    run.downgrade(filled.url, "002_add_agent_api_key_user_fk", review)
    assert filled.current() == "002_add_agent_api_key_user_fk"


def test_a_review_that_refuses_changes_nothing(filled: Database) -> None:
    def review(_: list[Loss]) -> None:
        raise MigrationError("No.")

    before = (filled.structure(), contents(filled))
    with pytest.raises(MigrationError, match=r"^No\.$"):
        run.downgrade(filled.url, "base", review)
    assert (filled.structure(), contents(filled)) == before


@pytest.mark.parametrize("revision", ["999_nothing", "-99", "+1"])
def test_a_revision_that_is_not_below_is_refused(filled: Database, revision: str) -> None:
    with pytest.raises(MigrationError):
        run.losses(filled.url, revision)
    with pytest.raises(MigrationError):
        filled.downgrade(revision)
    assert filled.current() == REVISIONS[-1]


def test_an_empty_database_has_nothing_to_lose(database: Database) -> None:
    assert run.losses(database.url, "base") == []
    database.downgrade("base")
    assert database.current() is None
