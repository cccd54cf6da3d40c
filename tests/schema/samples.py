"""Values that a column can have, whatever the column."""

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB


def samples(column: Column[Any]) -> list[Any]:
    """Two values or more that the column can have; all of them if a constraint lists them."""
    if isinstance(column.type, Uuid):
        return [UUID(int=1), UUID(int=2)]
    if isinstance(column.type, Boolean):
        return [True, False]
    if isinstance(column.type, DateTime):
        return [datetime(year, 1, 1, tzinfo=UTC) for year in (2001, 2002)]
    if isinstance(column.type, Integer | Double):
        return [1, 2]
    if isinstance(column.type, JSONB):
        return [["a"], ["b"]] if column.server_default is not None else [{"a": 1.0}, {"b": 1.0}]
    if isinstance(column.type, LargeBinary):
        return [b"a", b"b"]
    if isinstance(column.type, ARRAY):
        return [[value] for value in _listed(column) or ("a", "b")]
    # Kinds of callers, if no constraint says what else.
    return _listed(column) or ["agent", "user"]


def _listed(column: Column[Any]) -> list[str]:
    for constraint in column.table.constraints:
        if isinstance(constraint, CheckConstraint):
            allowed = rf"{column.name} (?:IN \(|<@ ARRAY\[)(.*?)[\])].*"
            found = re.fullmatch(allowed, str(constraint.sqltext))
            if found:
                return re.findall(r"'(\w+)'", found[1])
    return []
