"""What a migration says about the rows that it found, changed or cannot keep."""

import logging
from collections.abc import Iterable

from alembic import op
from sqlalchemy import func, select, table

log = logging.getLogger("tandem.migrations")

# A log names some rows so that one can look; a million lines would help nobody.
_NAMED = 20


def report_rows(what: str, rows: Iterable[object]) -> None:
    """Warn how many rows `what` is true of, and name the first 20. Silent without rows."""
    found = [str(row) for row in rows]
    if found:
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        log.warning("%d %s: %s%s", len(found), what, ", ".join(found[:_NAMED]), more)


def report_loss(*tables: str) -> None:
    """Warn how many rows are dropped with `tables`, which the older schema does not have."""
    for name in tables:
        count = op.get_bind().scalar(select(func.count()).select_from(table(name)))
        if count:
            log.warning("%d rows of %s are dropped: the older schema cannot hold them", count, name)
