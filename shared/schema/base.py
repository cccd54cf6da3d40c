"""Columns and constraints that several tables have, and the metadata of all tables."""

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

# A violated constraint is recognized by its name, so PostgreSQL may not choose any of the names.
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
    """The primary key, a UUIDv7, without a default: PostgreSQL before 18 cannot generate one."""
    return Column("id", Uuid, primary_key=True)


def clock(name: str) -> Column[object]:
    """A timestamptz whose default is the start of the transaction."""
    return Column(name, DateTime(timezone=True), nullable=False, server_default=func.now())


def clocks() -> tuple[Column[object], Column[object]]:
    """`created_at` and `updated_at`. Each UPDATE has to set `updated_at`; there is no trigger."""
    return clock("created_at"), clock("updated_at")


def revision_column() -> Column[int]:
    """The number of changes plus 1. Each UPDATE has to increment it."""
    return Column("revision", BigInteger, nullable=False, server_default=text("1"))


def json_list(name: str) -> Column[object]:
    """A JSON array, empty by default."""
    return Column(name, JSONB, nullable=False, server_default=text("'[]'::jsonb"))


def one_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """A CHECK named `ck_<table>_<column>`, which accepts NULL."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=column)


def each_of(column: str, values: Iterable[str]) -> CheckConstraint:
    """A CHECK named `ck_<table>_<column>` on the elements of an array."""
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} <@ ARRAY[{allowed}]::varchar(50)[]", name=column)


def created_by_agent(table: str) -> tuple[Column[object], ForeignKeyConstraint, Index]:
    """`created_by_agent_id`: the agent of the project that created the row, if an agent did."""
    column = "created_by_agent_id"
    return (
        Column(column, Uuid),
        same_project(
            column, "agents", name=f"fk_{table}_{column}", ondelete=f"SET NULL ({column})"
        ),
        Index(
            f"idx_{table}_{column}",
            "project_id",
            column,
            postgresql_where=text(f"{column} IS NOT NULL"),
        ),
    )


def same_project(
    column: str, target: str, *, name: str, ondelete: str | None
) -> ForeignKeyConstraint:
    """A reference to a row of the same project: (project_id, column) → target(project_id, id).

    Without `ondelete` it is checked at COMMIT, so that the deletion of a project can cascade to
    rows that refer to each other, in any order.
    """
    return ForeignKeyConstraint(
        ["project_id", column],
        [f"{target}.project_id", f"{target}.id"],
        name=name,
        ondelete=ondelete,
        deferrable=None if ondelete else True,
        initially=None if ondelete else "DEFERRED",
    )
