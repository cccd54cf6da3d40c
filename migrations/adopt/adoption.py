"""Adopts base tables that another program created.

Tables that match 001 or 002 are stamped with that revision, in the transaction of the migrations
that follow. Differences that can be repaired without losing data are repaired; others are refused.
"""

import logging

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection

from migrations.adopt.comparison import compare, find_tables, matching_revision
from migrations.adopt.difference import Difference
from migrations.history import BASE, BASE_WITH_CREATORS
from migrations.inspect.revision import recorded_revision

log = logging.getLogger("tandem.migrations")

# Migration 003 itself refuses rows that violate these, and names all of them.
_CHECKED_BY_003 = ("fk_agent_api_keys_project_id", "fk_chat_participants_room_id")


def adopt(connection: Connection, script: ScriptDirectory) -> None:
    """Prepare tables of another program for the migrations that follow 001 or 002.

    Does nothing to an empty database, or to one at a later revision. Raises CommandError, whose
    message lists all differences, if one of them requires manual action.
    """
    revision = recorded_revision(connection)
    if revision not in (None, BASE, BASE_WITH_CREATORS):
        return
    catalog = find_tables(connection)
    if not catalog.tables:
        return
    differences = compare(connection, catalog, revision)
    _refuse([found for found in differences if _blocks(found, revision)])
    _repair(connection, differences)
    if revision is None:
        _stamp(connection, script, matching_revision(catalog))


def _blocks(difference: Difference, revision: str | None) -> bool:
    checked_later = revision and difference.rows and difference.part in _CHECKED_BY_003
    return not (difference.repair or checked_later)


def _refuse(differences: list[Difference]) -> None:
    if differences:
        lines = "".join(f"\n  {difference}" for difference in differences)
        raise CommandError(
            "The existing tables are not the tables that Tandem's migrations build upon."
            f"{lines}\nNothing was changed."
        )


def _repair(connection: Connection, differences: list[Difference]) -> None:
    for difference in differences:
        if difference.repair:
            connection.exec_driver_sql(difference.repair)
            log.warning("%s; repaired", difference)


def _stamp(connection: Connection, script: ScriptDirectory, revision: str) -> None:
    MigrationContext.configure(connection).stamp(script, revision)
    log.warning("The existing tables were adopted as those of %s", revision)
