"""`tandem db doctor`."""

import json
import re

import pytest

from cli import schema
from cli.doctor import as_text
from migrations.doctor.examine import examine
from tests.cli.conftest import Tandem
from tests.migrations.database import Database
from tests.migrations.legacy import Mix, make_legacy


@pytest.fixture
def legacy(empty_database_url: str) -> Database:
    return Database(empty_database_url)


@pytest.fixture
def doctor(tandem: Tandem, legacy: Database) -> Tandem:
    """On a database that is empty at first."""
    return Tandem({**tandem.environment, "TANDEM_DATABASE_URL": legacy.url})


def test_a_sound_database_is_clean(tandem: Tandem) -> None:
    assert tandem.says("db", "doctor").splitlines() == [
        f"The database is at {schema.newest()}, the newest revision.",
        "No problems were found.",
    ]


def test_what_an_upgrade_takes_care_of_is_3(doctor: Tandem, legacy: Database) -> None:
    make_legacy(legacy, Mix(in_keys=3, in_two_projects=1))
    result = doctor("db", "doctor")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert "The database is at 002_add_agent_api_key_user_fk" in lines[0]
    assert lines[-1] == "Run `tandem db upgrade`; nothing blocks it."
    (ids,) = [line for line in lines if "agent ids in API keys" in line]
    assert ids.split()[0] == "4"
    assert "without a project or room" not in result.stdout
    doctor.says("db", "upgrade")
    doctor.says("db", "doctor")


def test_what_a_person_has_to_decide_is_4(doctor: Tandem, legacy: Database) -> None:
    make_legacy(legacy, Mix(in_keys=3, without_project=2))
    result = doctor("db", "doctor")
    assert result.exit_code == 4
    (lost,) = [line for line in result.stdout.splitlines() if "without a project or room" in line]
    assert lost.split()[:2] == ["!", "2"]
    assert doctor("db", "upgrade").exit_code == 1


def test_what_differs_is_shown_as_it_is(doctor: Tandem, legacy: Database) -> None:
    make_legacy(legacy, Mix(), versioned=False)
    legacy.rows('ALTER TABLE agent_api_keys ADD COLUMN "[red]" integer NOT NULL')
    result = doctor("db", "doctor")
    assert result.exit_code == 4
    (line,) = [line for line in result.stdout.splitlines() if "[red]" in line]
    assert line.split()[:2] == ["!", "agent_api_keys.[red]"]
    assert "agent_api_keys.[red]: expected" in doctor("db", "upgrade").stderr


def test_nothing_is_cut_off_on_a_narrow_terminal(legacy: Database) -> None:
    make_legacy(legacy, Mix(in_keys=1), versioned=False)
    legacy.rows("ALTER TABLE users RENAME CONSTRAINT pk_users TO a_name_that_fills_a_line_and_more")
    (agent_id,) = legacy.values("SELECT agent_id::text FROM agent_api_keys")
    lines = as_text(examine(legacy.url), width=80).splitlines()
    assert "a_name_that_fills_a_line_and_more" in re.sub(r"\s", "", "".join(lines))
    assert any(line.endswith(agent_id) for line in lines)
    assert [line for line in lines if line != line.rstrip() or len(line) > 80] == []


def test_another_program_s_database_is_4(doctor: Tandem, legacy: Database) -> None:
    legacy.rows("CREATE TABLE alembic_version (version_num varchar(32))")
    legacy.rows("INSERT INTO alembic_version VALUES ('4f1c')")
    result = doctor("db", "doctor")
    assert result.exit_code == 4
    assert "The database belongs to another program." in result.stdout
    assert "'4f1c'" in result.stdout


def test_a_database_that_does_not_answer_is_1(tandem: Tandem) -> None:
    url = "postgresql://nobody:hunter2@127.0.0.1:1/none"
    assert tandem.refuses("db", "doctor", TANDEM_DATABASE_URL=url) == (
        "The database cannot be reached.\n"
    )


def test_programs_get_one_document(doctor: Tandem, legacy: Database) -> None:
    """Its keys are those that docs/migrations.md promises."""
    make_legacy(legacy, Mix(in_two_projects=2), versioned=False)
    legacy.rows("ALTER TABLE users RENAME CONSTRAINT pk_users TO users_pkey")
    result = doctor("db", "doctor", "--json")
    assert result.exit_code == 3
    assert result.stderr == ""
    document = json.loads(result.stdout)
    del document["findings"]
    assert document == {
        "state": "unversioned",
        "revision": None,
        "newest": schema.newest(),
        "verdict": "upgrade",
        "differences": [
            {
                "table": "users",
                "part": "pk_users",
                "expected": "the name pk_users",
                "found": "the name users_pkey",
                "repair": "ALTER TABLE users RENAME CONSTRAINT users_pkey TO pk_users",
                "rows": 0,
            }
        ],
    }


def test_programs_get_every_finding_by_its_code(doctor: Tandem, legacy: Database) -> None:
    make_legacy(legacy, Mix(in_two_projects=2))
    findings = json.loads(doctor("db", "doctor", "--json").stdout)["findings"]
    assert list(findings) == [
        "agent_ids_in_keys",
        "agent_ids_in_participants",
        "agent_ids_in_both",
        "placeholders",
        "names_numbered",
        "agent_ids_in_several_projects",
        "keys_moved",
        "participants_moved",
        "rows_lost",
        "usernames_in_several_cases",
        "emails_in_several_cases",
    ]
    assert findings["placeholders"].keys() == {"what", "blocks", "count", "first"}
    assert findings["placeholders"]["count"] == 4
    assert len(findings["placeholders"]["first"]) == 4
    assert findings["rows_lost"] == {
        "what": "API keys or participants without a project or room",
        "blocks": True,
        "count": 0,
        "first": [],
    }
