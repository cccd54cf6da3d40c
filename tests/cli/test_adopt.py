"""`tandem db upgrade --adopt agent_com` says what it will do, and does it if that is agreed."""

import json

import pytest

from cli import schema
from migrations.run import adopt_from_agent_com
from tests.cli.conftest import Tandem
from tests.cli.test_downgrade import on_a_terminal
from tests.migrations.agent_com.conftest import filled_template, origin
from tests.migrations.database import Database

__all__ = ["filled_template", "origin"]

ADOPT = ("db", "upgrade", "--adopt", "agent_com")
ADD_USER = """
INSERT INTO users (id, username, email, role, is_active, is_superuser)
VALUES (gen_random_uuid(), 'new', 'new@example.com', 'user', true, false)
"""


@pytest.fixture
def tandem_there(tandem: Tandem, origin: Database) -> Tandem:
    """On a database of agent_com."""
    return Tandem({**tandem.environment, "TANDEM_DATABASE_URL": origin.url})


def test_the_doctor_says_what_it_is_and_what_to_run(tandem_there: Tandem) -> None:
    result = tandem_there("db", "doctor")
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[0].startswith("This is a database of agent_com")
    assert lines[-1] == "Run `tandem db upgrade --adopt agent_com`; nothing blocks it."
    document = json.loads(tandem_there("db", "doctor", "--json").stdout)
    assert (document["state"], document["verdict"]) == ("agent_com", "upgrade")
    assert document["findings"]["copied_users"]["count"] == 5


def test_without_the_option_it_is_refused(tandem_there: Tandem, origin: Database) -> None:
    assert "`tandem db upgrade --adopt agent_com`" in tandem_there.refuses("db", "upgrade")
    assert_unchanged(origin)


def test_without_a_terminal_it_lists_and_refuses(tandem_there: Tandem, origin: Database) -> None:
    said = tandem_there.refuses(*ADOPT).splitlines()
    assert any(line.split()[:4] == ["5", "rows", "of", "users,"] for line in said)
    assert any("x_1.y-" not in line and "becomes project-a-" in line for line in said)
    assert said[-1] == "Nothing was changed. Add --yes to accept this."
    assert_unchanged(origin)


def test_with_yes_it_lists_and_does_it_and_comes_back(
    tandem_there: Tandem,
    origin: Database,
) -> None:
    result = tandem_there(*ADOPT, "--yes")
    assert result.exit_code == 0, result.output
    assert "rows of tasks, which are copied" in result.stderr
    assert result.stderr.splitlines()[-1] == f"The database is at {schema.newest()}."
    assert "Nothing was changed. Add --yes" in tandem_there.refuses("db", "downgrade", "agent_com")
    result = tandem_there("db", "downgrade", "agent_com", "--yes")
    assert result.exit_code == 0, result.output
    assert result.stderr.splitlines()[-1] == "The tables of agent_com are back."
    assert_unchanged(origin)


def test_what_blocks_is_shown(tandem_there: Tandem, origin: Database) -> None:
    origin.rows("UPDATE tasks SET status = 'done' WHERE status = 'pending'")
    said = tandem_there.refuses(*ADOPT, "--yes")
    assert " !   " in said
    assert said.splitlines()[-1].endswith("require manual action. Nothing was changed.")
    assert tandem_there("db", "doctor").exit_code == 4


def test_another_database_is_refused(tandem: Tandem) -> None:
    said = tandem.refuses(*ADOPT, "--yes")
    assert said == "This is not a database of agent_com. Nothing was changed.\n"


def test_who_agreed_to_less_has_not_agreed(tandem_there: Tandem, origin: Database) -> None:
    """No lock is held while the question is open, so rows may be added meanwhile."""
    with on_a_terminal(tandem_there, *ADOPT) as run:
        assert "which are copied" in run.question
        origin.rows(ADD_USER)
        assert run.answer("y") == 1
        assert "Nothing was changed, because the rows are no longer as listed" in run.read()
    assert_unchanged(origin)


def assert_unchanged(database: Database) -> None:
    """It is still one of agent_com."""
    adopt_from_agent_com(database.url, lambda _: None)
