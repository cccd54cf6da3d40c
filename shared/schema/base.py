"""What every table is made of: one MetaData, the ids, the clocks, the revisions, the checks."""

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    MetaData,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

# Constraints are recognised by name when they decide a race, so no name is left to the database.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "idx_%(table_name)s_%(column_0_N_name)s",
    }
)


def id_column() -> Column[object]:
    """The primary key, a UUIDv7. It has no default: PostgreSQL before 18 cannot make one."""
    return Column("id", Uuid, primary_key=True)


def clock(name: str) -> Column[object]:
    """A timestamptz that the database fills with the start of the transaction."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def clocks() -> tuple[Column[object], Column[object]]:
    """`created_at` and `updated_at`; whoever changes a row sets `updated_at`, no trigger does."""
    return clock("created_at"), clock("updated_at")


def revision_column() -> Column[int]:
    """Starts at 1 and grows by 1 at every change; whoever changes a row says so."""
    return Column("revision", BigInteger, nullable=False, server_default=text("1"))


def json_list(name: str) -> Column[object]:
    """A JSON array, empty by default."""
    return Column(name, JSONB, nullable=False, server_default=text("'[]'::jsonb"))


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """Named `ck_<table>_<column>`. NULL passes, as in every CHECK."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def same_project(
    column: str, target: str, *, name: str, ondelete: str | None
) -> ForeignKeyConstraint:
    """A reference to a row of the same project: (project_id, column) → target(project_id, id).

    Without `ondelete` it is deferred to COMMIT, so that a project's deletion may cascade to rows
    that refer to each other in any order.
    """
    return ForeignKeyConstraint(
        ["project_id", column],
        [f"{target}.project_id", f"{target}.id"],
        name=name,
        ondelete=ondelete,
        deferrable=None if ondelete else True,
        initially=None if ondelete else "DEFERRED",
    )
