"""Data that a downgrade cannot keep, counted before anything is dropped.

Each revision declares in DROPS what its downgrade drops for good: a table or a `table.column`, and
the condition under which a row loses data by it.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, text

log = logging.getLogger("tandem.migrations")


class Revision(Protocol):
    """The part of a module of `versions` that this module reads."""

    DROPS: Mapping[str, str]


@dataclass(frozen=True)
class DataLoss:
    """Rows of a table, or values of a `table.column`, that the older schema cannot store."""

    what: str
    count: int

    def __str__(self) -> str:
        kind = "value" if "." in self.what else "row"
        plural = "" if self.count == 1 else "s"
        return f"{self.what}: {self.count} {kind}{plural} will be lost."


def log_data_loss(losses: Iterable[DataLoss]) -> None:
    """Log a warning for each."""
    for loss in losses:
        log.warning("%s", loss)


def lock_dropped(connection: Connection, revisions: Iterable[Revision]) -> None:
    """Lock the tables that lose data, so that nothing else is lost than what is counted."""
    if tables := ", ".join(sorted({_table(what) for what in _drops(revisions)})):
        connection.execute(text(f"LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))


def count_data_loss(connection: Connection, revisions: Iterable[Revision]) -> list[DataLoss]:
    """What the downgrades of `revisions` lose, in their order; empty if they lose nothing."""
    drops = _drops(revisions)
    counted = [
        DataLoss(what, _count(connection, _table(what), condition))
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
