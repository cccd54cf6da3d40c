"""The doctor predicts what the migrations then find and do."""

import re
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from migrations.history import BASE, BASE_WITH_CREATORS, IGNORING_CASE, REVISIONS, WITH_AGENTS
from migrations.transaction import MigrationError
from tests.migrations import foreign
from tests.migrations.database import Database
from tests.migrations.doctor.findings import counts, first
from tests.migrations.legacy import Mix, fill_legacy
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

NEWEST_BEFORE = REVISIONS[REVISIONS.index(IGNORING_CASE) - 1]
AGENTS = "SELECT id, project_id, name FROM agents"
KEYS = "SELECT id, agent_id FROM agent_api_keys"
SEATS = "SELECT id, agent_id FROM chat_participants"


@pytest.mark.parametrize("versioned", [True, False], ids=["at 002", "adopted"])
@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_the_prediction_is_what_003_then_does(legacy: Database, mix: Mix, versioned: bool) -> None:
    fill_legacy(legacy, mix, versioned=versioned)
    keys, seats = dict(legacy.rows(KEYS)), dict(legacy.rows(SEATS))
    diagnosis = examine(legacy.url)
    legacy.upgrade(WITH_AGENTS)
    keys_then, seats_then = dict(legacy.rows(KEYS)), dict(legacy.rows(SEATS))
    agents = legacy.rows(AGENTS)
    ids_in_keys, ids_in_seats = set(keys.values()), set(seats.values()) - {None}
    assert diagnosis.verdict is Verdict.UPGRADE
    assert counts(diagnosis) == {
        "agent_ids_in_keys": len(ids_in_keys),
        "agent_ids_in_participants": len(ids_in_seats),
        "agent_ids_in_both": len(ids_in_keys & ids_in_seats),
        "placeholders": len(agents),
        "names_numbered": len([name for _, _, name in agents if "(" in name]),
        "agent_ids_in_several_projects": mix.in_two_projects,
        "keys_moved": len(keys.items() - keys_then.items()),
        "participants_moved": len(seats.items() - seats_then.items()),
        "rows_lost": 0,
        "usernames_in_several_cases": 0,
        "emails_in_several_cases": 0,
    }
    assert mix.moved == len(keys.items() - keys_then.items()) + len(
        seats.items() - seats_then.items()
    )


def test_the_predicted_project_gets_the_id(legacy: Database) -> None:
    fill_legacy(legacy, Mix(in_two_projects=20, projects=5))
    lines = first(examine(legacy.url), "agent_ids_in_several_projects")
    legacy.upgrade(WITH_AGENTS)
    projects = {str(agent): str(project) for agent, project, _ in legacy.rows(AGENTS)}
    assert len(lines) == 20
    for line in lines:
        agent = line.split()[0]
        assert line == f"{agent} stays with project {projects[agent]}, of 2"


def test_the_predicted_names_are_given(legacy: Database) -> None:
    fill_legacy(legacy, Mix(alike=10))
    lines = first(examine(legacy.url), "names_numbered")
    legacy.upgrade(WITH_AGENTS)
    numbered = [
        f"{name} in project {project}"
        for _, project, name in legacy.rows(AGENTS)
        if name.endswith(")")
    ]
    assert sorted(numbered) == lines
    assert len(lines) == 9


def test_rows_that_003_refuses_are_predicted(legacy: Database) -> None:
    fill_legacy(legacy, Mix(in_both=2, without_project=3, without_room=4))
    diagnosis = examine(legacy.url)
    assert diagnosis.verdict is Verdict.BLOCKED
    assert counts(diagnosis)["rows_lost"] == 7
    with pytest.raises(MigrationError, match=r"API keys or participants .*: 7") as refused:
        legacy.upgrade()
    assert any(line in str(refused.value) for line in first(diagnosis, "rows_lost"))


def test_creators_that_002_removes_are_predicted(unversioned: Database) -> None:
    key = foreign.fill(unversioned)["agent_api_keys"]
    diagnosis = examine(unversioned.url)
    assert diagnosis.verdict is Verdict.UPGRADE
    assert first(diagnosis, "creators_forgotten") == [f"key {key}"]
    unversioned.upgrade(BASE_WITH_CREATORS)
    assert unversioned.values("SELECT created_by_id FROM agent_api_keys") == [None]


def test_agents_of_other_projects_are_predicted(
    database_at: Callable[[str], Database],
) -> None:
    database = database_at(WITH_AGENTS)
    own, other = database.make(add_project), database.make(add_project)
    key = database.make(lambda connection: add_key(connection, own.id, other.agent))
    seat = database.values(
        "INSERT INTO chat_participants (id, room_id, agent_id) VALUES ($1, $2, $3) RETURNING id",
        *(uuid4(), own.room, other.agent),
    )[0]
    diagnosis = examine(database.url)
    assert diagnosis.verdict is Verdict.BLOCKED
    assert first(diagnosis, "agents_of_other_projects") == [f"key {key}", f"participant {seat}"]
    with pytest.raises(MigrationError, match="with an agent of another project: 2"):
        database.upgrade()


@pytest.mark.parametrize("revision", [BASE, BASE_WITH_CREATORS, WITH_AGENTS, NEWEST_BEFORE])
def test_users_who_differ_only_in_case_are_predicted(
    database_at: Callable[[str], Database], revision: str
) -> None:
    database = database_at(revision)
    doubles(database)
    before = database.contents()
    diagnosis = examine(database.url)
    assert diagnosis.verdict is Verdict.BLOCKED
    assert first(diagnosis, "usernames_in_several_cases") == [
        f"ann: Ann (user {UUID(int=1)}), ANN (user {UUID(int=2)})"
    ]
    assert first(diagnosis, "emails_in_several_cases") == [
        f"b@b.org: B@b.org (user {UUID(int=2)}), b@B.org (user {UUID(int=3)})"
    ]
    for column in ("username", "email"):
        named = first(diagnosis, f"{column}s_in_several_cases")[0]
        with pytest.raises(MigrationError, match=re.escape(named)) as refused:
            database.upgrade()
        assert f"SET {column} = " in str(refused.value)
        assert (database.current(), database.contents()) == (revision, before)
        database.rows(f"UPDATE users SET {column} = id || {column} WHERE id = $1", UUID(int=2))  # noqa: S608
        before = database.contents()
    assert examine(database.url).verdict is Verdict.UPGRADE
    database.upgrade()


def test_users_who_differ_only_in_case_are_predicted_before_an_adoption(
    unversioned: Database,
) -> None:
    foreign.fill(unversioned)
    doubles(unversioned)
    diagnosis = examine(unversioned.url)
    assert diagnosis.verdict is Verdict.BLOCKED
    assert counts(diagnosis)["usernames_in_several_cases"] == 1


DOUBLES = """
INSERT INTO users (id, username, email, is_active) VALUES
    ($1, 'Ann', 'a@b.org', true), ($2, 'ANN', 'B@b.org', true), ($3, 'bo', 'b@B.org', true)
"""


def doubles(database: Database) -> None:
    """Three users: two have one name, two have one address, but for case."""
    database.rows(DOUBLES, *(UUID(int=n) for n in (1, 2, 3)))


def test_only_the_first_rows_are_named(legacy: Database) -> None:
    fill_legacy(legacy, Mix(in_keys=21))
    diagnosis = examine(legacy.url)
    assert counts(diagnosis)["agent_ids_in_keys"] == 21
    assert len(first(diagnosis, "agent_ids_in_keys")) == 20
