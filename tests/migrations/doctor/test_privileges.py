"""The doctor names the privileges that a migration would miss."""

import pytest

from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from migrations.history import WITH_AGENTS
from migrations.transaction import MigrationError
from tests.migrations.database import Database
from tests.migrations.doctor.findings import first

LIMITS = (
    ("REVOKE CREATE ON SCHEMA public FROM PUBLIC, {role}", "CREATE on the schema public"),
    ("REVOKE TEMPORARY ON DATABASE {database} FROM PUBLIC", "TEMPORARY on the database {database}"),
    (
        "ALTER DATABASE {database} SET search_path = nowhere",
        "a schema to create tables in, which the search path names",
    ),
    (
        "ALTER DATABASE {database} SET default_transaction_read_only = on",
        "transactions that may write",
    ),
)


@pytest.mark.parametrize(("limit", "need"), LIMITS, ids=[need for _, need in LIMITS])
def test_a_missing_privilege_is_named(
    database: Database, stranger: Database, limit: str, need: str
) -> None:
    names = {"role": stranger.role, "database": database.name}
    database.rows(limit.format(**names))
    diagnosis = examine(stranger.url)
    assert diagnosis.verdict is Verdict.BLOCKED
    assert first(diagnosis, "rights_lacking") == [need.format(**names)]
    with pytest.raises(MigrationError, match="The database rejected a statement"):
        stranger.upgrade()


def test_privileges_are_checked_after_003_too(database: Database) -> None:
    database.upgrade(WITH_AGENTS)
    database.rows(f"ALTER DATABASE {database.name} SET default_transaction_read_only = on")
    assert first(examine(database.url), "rights_lacking") == ["transactions that may write"]
