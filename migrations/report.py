"""Reports of a migration: its steps, and the rows that it finds or changes."""

import logging

from alembic import op
from alembic.util import CommandError

from migrations.inspect.findings import first_of

log = logging.getLogger("tandem.migrations")


def report_step(number: int, of: int, what: str) -> None:
    """Log which step of a long migration begins."""
    log.info("Step %d of %d: %s", number, of, what)


def report_rows(what: str, statement: str) -> None:
    """Log a warning with the number of rows and the first 20 of them, if there are any.

    `statement` selects the rows, or changes and returns them, as one column.
    """
    _report(what, statement)


def refuse_rows(what: str, statement: str, remedy: str) -> None:
    """Fail the migration, and undo all of it, if the query `statement` finds rows."""
    count, names = _report(what, statement)
    if count:
        raise CommandError(f"{what}: {count} (first: {names[0]}). Nothing was changed. {remedy}")


def _report(what: str, statement: str) -> tuple[int, list[str]]:
    count, names = first_of(op.get_bind(), statement)
    if count:
        more = [f"and {count - len(names)} more"] if count > len(names) else []
        log.warning("%s: %d\n  %s", what, count, "\n  ".join([*names, *more]))
    return count, names
