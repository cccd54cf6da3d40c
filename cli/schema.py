"""Reads and changes the revision of the database's schema.

Alembic is imported only if there is something to change, because its import takes as long as the
rest of an ordinary start of `tandem up`.
"""

from cli import queries
from cli.console import CommandError
from cli.database import NotMigratedError, run
from migrations.history import NEWEST


def newest() -> str:
    """The newest revision."""
    return NEWEST


def current(url: str) -> str | None:
    """The revision of the database, None before the first."""
    try:
        row = run(url, lambda connection: connection.fetchrow(queries.REVISION))
    except NotMigratedError:
        return None
    return row["version_num"] if row else None


def upgrade(url: str, *, adopt: bool = False, yes: bool = False) -> None:
    """Upgrade the database to the newest revision. Raises CommandError if that fails.

    `adopt`: it is a database of agent_com, which is adopted without a question if `yes`.
    """
    if adopt:
        from cli.adopt import adopt as adopt_agent_com

        adopt_agent_com(url, yes=yes)
        return
    if current(url) == newest():
        return
    from cli.progress import progress_shown
    from migrations.run import upgrade
    from migrations.transaction import MigrationError

    try:
        with progress_shown():
            upgrade(url)
    except MigrationError as error:
        raise CommandError(str(error)) from None
