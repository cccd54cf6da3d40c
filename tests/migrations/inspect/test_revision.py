"""A table of revisions that Tandem does not understand is refused."""

import pytest

from migrations.history import BASE, REVISIONS
from tests.migrations.database import Database
from tests.migrations.foreign import refusal


@pytest.mark.parametrize("versions", [["4f1c"], ["004_something_of_theirs"], [BASE, "4f1c"]])
def test_another_program_s_history_is_refused(unversioned: Database, versions: list[str]) -> None:
    unversioned.rows("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    unversioned.rows("INSERT INTO alembic_version SELECT unnest($1::text[])", versions)
    said = refusal(unversioned)
    assert f"at revision {versions[-1]!r}, which this version of Tandem does not know" in said


def test_two_revisions_at_once_are_refused(unversioned: Database) -> None:
    unversioned.rows("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    unversioned.rows("INSERT INTO alembic_version SELECT unnest($1::text[])", list(REVISIONS[:2]))
    assert "at 2 revisions at once" in refusal(unversioned)
