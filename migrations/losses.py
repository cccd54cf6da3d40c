"""What a downgrade cannot keep, counted before anything is dropped.

Each revision says in DROPS what its downgrade drops for good: a table or a `table.column`, and the
condition under which a row loses something by it.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, text

log = logging.getLogger("tandem.migrations")


class Revision(Protocol):
    """A module of `versions/`, as far as this file is concerned."""

    DROPS: Mapping[str, str]


@dataclass(frozen=True)
class Loss:
    """Rows of a table, or values of a `table.column`, that the older schema has no place for."""

    what: str
    count: int

    def __str__(self) -> str:
        kind = "values" if "." in self.what else "rows"
        return f"{self.count} {kind} of {self.what} are dropped: the older schema cannot hold them."


def log_losses(losses: Iterable[Loss]) -> None:
    """Warn of each."""
    for loss in losses:
        log.warning("%s", loss)


def hold_still(connection: Connection, revisions: Iterable[Revision]) -> None:
    """Keep everybody from what is about to be dropped, so that what is counted is what goes."""
    if tables := ", ".join(sorted({_table(what) for what in _drops(revisions)})):
        connection.execute(text(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))


def count_losses(connection: Connection, revisions: Iterable[Revision]) -> list[Loss]:
    """What the downgrades of `revisions` lose, in their order; empty where they lose nothing."""
    drops = _drops(revisions)
    counted = [
        Loss(what, _count(connection, _table(what), condition))
        for what, condition in drops.items()
        if what == _table(what) or _table(what) not in drops
    ]
    return [loss for loss in counted if loss.count]


def _drops(revisions: Iterable[Revision]) -> dict[str, str]:
    return {what: rows for each in revisions for what, rows in getattr(each, "DROPS", {}).items()}


def _table(what: str) -> str:
    return what.partition(".")[0]


def _count(connection: Connection, table: str, condition: str) -> int:
    statement = f"SELECT count(*) FROM {table} WHERE {condition}"  # noqa: S608
    count: int = connection.scalars(text(statement)).one()
    return count
