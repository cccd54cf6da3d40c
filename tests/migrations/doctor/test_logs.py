"""The doctor finds what is wrong with the logs of events."""

from uuid import UUID

import pytest

from migrations.doctor import logs
from migrations.doctor.diagnosis import Diagnosis, Verdict
from migrations.doctor.examine import examine
from tests.event_log import append
from tests.migrations.database import Database
from tests.migrations.doctor.findings import counts, first
from tests.schema.rows import add_project

LOG = UUID(int=7)
KINDS = ("log_gaps", "log_parts", "events_without_head", "heads_missing")
DAMAGES = (
    ("DELETE FROM events WHERE sequence = 4", "log_gaps", "5 events from 1 to 6 instead of 1 to 6"),
    ("DELETE FROM events WHERE sequence = 6", "log_gaps", "5 events from 1 to 5 instead of 1 to 6"),
    (
        "UPDATE event_heads SET first = 2 WHERE last = 6",
        "log_gaps",
        "6 events from 1 to 6 instead of 2 to 6",
    ),
    (
        "UPDATE event_heads SET first = 7 WHERE last = 6",
        "log_gaps",
        "6 events from 1 to 6 instead of 7 to 6",
    ),
    (
        "DELETE FROM events; UPDATE event_heads SET first = 6 WHERE last = 6",
        "log_gaps",
        "0 events from None to None instead of 6 to 6",
    ),
    ("UPDATE events SET batch = 1 WHERE sequence = 6", "log_parts", ""),
    ("UPDATE events SET batch = 3 WHERE sequence > 3", "log_parts", ""),
    (
        "DELETE FROM events WHERE sequence < 3; UPDATE event_heads SET first = 3 WHERE last = 6",
        "log_parts",
        "",
    ),
)


@pytest.fixture
def log(database_url: str) -> Database:
    """A database with a log of three transactions, of 1, 3 and 2 events."""
    database = Database(database_url)
    for size in (1, 3, 2):
        add(database, LOG, size)
    return database


def add(database: Database, project_id: UUID, size: int) -> None:
    database.make(lambda connection: append(connection, project_id, size))


def found(diagnosis: Diagnosis) -> dict[str, int]:
    return {code: rows for code, rows in counts(diagnosis).items() if code in KINDS}


def test_whole_logs_are_no_finding_and_empty_ones_neither(log: Database) -> None:
    whole = dict.fromkeys(KINDS, 0)
    assert found(examine(log.url)) == whole
    log.rows("DELETE FROM events WHERE sequence = 1")
    log.rows("UPDATE event_heads SET first = 2 WHERE last = 6")
    assert found(examine(log.url)) == whole
    log.rows("DELETE FROM events")
    log.rows("UPDATE event_heads SET first = 7 WHERE last = 6")
    diagnosis = examine(log.url)
    assert (found(diagnosis), diagnosis.verdict) == (whole, Verdict.CLEAN)


@pytest.mark.parametrize(("damage", "code", "line"), DAMAGES, ids=[d[0] for d in DAMAGES])
def test_a_log_that_is_not_whole_is_found(log: Database, damage: str, code: str, line: str) -> None:
    log.make(lambda connection: connection.execute(damage))
    diagnosis = examine(log.url)
    assert found(diagnosis) == {**dict.fromkeys(KINDS, 0), code: 1}
    assert first(diagnosis, code) == [f"project {LOG}{line and f': {line}'}"]
    assert diagnosis.verdict is Verdict.BLOCKED


def test_events_without_a_head_are_found(log: Database) -> None:
    others = [UUID(int=number) for number in (1, 9)]
    for each in others:
        add(log, each, 2)
        log.rows("DELETE FROM event_heads WHERE project_id = $1", each)
    diagnosis = examine(log.url)
    assert first(diagnosis, "events_without_head") == [f"project {each}" for each in others]
    assert diagnosis.verdict is Verdict.BLOCKED


def test_a_project_without_a_head_blocks_nothing(log: Database) -> None:
    project = log.make(add_project)
    diagnosis = examine(log.url)
    assert first(diagnosis, "heads_missing") == [f"project {project.id}"]
    assert diagnosis.verdict is Verdict.CLEAN


@pytest.mark.parametrize("at_once", [1, 2, 3, 4])
def test_every_log_is_looked_at(
    log: Database, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(logs, "AT_ONCE", at_once)
    for number in (1, 9):
        add(log, UUID(int=number), 2)
    log.rows("DELETE FROM events WHERE sequence = 1")
    assert found(examine(log.url))["log_gaps"] == 3
