"""The doctor reports the state of a database, changes nothing and blocks no other session."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from migrations import transaction
from migrations.doctor.diagnosis import Diagnosis, State, Verdict
from migrations.doctor.dry_run import CREATORS, FOUND_BY_003, OTHER_PROJECT
from migrations.doctor.examine import REFUSED, examine, make_read_only
from migrations.doctor.integrity import DANGLING, INVALID, MISSING
from migrations.doctor.privileges import MISSING_PRIVILEGES
from migrations.history import BASE, NEWEST, REVISIONS
from migrations.transaction import MigrationError, in_transaction
from tests.migrations import foreign
from tests.migrations.database import Database
from tests.migrations.doctor.findings import counts
from tests.migrations.legacy import Mix, fill_legacy

EVERYTHING = Mix(
    in_keys=5, in_participants=6, in_both=7, in_two_projects=8, alike=9, users=2, rows=2
)


def test_an_empty_database_needs_an_upgrade(database: Database) -> None:
    assert examine(database.url) == Diagnosis(State.EMPTY)
    assert examine(database.url).verdict is Verdict.UPGRADE


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migrated_database_has_no_problems_at_any_revision(
    database_at: Callable[[str], Database], revision: str
) -> None:
    diagnosis = examine(database_at(revision).url)
    newest = revision == NEWEST
    assert diagnosis.state is (State.NEWEST if newest else State.OLDER)
    assert diagnosis.verdict is (Verdict.CLEAN if newest else Verdict.UPGRADE)
    assert diagnosis.differences == []
    assert set(counts(diagnosis).values()) <= {0}


def test_differences_at_a_known_revision_are_found(database: Database) -> None:
    database.upgrade(BASE)
    database.rows("ALTER TABLE users RENAME CONSTRAINT pk_users TO users_pkey")
    assert examine(database.url).verdict is Verdict.UPGRADE
    database.rows("ALTER TABLE users DROP COLUMN email")
    assert examine(database.url).verdict is Verdict.BLOCKED


@pytest.mark.parametrize("statement", ["CREATE TABLE t ()", "DELETE FROM users"])
def test_postgresql_refuses_every_change(database_url: str, statement: str) -> None:
    def work(connection: Connection) -> None:
        make_read_only(connection)
        connection.execute(text(statement))

    with pytest.raises(MigrationError, match="read-only transaction"):
        in_transaction(database_url, work)


# A function of another role that takes precedence over PostgreSQL's own, and writes when called.
TRAP = """
CREATE TABLE caught ();
CREATE FUNCTION public.num_nonnulls(uuid, uuid) RETURNS integer LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO caught DEFAULT VALUES; RETURN 1; END $$
"""


def test_functions_that_it_calls_cannot_write_either(unversioned: Database) -> None:
    foreign.fill(unversioned)
    unversioned.make(lambda connection: connection.execute(TRAP))
    with pytest.raises(MigrationError, match="INSERT in a read-only transaction"):
        examine(f"{unversioned.url}?search_path=public,pg_catalog")
    assert unversioned.values("SELECT count(*) FROM caught") == [0]


def test_no_session_is_blocked_and_nothing_changes(legacy: Database) -> None:
    fill_legacy(legacy, EVERYTHING, versioned=False)
    before = legacy.everything()

    def meanwhile(connection: Connection) -> Diagnosis:
        connection.execute(text("LOCK TABLE users, agent_api_keys IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(text("SELECT FROM chat_participants FOR UPDATE"))
        return examine_elsewhere(legacy.url)

    assert in_transaction(legacy.url, meanwhile).verdict is Verdict.UPGRADE
    assert legacy.everything() == before


def test_an_exclusive_lock_makes_it_give_up(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "LOCK_TIMEOUT_SECONDS", 0.5)
    database.upgrade()

    def meanwhile(connection: Connection) -> None:
        connection.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        examine_elsewhere(database.url)

    with pytest.raises(MigrationError, match="Another session kept a table locked"):
        in_transaction(database.url, meanwhile)


def examine_elsewhere(url: str) -> Diagnosis:
    threads = ThreadPoolExecutor()
    try:
        return threads.submit(examine, url).result(timeout=60)
    finally:
        threads.shutdown(wait=False)  # it may be waiting for a lock of this thread


def test_the_manual_names_every_finding() -> None:
    manual = (Path(__file__).parents[3] / "docs/migrations.md").read_text()
    kinds = [*FOUND_BY_003, CREATORS, OTHER_PROJECT, MISSING_PRIVILEGES, MISSING, INVALID, DANGLING]
    assert [kind.code for kind in kinds if f"`{kind.code}`" not in manual] == []
    assert f"findings.{REFUSED.code}" in manual
    assert [state for state in State if f"`{state.value}`" not in manual] == []
    for verdict in Verdict:
        assert f"| {verdict.value} | `{verdict.name.lower()}` |" in manual
