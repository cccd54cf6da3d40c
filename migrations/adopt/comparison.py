"""Compares the base tables of a database with those that 001 or 002 creates."""

from alembic.util import CommandError
from sqlalchemy import Connection, PrimaryKeyConstraint, UniqueConstraint, text

from migrations.adopt.baseline import COLUMNS, CONSTRAINTS, CREATOR
from migrations.adopt.constraints import compare_constraints
from migrations.adopt.difference import Difference
from migrations.adopt.structure import compare_structure
from migrations.history import BASE, BASE_WITH_CREATORS
from migrations.inspect.catalog import Catalog, read
from shared.schema import metadata

# Any other object with one of these names conflicts with a table or an index of Tandem.
RESERVED_NAMES = {
    *metadata.tables,
    *(index.name for table in metadata.tables.values() for index in table.indexes),
    *(
        constraint.name
        for table in metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, (PrimaryKeyConstraint, UniqueConstraint))
    ),
}

# Other schemas that have all base tables, and no table of revisions.
_ELSEWHERE = """
SELECT quote_ident(nspname) FROM pg_namespace JOIN pg_class ON relnamespace = pg_namespace.oid
WHERE nspname <> current_schema()
GROUP BY nspname
HAVING count(*) FILTER (WHERE relname = ANY(:tables)) = cardinality(:tables)
   AND count(*) FILTER (WHERE relname = 'alembic_version') = 0
"""


def find_tables(connection: Connection) -> Catalog:
    """The base tables, and every object that has a name of the schema.

    Raises CommandError if the base tables are in a schema that is not first in the search path.
    """
    catalog = read(connection, map(str, RESERVED_NAMES))
    elsewhere = connection.scalars(text(_ELSEWHERE), {"tables": list(COLUMNS)}).first()
    if not catalog.tables and elsewhere:
        raise CommandError(
            f"The tables are in the schema {elsewhere}, which is not first in the search path: "
            f"add ?search_path={elsewhere} to the URL of the database."
        )
    return catalog


def compare(connection: Connection, catalog: Catalog, revision: str | None) -> list[Difference]:
    """How the tables differ from those of `revision`; None: from 001 or 002, whichever matches."""
    creators = [CREATOR] if (revision or matching_revision(catalog)) == BASE_WITH_CREATORS else []
    structural = compare_structure(catalog)
    unfit = {difference.table for difference in structural if not difference.repair}
    constraints = compare_constraints(connection, catalog, [*CONSTRAINTS, *creators], unfit)
    return [*structural, *constraints]


def matching_revision(catalog: Catalog) -> str:
    """The revision that created such tables: 002 if keys refer to the user who created them."""
    has_creators = any(found.stands_for(CREATOR) for found in catalog.constraints)
    return BASE_WITH_CREATORS if has_creators else BASE
