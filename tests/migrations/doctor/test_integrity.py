"""The doctor finds what is missing, not valid or dangling at the newest revision."""

import pytest

from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from tests.migrations.database import Database
from tests.migrations.doctor.findings import counts, first
from tests.schema.rows import add_project

DAMAGES = (
    (
        "ALTER TABLE tasks DROP CONSTRAINT fk_tasks_room_id",
        "missing",
        "constraint fk_tasks_room_id",
    ),
    ("DROP INDEX idx_tasks_due_date", "missing", "index idx_tasks_due_date"),
    ("DROP TABLE request_ids", "missing", "table request_ids"),
    ("ALTER TABLE users DROP COLUMN full_name", "missing", "column users.full_name"),
    (
        "ALTER TABLE users ADD CONSTRAINT odd CHECK (email <> 'a') NOT VALID",
        "invalid",
        "constraint odd",
    ),
    (
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_tasks_due_date'::regclass",
        "invalid",
        "index idx_tasks_due_date",
    ),
)


@pytest.mark.parametrize(("damage", "code", "line"), DAMAGES, ids=[line for *_, line in DAMAGES])
def test_damage_at_the_newest_revision_is_found(
    database_url: str, damage: str, code: str, line: str
) -> None:
    damaged = Database(database_url)
    damaged.rows(damage)
    diagnosis = examine(database_url)
    assert diagnosis.verdict is Verdict.BLOCKED
    assert first(diagnosis, code) == [line]


def test_a_constraint_that_is_not_enforced_is_found(database_url: str) -> None:
    damaged = Database(database_url)
    if damaged.values("SELECT current_setting('server_version_num')::int < 180000") == [True]:
        pytest.skip("before PostgreSQL 18 all constraints are enforced")
    damaged.rows("ALTER TABLE users ADD CONSTRAINT odd CHECK (email <> 'a') NOT ENFORCED")
    assert first(examine(database_url), "invalid") == ["constraint odd"]


def test_a_dangling_reference_is_found_behind_a_valid_constraint(database_url: str) -> None:
    damaged = Database(database_url)
    project = damaged.make(add_project)
    assert counts(examine(database_url))["dangling"] == 0
    damaged.make(
        lambda connection: connection.execute(
            "SET LOCAL session_replication_role = replica; DELETE FROM users"
        )
    )
    diagnosis = examine(database_url)
    assert diagnosis.verdict is Verdict.BLOCKED
    assert first(diagnosis, "dangling") == [
        f"fk_projects_owner_id: {project.id}",
        f"fk_tasks_created_by: {project.task}",
    ]
