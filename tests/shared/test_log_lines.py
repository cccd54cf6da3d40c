"""The schema of the log has what code logs, and nothing else."""

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from shared.log_lines import LINES
from task_service.sweep.rules import CHORES
from tests.log_lines import BY_EVENT, against_schema

ROOT = Path(__file__).parents[2]
FOLDERS = ("agent_service", "task_service", "shared")
LEVELS = ("debug", "info", "warning", "error")
# Events that are neither written where they are logged nor the constant of a module.
COMPUTED = {"chore.does": [chore.does for chore in CHORES]}
# Of these, a variable with one of two levels is called.
BY_A_VARIABLE = {"call", "a certificate expires soon", "a certificate has expired"}
CALL = {"event": "call", "level": "info", "method": "m", "caller": "-", "code": "OK", "ms": 1.5}


def logged() -> Iterator[tuple[str, str, ast.Call]]:
    """Each event with its level and the call that logs it, out of the source of the services."""
    for path in (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))):
        source = path.read_text()
        if "structlog.get_logger()" not in source:
            continue  # what the command line uses says sentences
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value)
                if owner in ("log", "self._log") and node.func.attr in LEVELS:
                    for event in events(node.args[0], path):
                        yield event, node.func.attr, node


def events(argument: ast.expr, path: Path) -> list[str]:
    if isinstance(argument, ast.IfExp):
        return [*events(argument.body, path), *events(argument.orelse, path)]
    if isinstance(argument, ast.Name):
        module: Any = import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        return [getattr(module, argument.id)]
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    return COMPUTED[ast.unparse(argument)]


def test_every_line_in_the_source_is_in_the_schema_with_its_fields() -> None:
    for event, level, node in logged():
        line = BY_EVENT.get(event)
        assert line, f"shared/log_lines.py lacks {event!r}"
        assert level in line.levels.split(), event
        named = {each.arg for each in node.keywords if each.arg}
        known = {*line.fields, *line.optional, "request_id", "exc_info"}
        assert named <= known, event
        if all(each.arg for each in node.keywords):
            assert set(line.fields) <= named, event


def test_the_schema_has_no_line_that_is_not_logged() -> None:
    assert {event for event, _, _ in logged()} == set(BY_EVENT) - BY_A_VARIABLE
    assert len(BY_EVENT) == len(LINES)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, []),
        ({"request_id": "r", "reason": "INTERNAL", "sample": 0.5}, []),
        ({"ms": "1.5"}, ["call: ms is no number"]),
        ({"ms": True}, ["call: ms is no number"]),
        ({"user": "ada"}, ["call: user is no field"]),
        ({"level": "error"}, ["call: the level is error"]),
        ({"event": "cal"}, ["'cal' is no event of the schema"]),
        ({"event": "any text", "logger": "asyncpg"}, []),
    ],
)
def test_the_check_itself_tells_right_from_wrong(change: dict[str, Any], wrong: list[str]) -> None:
    assert against_schema({**CALL, **change}) == wrong


def test_a_field_that_is_missing_is_found() -> None:
    assert against_schema({k: v for k, v in CALL.items() if k != "code"}) == [
        "call: code is missing"
    ]
