"""`tandem db`."""

import pytest

from cli import schema
from tests.cli.conftest import Tandem


@pytest.fixture
def empty(tandem: Tandem, empty_database_url: str) -> Tandem:
    return Tandem({**tandem.environment, "TANDEM_DATABASE_URL": empty_database_url})


def test_a_database_is_taken_there_and_back(empty: Tandem) -> None:
    assert empty.says("db", "current") == "\n"
    empty.says("db", "upgrade")
    assert empty.says("db", "current") == f"{schema.newest()}\n"
    empty.says("db", "downgrade", "002_add_agent_api_key_user_fk")
    assert empty.says("db", "current") == "002_add_agent_api_key_user_fk\n"
    empty.says("db", "downgrade", "base")
    assert empty.says("db", "current") == "\n"


def test_an_upgrade_of_a_newest_database_changes_nothing(tandem: Tandem) -> None:
    result = tandem("db", "upgrade")
    assert result.exit_code == 0
    assert result.stderr == f"The database is at {schema.newest()}.\n"


def test_an_unknown_revision_is_a_sentence(tandem: Tandem) -> None:
    assert "999_nothing" in tandem.refuses("db", "downgrade", "999_nothing")
