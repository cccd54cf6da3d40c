"""Folds a log into rows, and compares them with the rows that there are.

Exactly as the proto says: a deletion implies what is deleted with it, and references that it clears
in rows which stay have no event of their own, other than assignees and rooms of tasks.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import orjson

from shared.events.vocabulary import RESOURCE_TYPES, kept

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = dict[tuple[str, str], Row]
"""By kind and id; of a member, the id of the user."""

GONE = ("deleted", "removed")
# What is deleted with a resource: the kinds, and the column that names it.
CHILDREN = {
    "agent": (("api_key", "agent_id"), ("participant", "agent_id")),
    "room": (("participant", "room_id"),),
    "user": (("participant", "user_id"), ("member", "user_id")),
}
# What is cleared with it, in rows of any kind.
CLEARED = {"agent": "created_by_agent_id", "user": "created_by", "task": "parent_id"}


def replay(events: Iterable[Mapping[str, Any]], deleted_users: Iterable[str] = ()) -> Rows:
    """The rows that a log leaves. `deleted_users`: those that the log of the nil project says."""
    rows: Rows = {}
    for event in events:
        kind, key = event["resource_type"], (event["resource_type"], str(event["resource_id"]))
        if event["type"].rpartition(".")[2] not in GONE:
            rows[key] = orjson.loads(event["after"])
        elif kind == "project":
            rows = {}
        else:
            rows.pop(key, None)
            forget(rows, kind, key[1])
    for user_id in deleted_users:
        forget(rows, "user", user_id)
    return rows


def forget(rows: Rows, kind: str, resource_id: str) -> None:
    """Do what the foreign keys do when a resource is deleted."""
    children = CHILDREN.get(kind, ())
    for key, row in list(rows.items()):
        if any(key[0] == child and row[column] == resource_id for child, column in children):
            del rows[key]
        elif (column := CLEARED.get(kind)) and row.get(column) == resource_id:
            rows[key] = {**row, column: None}


async def todays(connection: Any, project_id: str) -> Rows:
    """The rows of a project that there are."""
    rows: Rows = {}
    for kind, table in RESOURCE_TYPES.items():
        if kind == "user":
            continue
        columns = ", ".join(f"'{name}', row.{name}" for name in kept(table))
        condition = "row.id = $1" if kind == "project" else "row.project_id = $1"
        statement = f"SELECT jsonb_build_object({columns}) FROM {table.name} row WHERE {condition}"  # noqa: S608
        found = await connection.fetch(statement, UUID(project_id))
        for (text,) in found:
            row = orjson.loads(text) if isinstance(text, str) else text
            rows[kind, row["user_id" if kind == "member" else "id"]] = row
    return rows


def differences(replayed: Rows, found: Rows) -> Iterator[str]:
    """What only one of the two has, and what is not the same in both."""
    for kind, key in replayed.keys() - found.keys():
        yield f"{kind} {key} is only in the log"
    for kind, key in found.keys() - replayed.keys():
        yield f"{kind} {key} is not in the log"
    for (kind, key), row in found.items():
        logged = replayed.get((kind, key), row)
        for name in row.keys() | logged.keys():
            if _value(row.get(name)) != _value(logged.get(name)):
                yield f"{kind} {key}: {name} is {row.get(name)}, in the log {logged.get(name)}"


def _value(value: Any) -> Any:
    """A value for comparison: times may be written in the zones of two sessions."""
    if not isinstance(value, str):
        return value
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        return value
