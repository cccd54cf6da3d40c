"""Adopts a database that has the base tables already, made by something else.

They are held against what 002 leaves. What fits is stamped with the revision that it is at, in the
transaction of the migrations that then start from there; what does not fit is left as it is.
"""

import logging

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, PrimaryKeyConstraint, UniqueConstraint, text

from migrations.catalog import Catalog, read
from migrations.constraints import find_differing
from migrations.differences import Difference, find_structural
from migrations.expected import COLUMNS, CONSTRAINTS, CREATOR
from migrations.history import BASE, BASE_WITH_CREATORS, REVISIONS
from shared.schema import metadata

log = logging.getLogger("tandem.migrations")

HAS_VERSIONS = "SELECT to_regclass('alembic_version') IS NOT NULL"
VERSIONS = "SELECT version_num FROM alembic_version ORDER BY version_num"

# What is called so, without being it, is in the way of a table or an index.
NAMES = {
    *metadata.tables,
    *(index.name for table in metadata.tables.values() for index in table.indexes),
    *(
        constraint.name
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint))
    ),
}

# What 003 refuses itself, and names all of, where it is its turn.
NAMED_BY_003 = ("fk_agent_api_keys_project_id", "fk_chat_participants_room_id")

# Schemas that new tables would not be created in, with all base tables and no history of ours.
ELSEWHERE = """
SELECT quote_ident(nspname) FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
WHERE nspname <> current_schema()
GROUP BY nspname
HAVING count(*) FILTER (WHERE relname = ANY(:tables)) = cardinality(:tables)
   AND count(*) FILTER (WHERE relname = 'alembic_version') = 0
"""


def recorded_revision(connection: Connection) -> str | None:
    """The revision that alembic has noted. Raises CommandError where another program's is."""
    if not connection.scalar(text(HAS_VERSIONS)):
        return None
    versions = connection.scalars(text(VERSIONS)).all()
    if strange := [version for version in versions if version not in REVISIONS]:
        raise CommandError(
            f"The database is at the revision {strange[0]!r}, which Tandem does not know: another "
            "program keeps its history in alembic_version, or a newer Tandem was here."
        )
    if len(versions) > 1:
        raise CommandError(f"The database is at {len(versions)} revisions at once.")
    return versions[0] if versions else None


def find_tables(connection: Connection) -> Catalog:
    """The base tables, and what has a name that a migration will give.

    Raises CommandError where the base tables are in a schema that the search path does not name.
    """
    catalog = read(connection, map(str, NAMES))
    elsewhere = connection.scalars(text(ELSEWHERE), {"tables": list(COLUMNS)}).first()
    if not catalog.tables and elsewhere:
        raise CommandError(
            f"The tables are in the schema {elsewhere}, which is not the first of the search path: "
            f"add ?search_path={elsewhere} to the URL of the database."
        )
    return catalog


def find_differences(
    connection: Connection, catalog: Catalog, revision: str | None
) -> list[Difference]:
    """How the tables differ from those that `revision` leaves; None: 001 or 002, as fits better."""
    creators = [CREATOR] if (revision or fitting_revision(catalog)) == BASE_WITH_CREATORS else []
    structural = find_structural(catalog)
    unfit = {difference.table for difference in structural if not difference.repair}
    differing = find_differing(connection, catalog, [*CONSTRAINTS, *creators], unfit)
    return [*structural, *differing]


def adopt(connection: Connection, script: ScriptDirectory) -> None:
    """Make a database that something else made ready for the migrations from 002 or 003 on.

    Nothing happens to an empty one, nor to one that is beyond 002. Raises CommandError, whose
    message lists all that differs, where a person has to decide.
    """
    revision = recorded_revision(connection)
    if revision not in (None, BASE, BASE_WITH_CREATORS):
        return
    catalog = find_tables(connection)
    if not catalog.tables:
        return
    differences = find_differences(connection, catalog, revision)
    _refuse([found for found in differences if _stands_in_the_way(found, revision)])
    _repair(connection, differences)
    if revision is None:
        _stamp(connection, script, fitting_revision(catalog))


def fitting_revision(catalog: Catalog) -> str:
    """The revision whose tables these would be: 002 where keys refer to who created them."""
    knows_creators = any(found.stands_for(CREATOR) for found in catalog.constraints)
    return BASE_WITH_CREATORS if knows_creators else BASE


def _stands_in_the_way(difference: Difference, revision: str | None) -> bool:
    named_later = revision and difference.rows and difference.part in NAMED_BY_003
    return not (difference.repair or named_later)


def _refuse(differences: list[Difference]) -> None:
    if differences:
        lines = "".join(f"\n  {difference}" for difference in differences)
        raise CommandError(
            f"The tables that are there are not those that Tandem builds upon.{lines}\n"
            "Nothing was changed."
        )


def _repair(connection: Connection, differences: list[Difference]) -> None:
    for difference in differences:
        if difference.repair:
            connection.exec_driver_sql(difference.repair)
            log.warning("%s; repaired", difference)


def _stamp(connection: Connection, script: ScriptDirectory, revision: str) -> None:
    MigrationContext.configure(connection).stamp(script, revision)
    log.warning("The tables were adopted as those of %s", revision)
