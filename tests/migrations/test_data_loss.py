"""Everything that a downgrade drops is listed first, and cannot change between list and deed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from migrations import run
from migrations.data_loss import DataLoss
from migrations.history import BASE_WITH_CREATORS, NEWEST, REVISIONS
from migrations.transaction import MigrationError
from tests.migrations.database import Database
from tests.migrations.filled import fill

# Dropped, but the older schema stores the same elsewhere: tests/migrations/test_round_trip.py.
STORED_ELSEWHERE = {
    "chat_participants.project_id",  # its room's
    "tasks.assigned_agent_id",  # assigned_to
    "tasks.assigned_user_id",
    "task_dependencies",  # tasks.dependencies
    "tasks.rank",  # priority
    "tasks.lane",  # assigned_agent_id, assigned_user_id; of others, with required_capabilities
}
# An upgrade begins each log anew.
MADE_ANEW = {"event_heads"}

PARTS = """
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'
UNION ALL
SELECT table_name || '.' || column_name FROM information_schema.columns
WHERE table_schema = 'public'
"""


@pytest.fixture
def filled(database_url: str) -> Database:
    """A row and more in every table, each of them changed since it was created."""
    database = Database(database_url)
    database.make(fill)
    for table in (
        name for name, rows in database.contents().items() if '"revision": 1' in str(rows)
    ):
        database.rows(f"UPDATE {table} SET revision = 2")  # noqa: S608
    return database


def test_every_table_has_rows_here(filled: Database) -> None:
    empty = [table for table, rows in filled.contents().items() if not rows]
    assert not empty, f"Add rows of {empty} to fill() in tests/schema/rows.py."


def test_everything_that_a_downgrade_drops_is_listed(filled: Database) -> None:
    for newer, older in zip(reversed(REVISIONS), [*reversed(REVISIONS[:-1]), "base"], strict=True):
        listed = {loss.what for loss in run.data_loss(filled.url, older)}
        before = set(filled.values(PARTS))
        filled.downgrade("-1")
        dropped = before - set(filled.values(PARTS))
        of_tables_that_stay = {part for part in dropped if part.partition(".")[0] not in dropped}
        tables = {part for part in dropped if "." not in part}
        missing = (tables | of_tables_that_stay) - STORED_ELSEWHERE - MADE_ANEW - listed
        assert not missing, (
            f"The downgrade of {newer} drops {missing}, but does not list it: declare it in DROPS "
            "of the migration. A table needs rows in fill() of tests/schema/rows.py, too."
        )
        assert listed <= dropped, f"DROPS of {newer} names what its downgrade does not drop."


def test_the_list_counts_every_row_once(filled: Database) -> None:
    counted = {table: len(rows) for table, rows in filled.contents(without=MADE_ANEW).items()}
    edges = counted.pop("task_dependencies")
    losses = {loss.what: loss.count for loss in run.data_loss(filled.url, "base")}
    assert losses == {**counted, "task_dependencies.created_at": edges}


def test_a_first_revision_is_no_loss(database_url: str) -> None:
    """Every row has revision 1 again after an upgrade."""
    database = Database(database_url)
    database.make(fill)
    losses = run.data_loss(database.url, "006_add_task_dependency_edges")
    assert [loss for loss in losses if loss.what.endswith(".revision")] == []


def test_no_other_session_changes_what_was_listed(filled: Database) -> None:
    async def interfere() -> None:
        connection = await asyncpg.connect(filled.url)
        try:
            await connection.execute("SET lock_timeout = '100ms'")
            await connection.execute("INSERT INTO agents SELECT * FROM agents")
        finally:
            await connection.close()

    def review(listed: list[DataLoss]) -> None:
        assert listed
        with ThreadPoolExecutor(1) as elsewhere, pytest.raises(asyncpg.LockNotAvailableError):
            elsewhere.submit(asyncio.run, interfere()).result()

    run.downgrade(filled.url, BASE_WITH_CREATORS, review)
    assert filled.current() == BASE_WITH_CREATORS


def test_a_review_that_refuses_changes_nothing(filled: Database) -> None:
    def review(_: list[DataLoss]) -> None:
        raise MigrationError("No.")

    before = (filled.structure(), filled.contents())
    with pytest.raises(MigrationError, match=r"^No\.$"):
        run.downgrade(filled.url, "base", review)
    assert (filled.structure(), filled.contents()) == before


@pytest.mark.parametrize("revision", ["999_nothing", "-99", "+1"])
def test_a_revision_that_is_not_older_is_refused(filled: Database, revision: str) -> None:
    with pytest.raises(MigrationError):
        run.data_loss(filled.url, revision)
    with pytest.raises(MigrationError):
        filled.downgrade(revision)
    assert filled.current() == NEWEST


def test_an_empty_database_loses_nothing(database: Database) -> None:
    assert run.data_loss(database.url, "base") == []
    database.downgrade("base")
    assert database.current() is None
