"""A run is alone, whole, independent of where it is started, and discreet."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from migrations import run
from tests.migrations.database import Database
from tests.migrations.legacy import Mix, make_legacy

HEAD = "010_serve_pages_of_rooms"
MIGRATE = "import sys; from migrations.run import upgrade; upgrade(sys.argv[1])"
WAITING = """
SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()
"""


def migrator(url: str, cwd: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", MIGRATE, url], cwd=cwd)


def test_a_migrator_waits_for_another(database: Database, tmp_path: Path) -> None:
    def meanwhile(connection: Connection) -> None:
        run.be_alone(connection)
        others.extend(migrator(database.url, tmp_path) for _ in range(2))
        deadline = time.monotonic() + 30
        while connection.scalar(text(WAITING)) != 2:
            assert time.monotonic() < deadline, [other.poll() for other in others]
            time.sleep(0.05)

    others: list[subprocess.Popen[bytes]] = []
    try:
        run.in_transaction(database.url, meanwhile)
        assert [other.wait(30) for other in others] == [0, 0]
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert database.current() == HEAD


def test_two_at_once_give_each_orphan_one_agent(database: Database, tmp_path: Path) -> None:
    mix = Mix(in_both=200, in_two_projects=200)
    make_legacy(database, mix)
    both = [migrator(database.url, tmp_path) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    assert database.current() == HEAD
    assert database.values("SELECT count(*) FROM agents") == [mix.agents]


def test_a_new_database_is_at_no_revision(database: Database) -> None:
    assert database.current() is None


def test_the_head_is_where_upgrade_goes(database: Database) -> None:
    database.upgrade()
    database.upgrade()
    assert database.current() == HEAD


def test_a_failed_run_changes_nothing(database: Database) -> None:
    """The type in the way is met by the third revision, after two have been applied."""
    database.rows("CREATE DOMAIN agents AS integer")
    with pytest.raises(run.MigrationError, match='"agents" already exists'):
        database.upgrade()
    assert database.current() is None
    assert database.structure() == set()


def test_services_are_not_queued_up_behind_a_waiting_migration(database: Database) -> None:
    def setting(connection: Connection) -> object:
        run.be_alone(connection)
        return connection.scalar(text("SHOW lock_timeout"))

    assert run.in_transaction(database.url, setting) == "10s"


def test_what_is_dropped_in_vain_names_what_depends_on_it(database: Database) -> None:
    database.upgrade()
    database.rows("CREATE VIEW mails AS SELECT email FROM users")
    with pytest.raises(run.MigrationError, match="view mails depends on table users"):
        database.downgrade("base")
    assert database.current() == HEAD


def test_a_limit_to_transactions_does_not_cut_a_migration(database: Database) -> None:
    (name,) = database.values("SELECT quote_ident(current_database())")
    limits = "'statement_timeout', 'transaction_timeout'"
    for limit in database.values(f"SELECT name FROM pg_settings WHERE name IN ({limits})"):  # noqa: S608
        database.rows(f"ALTER DATABASE {name} SET {limit} = '10ms'")
    database.upgrade()


def test_an_unknown_revision_is_refused_with_a_sentence(database: Database) -> None:
    with pytest.raises(run.MigrationError, match="Can't locate revision"):
        database.upgrade("999_never")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://u:hunter2/x@h:1/db", "The database URL is not valid."),
        ("mysql://u:hunter2@h/db", "The database URL is not valid."),
        ("postgresql://u:hunter2@127.0.0.1:1/db", "The database cannot be reached."),
    ],
)
def test_a_failure_does_not_tell_the_password(url: str, sentence: str) -> None:
    with pytest.raises(run.MigrationError) as failure:
        run.upgrade(url)
    assert str(failure.value) == sentence
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


def test_a_wrong_password_is_refused_without_telling_it(database: Database) -> None:
    scheme, rest = database.url.split("//")
    user, place = rest.split("@")
    wrong = f"{scheme}//{user.split(':')[0]}:hunter2@{place}"
    with pytest.raises(run.MigrationError, match="password authentication failed") as failure:
        run.current(wrong)
    assert "hunter2" not in str(failure.value)
