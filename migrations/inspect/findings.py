"""Rows that a query finds: PostgreSQL counts them, and only the first are transferred."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

# Enough to see what the rows have in common.
NAMED = 20


@dataclass(frozen=True)
class Kind:
    """What a query looks for: `code` identifies it to programs, `what` describes it to people.

    `blocks`: rows of this kind require manual action before the database can be migrated or used.
    """

    code: str
    what: str
    blocks: bool = False


@dataclass(frozen=True)
class Finding:
    """The number of rows of a kind; `first` has at most 20 of them, sorted."""

    kind: Kind
    count: int
    first: list[str]


def count(connection: Connection, kind: Kind, lines: str, tables: str = "") -> Finding:
    """Run `lines`, a SELECT of one column that describes each row.

    `tables` holds common table expressions for `lines` to read, each followed by a comma.
    """
    return Finding(kind, *first_of(connection, lines, tables=tables))


def first_of(
    connection: Connection, lines: str, limit: int = NAMED, tables: str = ""
) -> tuple[int, list[str]]:
    """The number of rows that a statement selects, or changes and returns, and the first of them.

    The statement has one column. PostgreSQL counts, so memory does not grow with the rows.
    """
    statement = f"""
    WITH {tables} found (line) AS ({lines})
    SELECT (SELECT count(*) FROM found),
           ARRAY(SELECT line::text FROM found ORDER BY line LIMIT {limit})
    """  # noqa: S608
    number, first = connection.execute(text(statement)).one()
    return number, first


def listed(kind: Kind, lines: Iterable[str]) -> Finding:
    """The finding for rows that are described by `lines` already."""
    names = sorted(lines)
    return Finding(kind, len(names), names[:NAMED])
