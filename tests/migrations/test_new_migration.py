"""`make migration NAME=…` begins a file to which only the statements have to be added."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from migrations import run
from migrations.history import NEWEST, REVISIONS
from migrations.transaction import MigrationError
from scripts.new_migration import MIGRATIONS, NEEDED, main, write_migration
from tests.migrations.database import Database

ROOT = MIGRATIONS.parent
NEXT = f"{len(REVISIONS) + 1:03}_add_labels"
STATEMENTS = ("ALTER TABLE tasks ADD labels jsonb", "ALTER TABLE tasks DROP labels")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the migrations that may be changed."""
    copied: Path = shutil.copytree(MIGRATIONS, tmp_path / "migrations")
    return copied


def test_the_file_continues_the_newest_revision(copy: Path) -> None:
    path = write_migration("add_labels", copy)
    assert path == copy / "versions" / f"{NEXT}.py"
    text = path.read_text()
    assert text.startswith('"""Add labels.\n')
    assert f'\nrevision = "{NEXT}"\ndown_revision = "{NEWEST}"\n' in text
    assert "shared.schema" not in text
    following = write_migration("add_more", copy).read_text()
    assert f'\ndown_revision = "{NEXT}"\n' in following


def test_the_services_need_the_new_revision(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    constant = copy / "revision.py"
    shutil.copy(NEEDED, constant)
    monkeypatch.setattr(sys, "argv", ["new_migration", "add_labels"])
    monkeypatch.setattr("scripts.new_migration.MIGRATIONS", copy)
    monkeypatch.setattr("scripts.new_migration.NEEDED", constant)
    main()
    assert constant.read_text() == NEEDED.read_text().replace(NEWEST, NEXT) != NEEDED.read_text()


def test_two_newest_migrations_are_refused_with_both_names(copy: Path) -> None:
    one = write_migration("add_labels", copy)
    other = one.with_name(one.name.replace("labels", "topics"))
    other.write_text(one.read_text().replace("add_labels", "add_topics"))
    with pytest.raises(ValueError, match=r"_add_labels and \d+_add_topics follow the same"):
        write_migration("add_more", copy)


def test_the_file_passes_the_checks_of_style(copy: Path) -> None:
    path = write_migration("add_labels", copy)
    for check in (["check"], ["format", "--check"]):
        options = [*check, "--no-cache", f"--config={ROOT / 'pyproject.toml'}"]
        subprocess.run([Path(sys.executable).parent / "ruff", *options, path], check=True)


def test_the_migration_runs_with_its_statements_only(
    copy: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, database = write_migration("add_labels", copy), Database(database_url)
    monkeypatch.setattr(run, "SCRIPTS", copy)
    with pytest.raises(MigrationError, match='syntax error at or near "TODO"'):
        database.upgrade()
    statements = iter(STATEMENTS)
    path.write_text(re.sub("TODO", lambda _: next(statements), path.read_text()))
    before = database.structure()
    database.upgrade()
    assert database.current() == NEXT
    assert len(database.structure() - before) == 1
    database.downgrade("-1")
    assert database.structure() == before


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "make migration NAME=add_something"),
        ("Add_Labels", "make migration NAME=add_something"),
        ("add labels", "make migration NAME=add_something"),
        ("../labels", "make migration NAME=add_something"),
        ("011_add_labels", "make migration NAME=add_something"),
        ("a" * 29, "has 29 characters; at most 28"),
        (NEWEST[4:], f"There is {NEWEST} already"),
        (REVISIONS[0][4:], f"There is {REVISIONS[0]} already"),
    ],
)
def test_a_name_that_is_not_usable_is_refused_with_a_sentence(
    copy: Path, name: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["new_migration", *name.split()])
    monkeypatch.setattr("scripts.new_migration.MIGRATIONS", copy)
    before = sorted(copy.rglob("*"))
    with pytest.raises(SystemExit, match=re.escape(sentence)):
        main()
    assert sorted(copy.rglob("*")) == before
