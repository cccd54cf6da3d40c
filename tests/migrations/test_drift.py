"""The migrated database is what the tables in shared/schema say, and each step can be undone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

import migrations
from migrations.run import in_transaction
from shared.schema import metadata
from tests.migrations.database import Database

HISTORY = ScriptDirectory(str(Path(migrations.__file__).parent))
REVISIONS = [script.revision for script in reversed(list(HISTORY.walk_revisions()))]


def test_alembic_finds_no_drift(database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    assert in_transaction(database_url, differences) == []


def test_alembic_s_own_command_finds_no_drift(database_url: str, tmp_path: Path) -> None:
    """From any folder, which is what `alembic.ini` and the end of `env.py` are for."""
    ini = Path(migrations.__file__).parents[1] / "alembic.ini"
    subprocess.run(
        [sys.executable, "-m", "alembic", "-c", ini, "check"],
        cwd=tmp_path,
        env={**os.environ, "TANDEM_DATABASE_URL": database_url},
        check=True,
    )


def test_postgresql_finds_no_drift(database_url: str, empty_database_url: str) -> None:
    """Alembic compares neither checks nor deferral nor what is generated: PostgreSQL does."""
    in_transaction(empty_database_url, metadata.create_all)
    created = Database(empty_database_url).structure()
    assert len(created) > 100
    assert Database(database_url).structure() == created


@pytest.mark.parametrize("position", range(len(REVISIONS)), ids=REVISIONS)
def test_each_revision_goes_up_down_and_up_again(database: Database, position: int) -> None:
    if position:
        database.upgrade(REVISIONS[position - 1])
    before = database.structure()
    database.upgrade(REVISIONS[position])
    after = database.structure()
    database.downgrade("-1")
    assert database.structure() == before != after
    database.upgrade(REVISIONS[position])
    assert database.structure() == after


def test_the_seed_s_revisions_have_the_seed_s_names() -> None:
    assert REVISIONS[:3] == [
        "001_create_base_tables",
        "002_add_agent_api_key_user_fk",
        "003_create_agent_and_task_tables",
    ]


def test_revisions_never_import_the_schema() -> None:
    sources = list((Path(migrations.__file__).parent / "versions").glob("0*.py"))
    assert len(sources) == len(REVISIONS)
    assert not [source.name for source in sources if "shared.schema" in source.read_text()]
