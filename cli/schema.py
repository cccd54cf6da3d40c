"""The revision of the database's schema, looked at and changed.

Alembic is imported only where something has to change: its import takes as long as everything else
that `tandem up` does at an ordinary start.
"""

from cli import queries
from cli.console import CommandError
from cli.database import NotMigratedError, run
from migrations.history import REVISIONS


def newest() -> str:
    """The newest revision there is."""
    return REVISIONS[-1]


def current(url: str) -> str | None:
    """The revision that the database is at, None before the first."""
    try:
        row = run(url, lambda connection: connection.fetchrow(queries.REVISION))
    except NotMigratedError:
        return None
    return row["version_num"] if row else None


def upgrade(url: str) -> None:
    """Bring the database to the newest revision. Raises CommandError where it cannot."""
    if current(url) == newest():
        return
    from cli.progress import progress_shown
    from migrations.run import MigrationError, upgrade

    try:
        with progress_shown():
            upgrade(url)
    except MigrationError as error:
        raise CommandError(str(error)) from None
