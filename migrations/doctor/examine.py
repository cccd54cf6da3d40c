"""Examines a database in a read-only transaction."""

from alembic.util import CommandError
from sqlalchemy import Connection, text

from migrations.adopt.comparison import compare, find_tables, matching_revision
from migrations.agent_com.examination import examine_agent_com
from migrations.agent_com.tables import is_agent_com
from migrations.doctor.diagnosis import Diagnosis, State
from migrations.doctor.dry_run import dry_run
from migrations.doctor.integrity import check_integrity
from migrations.doctor.privileges import find_missing_privileges
from migrations.history import BASE, BASE_WITH_CREATORS, NEWEST
from migrations.inspect.findings import Kind, listed
from migrations.inspect.revision import recorded_revision
from migrations.transaction import (
    in_transaction,
    limit_lock_waits,
    remove_time_limits,
    require_supported_server,
)

REFUSED = Kind("refused", "Tandem cannot migrate this database", blocks=True)

# One snapshot for all queries.
_READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"


def examine(database_url: str) -> Diagnosis:
    """Predict what an upgrade would find and do. Changes nothing and blocks no other session.

    Blocks its caller; not to be called from a running event loop. Raises MigrationError if the
    database cannot be examined.
    """
    return in_transaction(database_url, _examine)


def make_read_only(connection: Connection) -> None:
    """Make PostgreSQL refuse every change until the transaction ends."""
    connection.execute(text(_READ_ONLY))
    remove_time_limits(connection)
    limit_lock_waits(connection)


def _examine(connection: Connection) -> Diagnosis:
    make_read_only(connection)
    require_supported_server(connection)
    if is_agent_com(connection):
        return _examine_agent_com(connection)
    try:
        revision = recorded_revision(connection)
        if revision == NEWEST:
            return Diagnosis(State.NEWEST, revision, findings=check_integrity(connection))
        if revision in (None, BASE, BASE_WITH_CREATORS):
            return _examine_base_tables(connection, revision)
    except CommandError as error:
        return Diagnosis(State.FOREIGN, findings=[listed(REFUSED, [str(error)])])
    findings = [*find_missing_privileges(connection), *dry_run(connection, revision)]
    return Diagnosis(State.OLDER, revision, findings=findings)


def _examine_agent_com(connection: Connection) -> Diagnosis:
    found = examine_agent_com(connection)
    findings = [*find_missing_privileges(connection), *found.findings]
    return Diagnosis(State.AGENT_COM, None, found.differences, findings)


def _examine_base_tables(connection: Connection, revision: str | None) -> Diagnosis:
    catalog = find_tables(connection)
    missing = find_missing_privileges(connection)
    if not catalog.tables:
        return Diagnosis(State.EMPTY, findings=missing)
    differences = compare(connection, catalog, revision)
    # A query may need what differs, unless the difference is only about rows.
    readable = all(difference.repair or difference.rows for difference in differences)
    findings = dry_run(connection, revision or matching_revision(catalog)) if readable else []
    state = State.OLDER if revision else State.UNVERSIONED
    return Diagnosis(state, revision, differences, [*missing, *findings])
