"""What there is to say about rows: counted by PostgreSQL, and only the first of them named."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

# One looks at some rows; a million lines would help nobody.
NAMED = 20


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
    """Find what `lines`, a SELECT of one column, finds.

    `tables` are expressions to put before it in WITH, each followed by a comma.
    """
    return Finding(kind, *first_of(connection, lines, tables=tables))


def first_of(
    connection: Connection, lines: str, limit: int = NAMED, tables: str = ""
) -> tuple[int, list[str]]:
    """How many rows a statement finds, or changes and returns, and the first of them.

    It has one column. PostgreSQL counts, so that a million rows take no memory of ours.
    """
    statement = f"""
    WITH {tables} found (line) AS ({lines})
    SELECT (SELECT count(*) FROM found),
           ARRAY(SELECT line::text FROM found ORDER BY line LIMIT {limit})
    """  # noqa: S608
    number, first = connection.execute(text(statement)).one()
    return number, first


def listed(kind: Kind, lines: Iterable[str]) -> Finding:
    """The finding that `kind` is true of what `lines` names."""
    names = sorted(lines)
    return Finding(kind, len(names), names[:NAMED])
