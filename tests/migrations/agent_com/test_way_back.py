"""The way back restores the tables of agent_com exactly, and an interruption changes nothing."""

import pytest
from sqlalchemy import Connection, Engine, event

from migrations import run
from migrations.agent_com.examination import Examination
from migrations.doctor.diagnosis import State
from migrations.doctor.examine import examine
from migrations.transaction import MigrationError
from tests.migrations.agent_com.picture import picture
from tests.migrations.database import Database
from tests.schema.rows import add_project

READS = "CREATE VIEW {0} AS SELECT username FROM users; GRANT SELECT ON users TO PUBLIC"


def accept(_: Examination) -> None:
    """Agree to everything."""


def test_the_way_back_leaves_the_same_database(origin: Database) -> None:
    origin.make(lambda connection: connection.execute(READS.format("names")))
    before = picture(origin)
    run.adopt_from_agent_com(origin.url, accept)
    origin.make(add_project)
    assert origin.values("SELECT count(*) FROM names") == [5]
    losses = {loss.what: loss.count for loss in run.data_loss(origin.url, "agent_com")}
    assert losses["projects"] == 8
    origin.downgrade("agent_com")
    assert picture(origin) == before
    assert examine(origin.url).state is State.AGENT_COM


# Tasks that are not pending are ready since the migration.
TASKS = """
SELECT to_jsonb(t) - CASE status WHEN 'pending' THEN '' ELSE 'ready_at' END FROM tasks AS t
ORDER BY id
"""


def test_it_can_be_adopted_again(origin: Database) -> None:
    run.adopt_from_agent_com(origin.url, accept)
    tasks = origin.values(TASKS)
    origin.downgrade("agent_com")
    run.adopt_from_agent_com(origin.url, accept)
    assert origin.values(TASKS) == tasks


def test_the_way_back_goes_on_from_an_older_revision(origin: Database) -> None:
    before = picture(origin)
    run.adopt_from_agent_com(origin.url, accept)
    origin.downgrade("base")
    origin.downgrade("agent_com")
    assert picture(origin) == before


def test_without_tables_aside_there_is_no_way_back(database_url: str) -> None:
    database = Database(database_url)
    before = database.everything()
    with pytest.raises(MigrationError, match="There is no schema agent_com_before"):
        run.data_loss(database.url, "agent_com")
    with pytest.raises(MigrationError, match="There is no schema agent_com_before"):
        database.downgrade("agent_com")
    assert database.everything() == before


def test_what_others_put_aside_prevents_the_way_back(adopted: Database) -> None:
    adopted.rows("CREATE VIEW agent_com_before.mine AS SELECT 1")
    before = adopted.everything()
    with pytest.raises(MigrationError, match=r"view agent_com_before\.mine"):
        adopted.downgrade("agent_com")
    assert adopted.everything() == before


def test_another_database_is_not_adopted(database_url: str) -> None:
    with pytest.raises(MigrationError, match="not a database of agent_com"):
        run.adopt_from_agent_com(database_url, accept)


def test_a_review_that_refuses_changes_nothing(origin: Database) -> None:
    def review(found: Examination) -> None:
        assert found.findings
        raise MigrationError("No.")

    before = picture(origin)
    with pytest.raises(MigrationError, match=r"^No\.$"):
        run.adopt_from_agent_com(origin.url, review)
    assert picture(origin) == before


# When the connection is lost: as rows are copied, after that, and instead of the COMMIT.
POINTS = ("INSERT INTO tasks", "CREATE TABLE request_ids", "COMMIT")


@pytest.mark.parametrize("point", POINTS)
def test_a_backend_that_is_killed_has_changed_nothing(origin: Database, point: str) -> None:
    before = picture(origin)
    with killed_at(point), pytest.raises(MigrationError, match=r"The connection .* was lost"):
        run.adopt_from_agent_com(origin.url, accept)
    assert picture(origin) == before
    run.adopt_from_agent_com(origin.url, accept)


class killed_at:  # noqa: N801
    """While this lasts, the backend ends itself before the statement, or before the COMMIT."""

    def __init__(self, point: str) -> None:
        self.point = point

    def __enter__(self) -> None:
        event.listen(Engine, "before_cursor_execute", self.statement)
        event.listen(Engine, "commit", self.commit)

    def __exit__(self, *_: object) -> None:
        event.remove(Engine, "before_cursor_execute", self.statement)
        event.remove(Engine, "commit", self.commit)

    def statement(self, connection: Connection, _: object, statement: str, *__: object) -> None:
        if self.point in statement and "pg_terminate_backend" not in statement:
            self.kill(connection)

    def commit(self, connection: Connection) -> None:
        if self.point == "COMMIT":
            self.kill(connection)

    @staticmethod
    def kill(connection: Connection) -> None:
        connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")
