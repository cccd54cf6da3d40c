"""Lists the migrations as a Markdown table, for docs/migrations.md."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

HEAD = ("| revision | change | its downgrade loses |", "| --- | --- | --- |")


def migration_table(revisions: Sequence[str]) -> str:
    """One line for each revision: the first line of its file, and what its downgrade loses."""
    return "\n".join([*HEAD, *map(_row, revisions)])


def _row(revision: str) -> str:
    module: Any = import_module(f"migrations.versions.{revision}")
    name = f"[`{revision}`](../migrations/versions/{revision}.py)"
    change = module.__doc__.partition("\n")[0]
    return f"| {name} | {change} | {_lost(getattr(module, 'DROPS', {}))} |"


def _lost(drops: Mapping[str, str]) -> str:
    return ", ".join(f"`{what}`" for what in drops)
