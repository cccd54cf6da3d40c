"""The revisions form one line, and each of them can be undone."""

from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

import migrations
from migrations.history import NEWEST, REVISIONS
from shared.schema import REVISION
from tests.migrations.database import Database

FOLDER = Path(migrations.__file__).parent


def test_the_history_is_that_of_alembic() -> None:
    scripts = ScriptDirectory(str(FOLDER)).walk_revisions()
    assert [script.revision for script in scripts] == [*reversed(REVISIONS)]


@pytest.mark.parametrize("position", range(len(REVISIONS)), ids=REVISIONS)
def test_each_revision_goes_up_down_and_up_again(
    database_at: Callable[[str], Database], position: int
) -> None:
    database = database_at(REVISIONS[position - 1] if position else "base")
    before = database.structure()
    database.upgrade(REVISIONS[position])
    after = database.structure()
    database.downgrade("-1")
    assert database.structure() == before != after
    database.upgrade(REVISIONS[position])
    assert database.structure() == after


def test_the_first_revisions_keep_their_names() -> None:
    assert REVISIONS[:3] == (
        "001_create_base_tables",
        "002_add_agent_api_key_user_fk",
        "003_create_agent_and_task_tables",
    )


def test_the_services_need_the_newest_revision() -> None:
    assert REVISION == NEWEST, "`make migration` writes both; else edit shared/schema/revision.py."


def test_revisions_never_import_the_schema() -> None:
    sources = list((FOLDER / "versions").glob("[0-9]*.py"))
    assert len(sources) == len(REVISIONS)
    assert not [source.name for source in sources if "shared.schema" in source.read_text()]
