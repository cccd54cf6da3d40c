"""What a migration says about the rows that it finds and changes, and how far it has come."""

import logging

from alembic import op
from alembic.util import CommandError

from migrations.findings import first_of

log = logging.getLogger("tandem.migrations")


def report_step(number: int, of: int, what: str) -> None:
    """Say which of the steps of a long migration begins."""
    log.info("Step %d of %d: %s", number, of, what)


def report_rows(what: str, statement: str) -> None:
    """Warn how many rows `what` is true of, and name the first 20. Silent without rows.

    `statement` is SQL that finds the rows, or changes them and returns them, as one column.
    """
    _report(what, statement)


def refuse_rows(what: str, statement: str, remedy: str) -> None:
    """Fail the run, which then has changed nothing, where there are rows that `what` is true of."""
    count, names = _report(what, statement)
    if count:
        raise CommandError(f"{count} {what} (the first: {names[0]}); nothing was changed. {remedy}")


def _report(what: str, statement: str) -> tuple[int, list[str]]:
    count, names = first_of(op.get_bind(), statement)
    if count:
        more = [f"and {count - len(names)} more"] if count > len(names) else []
        log.warning("%d %s:\n  %s", count, what, "\n  ".join([*names, *more]))
    return count, names
