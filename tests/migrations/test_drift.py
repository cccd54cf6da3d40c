"""The migrated database is what the tables in shared/schema say."""

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import main as alembic
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection

import migrations
from migrations.transaction import in_transaction
from shared.schema import metadata
from tests.migrations.database import Database

INI = Path(migrations.__file__).parents[1] / "alembic.ini"


def drift(migrated: Database, created: Database) -> str:
    """What only the migrations create, and what only the schema has; empty if both agree.

    Alembic compares neither checks nor deferral nor generated columns, but PostgreSQL's own
    description of both databases has them.
    """
    in_transaction(created.url, metadata.create_all)
    by_migrations, by_schema = migrated.structure(), created.structure()
    assert len(by_schema) > 100
    return _listed(
        by_schema - by_migrations,
        "In shared/schema, but no migration creates it (`make migration NAME=…` begins one):",
    ) + _listed(
        by_migrations - by_schema,
        "A migration creates it, but it is not in shared/schema:",
    )


def _listed(lines: set[str], heading: str) -> str:
    return "\n  ".join(["", heading, *sorted(lines)]) if lines else ""


def test_schema_and_migrations_agree(database_url: str, empty_database_url: str) -> None:
    if found := drift(Database(database_url), Database(empty_database_url)):
        pytest.fail(found, pytrace=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "ALTER TABLE tasks DROP COLUMN description",
            r"no migration creates it.*tasks\.description",
        ),
        ("ALTER TABLE tasks ADD labels jsonb", r"not in shared/schema:.*tasks\.labels jsonb"),
        ("DROP INDEX idx_tasks_due_date", r"no migration creates it.*idx_tasks_due_date"),
        (
            "ALTER TABLE users ADD CHECK (id IS NOT NULL)",
            r"not in shared/schema:.*users users_id_check",
        ),
    ],
)
def test_a_forgotten_change_is_named(
    database_url: str, empty_database_url: str, change: str, message: str
) -> None:
    migrated = Database(database_url)
    migrated.rows(change)
    found = drift(migrated, Database(empty_database_url))
    assert re.search(message, found, re.DOTALL), found


def test_alembic_finds_no_drift(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert in_transaction(database_url, differences) == []


def test_alembic_s_own_command_finds_no_drift(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any folder, which is what `alembic.ini` and the end of `env.py` are for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TANDEM_DATABASE_URL", database_url)
    alembic(["-c", str(INI), "check"])
