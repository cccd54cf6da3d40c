"""The doctor recognizes a database of agent_com and says what an adoption does and loses."""

from pathlib import Path

from migrations.agent_com.examination import FORBIDDEN, IN_THE_WAY, LEFT, MOVED
from migrations.agent_com.findings import BLOCKS, CHANGES, COPIED, LOSSES
from migrations.doctor.diagnosis import State, Verdict
from migrations.doctor.examine import examine
from tests.migrations.agent_com.origin import ALL_TABLES, make_tables
from tests.migrations.agent_com.origin_rows import ROWS
from tests.migrations.database import Database
from tests.migrations.doctor.findings import counts, first
from tests.migrations.foreign import refusal
from tests.migrations.legacy import named

FOUND = {
    "tables_moved": len(ALL_TABLES),
    "columns_left": 4,
    **{
        f"copied_{table}": len(ROWS[table])
        for table in ROWS
        if f"copied_{table}" in {kind.code for kind in COPIED}
    },
    "slugs_changed": 5,
    "projects_archived": 1,
    "keys_revoked": 4,
    "keys_of_the_system": 1,
    "placeholders": 4,
    "rows_moved": 4,
    "passwords_lost": 4,
    "roles_lost": 2,
    "readonly_lost": 1,
    "permissions_lost": 1,
    "cross_project_lost": 1,
    "tasks_without_room": 1,
    "tasks_unassigned": 1,
    "dependencies_lost": 2,
}


def test_everything_that_changes_or_is_lost_is_counted(origin: Database) -> None:
    before = origin.everything()
    diagnosis = examine(origin.url)
    assert diagnosis.state is State.AGENT_COM
    assert diagnosis.revision is None
    assert diagnosis.verdict is Verdict.UPGRADE
    assert {code: count for code, count in counts(diagnosis).items() if count} == FOUND
    assert origin.everything() == before


def test_rows_are_named(origin: Database) -> None:
    diagnosis = examine(origin.url)
    assert first(diagnosis, "tables_moved") == ALL_TABLES
    other = named("Project A")
    assert f"Project A becomes project-a-{str(other)[:8]} (project {other})" in first(
        diagnosis, "slugs_changed"
    )
    assert first(diagnosis, "roles_lost") == [
        f"{name}: {name.lower()} (user {named(name)})" for name in ("Admin", "owner")
    ]
    assert first(diagnosis, "copied_users") == []


def test_empty_tables_can_be_adopted(database: Database) -> None:
    make_tables(database)
    diagnosis = examine(database.url)
    assert diagnosis.verdict is Verdict.UPGRADE
    assert set(counts(diagnosis).values()) == {0, 4, len(ALL_TABLES)}


def test_an_ordinary_upgrade_is_refused_and_names_the_option(origin: Database) -> None:
    """Although its table of revisions has the name of one of ours."""
    origin.rows("CREATE TABLE request_ids ()")  # for `refusal`: it expects a blocked database
    assert "Run `tandem db upgrade --adopt agent_com`" in refusal(origin)


def test_a_database_of_tandem_is_not_taken_for_one(database_url: str) -> None:
    assert examine(database_url).state is State.NEWEST


def test_the_manual_names_every_finding() -> None:
    manual = (Path(__file__).parents[3] / "docs/migrations.md").read_text()
    kinds = [*COPIED, *CHANGES, *LOSSES, *BLOCKS, MOVED, LEFT, IN_THE_WAY, FORBIDDEN]
    named = [kind.code for kind in kinds if not kind.code.startswith("copied_")]
    assert [code for code in named if f"`{code}`" not in manual] == []
    assert "`copied_users`" in manual
