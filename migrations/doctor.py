"""Looks at a database and says what a migration would find and do, without changing anything."""

from dataclasses import dataclass, field
from enum import Enum

from alembic.util import CommandError
from sqlalchemy import Connection, text

from migrations.adoption import (
    find_differences,
    find_tables,
    fitting_revision,
    recorded_revision,
)
from migrations.differences import Difference
from migrations.findings import Finding, Kind, listed
from migrations.forecast import foresee
from migrations.history import BASE, BASE_WITH_CREATORS, REVISIONS
from migrations.rights import find_lacking
from migrations.run import TAKE_ANY_TIME, in_transaction, require_supported_server
from migrations.soundness import examine

# One picture of the database, however long it takes to look at it.
READ_ONLY = (
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    TAKE_ANY_TIME,
    "SET LOCAL lock_timeout = '10s'",
)

REFUSED = Kind("refused", "The database is not one that Tandem can migrate", blocks=True)


class State(Enum):
    """Where a database stands."""

    EMPTY = "empty"
    """None of Tandem's tables: `tandem db upgrade` makes them."""
    UNVERSIONED = "unversioned"
    """Tables that something else made: `tandem db upgrade` adopts them, where they fit."""
    OLDER = "older"
    """At a revision before the newest."""
    NEWEST = "newest"
    FOREIGN = "foreign"
    """The history, or the tables, of another program."""


class Verdict(Enum):
    """What to do about it. The values are exit codes: 1 and 2 are of commands that fail."""

    CLEAN = 0
    UPGRADE = 3
    """`tandem db upgrade` has something to do, and nothing is in its way."""
    BLOCKED = 4
    """Something needs a person."""


@dataclass(frozen=True)
class Report:
    """What there is to say. `revision` is what the database has noted, None without a history."""

    state: State
    revision: str | None = None
    differences: list[Difference] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def verdict(self) -> Verdict:
        """The worst of what was found."""
        needs = any(finding.count and finding.kind.blocks for finding in self.findings)
        if needs or any(not difference.repair for difference in self.differences):
            return Verdict.BLOCKED
        return Verdict.CLEAN if self.state is State.NEWEST else Verdict.UPGRADE


def look(database_url: str) -> Report:
    """What a migration would find in this database. Changes nothing and keeps nobody waiting.

    Blocks; not to be called from a running event loop. Raises MigrationError where it cannot look.
    """
    return in_transaction(database_url, _look)


def be_read_only(connection: Connection) -> None:
    """Let PostgreSQL refuse every change until the transaction ends."""
    for statement in READ_ONLY:
        connection.execute(text(statement))


def _look(connection: Connection) -> Report:
    be_read_only(connection)
    require_supported_server(connection)
    try:
        revision = recorded_revision(connection)
        if revision == REVISIONS[-1]:
            return Report(State.NEWEST, revision, findings=examine(connection))
        if revision in (None, BASE, BASE_WITH_CREATORS):
            return _look_at_base_tables(connection, revision)
    except CommandError as error:
        return Report(State.FOREIGN, findings=[listed(REFUSED, [str(error)])])
    findings = [*find_lacking(connection), *foresee(connection, revision)]
    return Report(State.OLDER, revision, findings=findings)


def _look_at_base_tables(connection: Connection, revision: str | None) -> Report:
    catalog = find_tables(connection)
    lacking = find_lacking(connection)
    if not catalog.tables:
        return Report(State.EMPTY, findings=lacking)
    differences = find_differences(connection, catalog, revision)
    # A statement may need what is different; rows that break a rule are none of its business.
    readable = all(difference.repair or difference.rows for difference in differences)
    findings = foresee(connection, revision or fitting_revision(catalog)) if readable else []
    state = State.OLDER if revision else State.UNVERSIONED
    return Report(state, revision, differences, [*lacking, *findings])
