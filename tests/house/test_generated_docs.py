"""The generated documentation is complete, and a stale page is detected."""

import importlib
import re
import shutil
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FileDescriptor
from sqlalchemy import Column, Table
from sqlalchemy.dialects import postgresql

from migrations.history import REVISIONS
from scripts.entity_diagram import entity_diagram
from scripts.generate_docs import PAGES, PROTOS, api_reference, is_current, main, with_part
from scripts.migration_table import migration_table
from scripts.protoc import ROOT
from scripts.sql_reference import readable
from shared.auth.authenticator import AGENT
from shared.database.statement import Statement
from shared.errors import Reason
from shared.schema import metadata

MODULES = sorted((ROOT / "tandem").rglob("*_pb2.py"))
FILES: list[FileDescriptor] = [
    importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)).DESCRIPTOR
    for path in MODULES
]
PLACE = "<!-- made by `make docs` -->\n<!-- end -->\n"


@pytest.fixture(scope="module")
def reference() -> str:
    return api_reference(PROTOS)


def test_every_method_has_its_chapter(reference: str) -> None:
    services = [service for file in FILES for service in file.services_by_name.values()]
    methods = [method for service in services for method in service.methods]
    assert len(methods) >= 37
    for method in methods:
        chapter = chapter_of(reference, method.full_name)
        assert f"`/{method.containing_service.full_name}/{method.name}`" in chapter
        assert f"`{method.input_type.name}`" in chapter
        assert "access: " in chapter


def test_every_field_has_its_line(reference: str) -> None:
    for message in (m for file in FILES for m in file.message_types_by_name.values()):
        chapter = chapter_of(reference, message.full_name)
        assert re.findall(r"^\| `(\w+)`", chapter, re.MULTILINE) == [f.name for f in message.fields]
        assert not re.search(r"\| +\|$", chapter, re.MULTILINE), f"{message.name}: no comment"


def test_every_value_of_an_enum_has_its_line(reference: str) -> None:
    for enum in (e for file in FILES for e in file.enum_types_by_name.values()):
        chapter = chapter_of(reference, enum.full_name)
        names = re.findall(r"^\| (?:<a .*></a>)?`(\w+)`", chapter, re.MULTILINE)
        assert names == [v.name.removeprefix("ERROR_REASON_") for v in enum.values]


def test_every_reason_has_its_code(reference: str) -> None:
    for reason in Reason:
        line = f'<a id="reason.{reason.name}"></a>`{reason.name}` | `{reason.code.name}` | '
        assert line in reference


def test_every_reason_that_a_method_names_exists(reference: str) -> None:
    paragraphs = re.findall(r"\*\*Errors:\*\* (.*?)\n\n", reference, re.DOTALL)
    assert len(paragraphs) > 30
    named = {word for text in paragraphs for word in re.findall(r"\b[A-Z]+_[A-Z_]+\b", text)}
    assert named <= {reason.name for reason in Reason}


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("Agent", r"`name` \| `string` \| required; at most 255 characters, no U\+0000 \|"),
        ("Agent", r"`created_at` .* \| output only \|"),
        ("Agent", r"`nickname` \| optional `string` \|"),
        (
            "Agent",
            r"`capabilities` \| repeated `string` \| at most 100 items, distinct, each at "
            r"least 1 character, at most 100 characters, no U\+0000 \|",
        ),
        ("AddParticipantRequest", r".* \| a UUID; exactly one of `participant` \|"),
        ("RotateApiKeyRequest", r"`grace_period` .* \| at most 86,400 s, at least 0 s \|"),
        ("SetAgentStatusRequest", r"`status` .* \| required; a defined value, not 0 \|"),
        ("CreateAgentRequest", r"`request_id` \| `string` \| a UUID if set \|"),
    ],
)
def test_rules_are_said_in_words(reference: str, message: str, line: str) -> None:
    chapter = chapter_of(reference, f"tandem.agent.v1.{message}")
    assert re.search(rf"^\| {line}", chapter, re.MULTILINE)


@pytest.mark.parametrize("package", ["agent", "task"])
def test_a_name_that_two_packages_have_leads_to_the_nearer_one(
    package: str, tmp_path: Path
) -> None:
    changed = copied(tmp_path)
    proto = changed / "tandem" / package / "v1" / f"{package}_service.proto"
    comment = r"// Whether `\w+` is an agent or a user\."
    proto.write_text(re.sub(comment, "// See AssigneeType.", proto.read_text()))
    user = {"agent": "ValidateAssigneeRequest", "task": "AssignTaskRequest"}[package]
    chapter = chapter_of(api_reference(changed), f"tandem.{package}.v1.{user}")
    place = f"(#tandem.{package}.v1.AssigneeType)"
    assert f"[`AssigneeType`]{place}" in chapter
    assert f"See [AssigneeType]{place}" in chapter


def test_a_changed_comment_makes_the_page_stale(tmp_path: Path) -> None:
    page = tmp_path / "api.md"
    page.write_text(with_part(PLACE, api_reference(PROTOS)))
    assert is_current(page, api_reference(PROTOS))
    changed = copied(tmp_path)
    proto = changed / "tandem" / "task" / "v1" / "task_service.proto"
    proto.write_text(proto.read_text().replace("// When the task was completed.", "// Afterwards."))
    assert not is_current(page, api_reference(changed))


def test_a_rule_without_words_is_noticed(tmp_path: Path) -> None:
    changed = copied(tmp_path)
    proto = changed / "tandem" / "task" / "v1" / "task_service.proto"
    proto.write_text(proto.read_text().replace("string.max_len = 4096", "string.len = 4096"))
    with pytest.raises(KeyError, match=r"string\.len"):
        api_reference(changed)


def test_a_page_without_a_place_is_refused() -> None:
    with pytest.raises(ValueError, match="no place"):
        with_part("# A page\n", "part")


def test_the_check_names_the_stale_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "docs").mkdir()
    for name in PAGES:
        (tmp_path / "docs" / name).write_text(PLACE)
    monkeypatch.setattr("scripts.generate_docs.ROOT", tmp_path)
    # To write the SQL of every statement takes seconds: here it is that of one resource.
    monkeypatch.setattr("scripts.sql_reference.QUERIES", ("agent_service/rooms/queries.py",))
    # A page is the same each time.
    once = {name: cache(part) for name, part in PAGES.items()}
    monkeypatch.setattr("scripts.generate_docs.PAGES", once)
    monkeypatch.setattr(sys, "argv", ["generate_docs"])
    main()
    monkeypatch.setattr(sys, "argv", ["generate_docs", "--check"])
    main()
    (tmp_path / "docs" / "api.md").write_text(PLACE)
    with pytest.raises(SystemExit, match=r"make docs`: docs/api\.md$"):
        main()


def test_every_migration_has_its_line_with_what_its_downgrade_loses() -> None:
    lines = migration_table(REVISIONS).splitlines()[2:]
    assert [line.partition("`")[2].partition("`")[0] for line in lines] == list(REVISIONS)
    assert all(re.search(r"\) \| [A-Z][^|]+\. \| ", line) for line in lines)
    assert lines[2].endswith(" | `agents`, `tasks` |")


def test_the_diagram_has_every_column_and_every_foreign_key() -> None:
    drawn = entity_diagram(metadata)
    entities = dict(re.findall(r"^    (\w+) \{\n(.*?)^    \}$", drawn, re.MULTILINE | re.DOTALL))
    assert set(entities) == set(metadata.tables)
    for name, table in metadata.tables.items():
        lines = [line.split() for line in entities[name].splitlines()]
        assert [(line[1], line[0]) for line in lines] == [
            (column.name, type_of(column)) for column in table.columns
        ]
    keys = {key for table in metadata.tables.values() for key in references(table)}
    found = re.findall(r'^    (\w+) .*--o\{ (\w+) : "(\w+) (.*)"$', drawn, re.MULTILINE)
    assert len(found) == len(keys)
    assert set(found) == keys


def copied(folder: Path) -> Path:
    """The protos in a place where they may be changed."""
    copy: Path = shutil.copytree(PROTOS, folder / "protos")
    return copy


def chapter_of(reference: str, name: str) -> str:
    """What stands between the heading of a name and the next heading."""
    heading, _, rest = reference.partition(f'<a id="{name}"></a>')
    assert heading.endswith("# "), f"{name} has no heading"
    return rest.partition("\n#")[0]


def type_of(column: Column[Any]) -> str:
    name: str = column.type.compile(dialect=postgresql.dialect()).lower()  # type: ignore[no-untyped-call]
    name = name.partition(" collate ")[0].replace("double precision", "float8")
    return name.replace("timestamp with time zone", "timestamptz")


def references(table: Table) -> Iterator[tuple[str, str, str, str]]:
    for key in table.foreign_key_constraints:
        (column,) = [name for name in key.column_keys if name != "project_id"] or ["project_id"]
        yield key.referred_table.name, table.name, column, key.ondelete or "NO ACTION"


def test_every_statement_has_its_sql() -> None:
    """Also one in a new module."""
    page = (ROOT / "docs" / "sql.md").read_text()
    found = list(statements())
    assert len(found) >= 30
    for module, name, statement in found:
        assert f"## `{module}`" in page
        assert f"### {name}\n\n{statement.purpose}\n" in page
        assert statement.purpose.endswith("."), f"{name} says its purpose in a sentence"


def statements() -> Iterator[tuple[str, str, Statement]]:
    """The statements that stand in modules of the services, by module and name."""
    for package in ("agent_service", "task_service", "shared"):
        for path in (ROOT / package).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            if path.name not in ("__init__.py", "__main__.py"):
                for name, value in vars(importlib.import_module(module)).items():
                    if isinstance(value, Statement):
                        yield module, name, value


def test_sql_is_shown_with_the_names_of_its_parameters() -> None:
    shown = readable(AGENT)
    assert ":api_key_id" in shown
    assert "$" not in shown
    assert "::" not in shown
