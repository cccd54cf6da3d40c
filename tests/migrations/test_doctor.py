"""The doctor says what a migration then really finds and does, and changes nothing itself."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import Connection, text

from migrations.doctor import REFUSED, Report, State, Verdict, be_read_only, look
from migrations.forecast import CREATORS, FOREIGN, FOUND_BY_003
from migrations.history import BASE, BASE_WITH_CREATORS, REVISIONS, WITH_AGENTS
from migrations.rights import LACKING
from migrations.run import MigrationError, in_transaction
from migrations.soundness import DANGLING, INVALID, MISSING
from tests.migrations import foreign
from tests.migrations.database import Database
from tests.migrations.legacy import Mix, make_legacy
from tests.schema.rows import add_key, add_project

EVERYTHING = Mix(
    in_keys=5, in_participants=6, in_both=7, in_two_projects=8, alike=9, users=2, rows=2
)
MIXES = {
    "no rows": Mix(projects=0),
    "users only": Mix(users=3),
    "in two projects": Mix(in_two_projects=30, rows=3, projects=7),
    "alike": Mix(alike=100),
    "everything": EVERYTHING,
}

AGENTS = "SELECT id, project_id, name FROM agents"
KEYS = "SELECT id, agent_id FROM agent_api_keys"
SEATS = "SELECT id, agent_id FROM chat_participants"


def counts(report: Report) -> dict[str, int]:
    return {finding.kind.code: finding.count for finding in report.findings}


def first(report: Report, code: str) -> list[str]:
    return next(found.first for found in report.findings if found.kind.code == code)


@pytest.mark.parametrize("versioned", [True, False], ids=["at 002", "adopted"])
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_what_is_foreseen_is_what_003_then_does(
    database: Database, mix: Mix, versioned: bool
) -> None:
    make_legacy(database, mix, versioned=versioned)
    keys, seats = dict(database.rows(KEYS)), dict(database.rows(SEATS))
    report = look(database.url)
    database.upgrade(WITH_AGENTS)
    keys_then, seats_then = dict(database.rows(KEYS)), dict(database.rows(SEATS))
    agents = database.rows(AGENTS)
    ids_in_keys, ids_in_seats = set(keys.values()), set(seats.values()) - {None}
    assert report.verdict is Verdict.UPGRADE
    assert counts(report) == {
        "agent_ids_in_keys": len(ids_in_keys),
        "agent_ids_in_participants": len(ids_in_seats),
        "agent_ids_in_both": len(ids_in_keys & ids_in_seats),
        "placeholders": len(agents),
        "names_numbered": len([name for _, _, name in agents if "(" in name]),
        "agent_ids_in_several_projects": mix.in_two_projects,
        "keys_moved": len(keys.items() - keys_then.items()),
        "participants_moved": len(seats.items() - seats_then.items()),
        "rows_lost": 0,
    }
    assert mix.moved == len(keys.items() - keys_then.items()) + len(
        seats.items() - seats_then.items()
    )


def test_the_project_that_is_foreseen_gets_the_id(database: Database) -> None:
    make_legacy(database, Mix(in_two_projects=20, projects=5))
    lines = first(look(database.url), "agent_ids_in_several_projects")
    database.upgrade(WITH_AGENTS)
    projects = {str(agent): str(project) for agent, project, _ in database.rows(AGENTS)}
    assert len(lines) == 20
    for line in lines:
        agent = line.split()[0]
        assert line == f"{agent} stays with project {projects[agent]}, of 2"


def test_the_names_that_are_foreseen_are_given(database: Database) -> None:
    make_legacy(database, Mix(alike=10))
    lines = first(look(database.url), "names_numbered")
    database.upgrade(WITH_AGENTS)
    numbered = [
        f"{name} in project {project}"
        for _, project, name in database.rows(AGENTS)
        if name.endswith(")")
    ]
    assert sorted(numbered) == lines
    assert len(lines) == 9


def test_rows_that_003_refuses_are_foreseen(database: Database) -> None:
    make_legacy(database, Mix(in_both=2, without_project=3, without_room=4))
    report = look(database.url)
    assert report.verdict is Verdict.BLOCKED
    assert counts(report)["rows_lost"] == 7
    with pytest.raises(MigrationError, match="7 API keys or participants") as refused:
        database.upgrade()
    assert any(line in str(refused.value) for line in first(report, "rows_lost"))


def test_creators_that_002_forgets_are_foreseen(unversioned: Database) -> None:
    key = foreign.fill(unversioned)["agent_api_keys"]
    report = look(unversioned.url)
    assert report.verdict is Verdict.UPGRADE
    assert first(report, "creators_forgotten") == [f"key {key}"]
    unversioned.upgrade(BASE_WITH_CREATORS)
    assert unversioned.values("SELECT created_by_id FROM agent_api_keys") == [None]


def test_agents_of_other_projects_are_foreseen(database: Database) -> None:
    database.upgrade(WITH_AGENTS)
    own, other = database.make(add_project), database.make(add_project)
    key = database.make(lambda connection: add_key(connection, own.id, other.agent))
    seat = database.values(
        "INSERT INTO chat_participants (id, room_id, agent_id) VALUES ($1, $2, $3) RETURNING id",
        *(uuid4(), own.room, other.agent),
    )[0]
    report = look(database.url)
    assert report.verdict is Verdict.BLOCKED
    assert first(report, "agents_of_other_projects") == [f"key {key}", f"participant {seat}"]
    with pytest.raises(MigrationError, match="2 API keys or participants have an agent of another"):
        database.upgrade()


def test_only_the_first_rows_are_named(database: Database) -> None:
    make_legacy(database, Mix(in_keys=21))
    report = look(database.url)
    assert counts(report)["agent_ids_in_keys"] == 21
    assert len(first(report, "agent_ids_in_keys")) == 20


def test_an_empty_database_is_to_be_migrated(database: Database) -> None:
    assert look(database.url) == Report(State.EMPTY)
    assert look(database.url).verdict is Verdict.UPGRADE


LIMITS = (
    ("REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}", "CREATE on the schema public"),
    ("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC", "TEMPORARY on the database {database}"),
    (
        "ALTER DATABASE {database} SET search_path = nowhere",
        "a schema to make tables in, which the search path names",
    ),
    (
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
        "transactions that may write",
    ),
)


@pytest.mark.parametrize(("limit", "need"), LIMITS, ids=[need for _, need in LIMITS])
def test_what_keeps_a_role_from_migrating_is_said(
    database: Database, stranger: Database, limit: str, need: str
) -> None:
    names = {"role": stranger.role, "database": database.name}
    database.rows(limit.format(**names))
    report = look(stranger.url)
    assert report.verdict is Verdict.BLOCKED
    assert first(report, "rights_lacking") == [need.format(**names)]
    with pytest.raises(MigrationError, match="The database refused it"):
        stranger.upgrade()


def test_a_later_migration_needs_rights_too(database: Database) -> None:
    database.upgrade(WITH_AGENTS)
    database.rows(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert first(look(database.url), "rights_lacking") == ["transactions that may write"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_database_of_tandem_s_own_is_sound_at_every_revision(
    database: Database, revision: str
) -> None:
    database.upgrade(revision)
    report = look(database.url)
    newest = revision == REVISIONS[-1]
    assert report.state is (State.NEWEST if newest else State.OLDER)
    assert report.verdict is (Verdict.CLEAN if newest else Verdict.UPGRADE)
    assert report.differences == []
    assert set(counts(report).values()) <= {0}


def test_differences_at_a_known_revision_are_seen(database: Database) -> None:
    database.upgrade(BASE)
    database.rows("ALTER TABLE users RENAME CONSTRAINT pk_users TO users_pkey")
    assert look(database.url).verdict is Verdict.UPGRADE
    database.rows("ALTER TABLE users DROP COLUMN email")
    assert look(database.url).verdict is Verdict.BLOCKED


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
def test_damage_at_the_newest_revision_is_seen(
    database_url: str, damage: str, code: str, line: str
) -> None:
    damaged = Database(database_url)
    damaged.rows(damage)
    report = look(database_url)
    assert report.verdict is Verdict.BLOCKED
    assert first(report, code) == [line]


def test_a_constraint_that_is_not_enforced_is_seen(database_url: str) -> None:
    damaged = Database(database_url)
    if damaged.values("SELECT current_setting('server_version_num')::int < 180000") == [True]:
        pytest.skip("PostgreSQL enforces all of them before 18")
    damaged.rows("ALTER TABLE users ADD CONSTRAINT odd CHECK (email <> 'a') NOT ENFORCED")
    assert first(look(database_url), "invalid") == ["constraint odd"]


def test_references_that_lead_nowhere_are_seen_behind_valid_constraints(database_url: str) -> None:
    damaged = Database(database_url)
    project = damaged.make(add_project)
    assert counts(look(database_url)) == {"missing": 0, "invalid": 0, "dangling": 0}
    damaged.make(
        lambda connection: connection.execute(
            "SET LOCAL session_replication_role = replica; DELETE FROM users"
        )
    )
    report = look(database_url)
    assert report.verdict is Verdict.BLOCKED
    assert first(report, "dangling") == [
        f"fk_projects_owner_id: {project.id}",
        f"fk_tasks_created_by: {project.task}",
    ]


@pytest.mark.parametrize("statement", ["CREATE TABLE t ()", "DELETE FROM users"])
def test_postgresql_refuses_every_change(database_url: str, statement: str) -> None:
    def work(connection: Connection) -> None:
        be_read_only(connection)
        connection.execute(text(statement))

    with pytest.raises(MigrationError, match="read-only transaction"):
        in_transaction(database_url, work)


# A stranger's function that stands in front of PostgreSQL's own, and writes when it is called.
TRAP = """
CREATE TABLE caught ();
CREATE FUNCTION public.num_nonnulls(uuid, uuid) RETURNS integer LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO caught DEFAULT VALUES; RETURN 1; END $$
"""


def test_nothing_that_it_calls_can_write_either(unversioned: Database) -> None:
    foreign.fill(unversioned)
    unversioned.make(lambda connection: connection.execute(TRAP))
    with pytest.raises(MigrationError, match="INSERT in a read-only transaction"):
        look(f"{unversioned.url}?search_path=public,pg_catalog")
    assert unversioned.values("SELECT count(*) FROM caught") == [0]


def test_nobody_is_kept_waiting_and_nothing_changes(database: Database) -> None:
    make_legacy(database, EVERYTHING, versioned=False)
    before = database.everything()

    def meanwhile(connection: Connection) -> Report:
        connection.execute(text("LOCK TABLE users, agent_api_keys IN SHARE ROW EXCLUSIVE MODE"))
        connection.execute(text("SELECT FROM chat_participants FOR UPDATE"))
        with ThreadPoolExecutor() as threads:
            return threads.submit(look, database.url).result(timeout=30)

    assert in_transaction(database.url, meanwhile).verdict is Verdict.UPGRADE
    assert database.everything() == before


def test_who_locks_everybody_out_keeps_it_from_looking(database: Database) -> None:
    database.upgrade()

    def meanwhile(connection: Connection) -> None:
        connection.execute(text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
        with ThreadPoolExecutor() as threads:
            threads.submit(look, database.url).result(timeout=30)

    with pytest.raises(MigrationError, match="Somebody else kept a table locked for 10 s"):
        in_transaction(database.url, meanwhile)


def test_the_manual_names_every_finding() -> None:
    manual = (Path(__file__).parents[2] / "docs/migrations.md").read_text()
    kinds = [*FOUND_BY_003, CREATORS, FOREIGN, LACKING, MISSING, INVALID, DANGLING]
    assert [kind.code for kind in kinds if f"`{kind.code}`" not in manual] == []
    assert f"findings.{REFUSED.code}" in manual
    assert [state for state in State if f"`{state.value}`" not in manual] == []
    for verdict in Verdict:
        assert f"| {verdict.value} | `{verdict.name.lower()}` |" in manual
