"""A run excludes others, is atomic, and does not depend on the current folder."""

import time
from contextlib import ExitStack

import pytest
from sqlalchemy import Connection, Engine, event, text

from migrations.history import NEWEST
from migrations.transaction import MigrationError, in_transaction, lock_out_other_migrators
from tests.migrations.database import Database
from tests.migrations.legacy import Mix, fill_legacy
from tests.migrations.migrators import Migrator, migrator

PATIENCE_SECONDS = 60
WAITING = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""
LIMITS = "SELECT name, setting FROM pg_settings WHERE name ~ '^(statement|transaction)_timeout$'"


def test_a_migrator_waits_for_another(database: Database) -> None:
    def meanwhile(connection: Connection) -> list[Migrator]:
        lock_out_other_migrators(connection)
        others = [stack.enter_context(migrator(database.url)) for _ in range(2)]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while connection.scalar(text(WAITING)) != 2:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return others

    with ExitStack() as stack:
        others = in_transaction(database.url, meanwhile)
        assert [other.wait() for other in others] == ["", ""]
    assert database.current() == NEWEST


def test_two_at_once_give_each_orphan_one_agent(legacy: Database) -> None:
    mix = Mix(in_both=200, in_two_projects=200)
    fill_legacy(legacy, mix)
    with migrator(legacy.url) as one, migrator(legacy.url) as other:
        assert [one.wait(), other.wait()] == ["", ""]
    assert legacy.current() == NEWEST
    assert legacy.values("SELECT count(*) FROM agents") == [mix.agents]


def test_a_new_database_is_at_no_revision(database: Database) -> None:
    assert database.current() is None


def test_an_upgrade_ends_at_the_newest_revision(database: Database) -> None:
    database.upgrade()
    database.upgrade()
    assert database.current() == NEWEST


def test_a_failed_run_changes_nothing(database: Database) -> None:
    """The third revision fails because of the type, after two have been applied."""
    database.rows("CREATE DOMAIN agents AS integer")
    with pytest.raises(MigrationError, match='"agents" already exists'):
        database.upgrade()
    assert database.current() is None
    assert database.structure() == set()


def test_a_failed_downgrade_names_the_objects_in_its_way(database: Database) -> None:
    database.upgrade()
    database.rows("CREATE VIEW mails AS SELECT email FROM users")
    with pytest.raises(MigrationError, match="view mails depends on table users"):
        database.downgrade("base")
    assert database.current() == NEWEST


def test_time_limits_of_the_database_do_not_apply_to_a_migration(database: Database) -> None:
    def note(connection: Connection) -> None:
        limits.update(connection.exec_driver_sql(LIMITS).all())

    names = [name for name, _ in database.rows(LIMITS)]
    for name in names:
        database.rows(f"ALTER DATABASE {database.name} SET {name} = '1h'")
    limits: dict[str, str] = {}
    event.listen(Engine, "commit", note)
    try:
        database.upgrade()
    finally:
        event.remove(Engine, "commit", note)
    assert limits == dict.fromkeys(names, "0")


def test_an_unknown_revision_is_refused_with_a_sentence(database: Database) -> None:
    with pytest.raises(MigrationError, match="Can't locate revision"):
        database.upgrade("999_never")
