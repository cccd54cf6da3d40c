"""Reads the revision that a database is at."""

from alembic.util import CommandError
from sqlalchemy import Connection, text

from migrations.history import REVISIONS

_TABLE_EXISTS = "SELECT to_regclass('alembic_version') IS NOT NULL"
_VERSIONS = "SELECT version_num FROM alembic_version ORDER BY version_num"


def recorded_revision(connection: Connection) -> str | None:
    """The revision in `alembic_version`; None if the table is missing or empty.

    Raises CommandError if it has a revision that is not in this history, or more than one.
    """
    if not connection.scalar(text(_TABLE_EXISTS)):
        return None
    versions = connection.scalars(text(_VERSIONS)).all()
    if unknown := [version for version in versions if version not in REVISIONS]:
        raise CommandError(
            f"The database is at revision {unknown[0]!r}, which this version of Tandem does not "
            "know: another program owns alembic_version, or a newer Tandem migrated the database."
        )
    if len(versions) > 1:
        raise CommandError(f"The database is at {len(versions)} revisions at once.")
    return versions[0] if versions else None
