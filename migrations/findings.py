"""What there is to say about rows: counted by PostgreSQL, and only the first of them named."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

_NAMED = 20


@dataclass(frozen=True)
class Kind:
    """Something that may be true of rows: `code` for programs, `what` for people.

    `blocks`: a person has to decide before the database can be migrated or used.
    """

    code: str
    what: str
    blocks: bool = False


@dataclass(frozen=True)
class Finding:
    """How many rows a kind is true of; `first` are at most 20 of them, in their order."""

    kind: Kind
    count: int
    first: list[str]


def count(connection: Connection, kind: Kind, lines: str, tables: str = "") -> Finding:
    """Find what `lines`, a SELECT of one text column, finds.

    `tables` are expressions to put before it in WITH, each followed by a comma.
    """
    statement = f"""
    WITH {tables} found (line) AS MATERIALIZED ({lines})
    SELECT (SELECT count(*) FROM found), ARRAY(SELECT line FROM found ORDER BY line LIMIT {_NAMED})
    """  # noqa: S608
    number, first = connection.execute(text(statement)).one()
    return Finding(kind, number, first)


def listed(kind: Kind, lines: Iterable[str]) -> Finding:
    """The finding that `kind` is true of what `lines` names."""
    names = sorted(lines)
    return Finding(kind, len(names), names[:_NAMED])
