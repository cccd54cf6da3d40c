"""A transaction waits a limited time for locks, and its errors never have the password."""

import pytest
from sqlalchemy import Connection, text

from migrations import run
from migrations.transaction import MigrationError, in_transaction, lock_out_other_migrators
from tests.migrations.database import Database


def test_services_do_not_queue_for_long_behind_a_waiting_migration(database: Database) -> None:
    def setting(connection: Connection) -> object:
        lock_out_other_migrators(connection)
        return connection.scalar(text("SHOW lock_timeout"))

    assert in_transaction(database.url, setting) == "10s"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("postgresql://u:hunter2/x@h:1/db", "The database URL is not valid."),
        ("mysql://u:hunter2@h/db", "The database URL is not valid."),
        ("postgresql://u:hunter2@127.0.0.1:1/db", "The database cannot be reached."),
    ],
)
def test_a_failure_does_not_tell_the_password(url: str, sentence: str) -> None:
    with pytest.raises(MigrationError) as failure:
        run.upgrade(url)
    assert str(failure.value) == sentence
    assert failure.value.__cause__ is None
    assert failure.value.__suppress_context__


def test_a_wrong_password_is_refused_without_telling_it(database: Database) -> None:
    scheme, rest = database.url.split("//")
    user, place = rest.split("@")
    wrong = f"{scheme}//{user.split(':')[0]}:hunter2@{place}"
    with pytest.raises(MigrationError, match="password authentication failed") as failure:
        run.current(wrong)
    assert "hunter2" not in str(failure.value)
