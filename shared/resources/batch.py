"""Batches: rows by their ids, all or nothing, in the order asked, and no more than clients take."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Integer,
    Select,
    Uuid,
    any_,
    bindparam,
    case,
    func,
    literal,
    select,
    true,
)

from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.errors import Reason, Refusal, all_not_found
from shared.resources.building import M, Messages, Row, build_all
from shared.resources.measuring import is_large, size_as_text
from shared.resources.pagination import PAGE_BYTES
from shared.resources.project_scoped import ProjectScopedTable

# As text, rows can be larger than in the message that PAGE_BYTES limits.
MAXIMUM_TEXT_BYTES = 4 * PAGE_BYTES

_ids = bindparam("ids", type_=ARRAY(Uuid))


class BatchGet:
    """The batches of one table. Of rows that are refused, no more is read than decides that."""

    def __init__(self, table: ProjectScopedTable) -> None:
        self._table = table
        self.statement = Statement(
            f"The {table.kind}s with these ids, and what decides who reaches them; without their "
            "large columns if they are too large together.",
            _rows_of(table),
        )

    async def get(
        self, connection: Connection, caller: Caller, ids: Sequence[UUID]
    ) -> list[Record]:
        """The rows, in the order of their ids.

        The first id that fails decides the refusal: …_NOT_FOUND, which names all that are missing,
        or one of access. LIMIT_EXCEEDED comes last.
        """
        distinct = list(dict.fromkeys(ids))
        rows = await self.statement.rows(connection, caller.rights, ids=distinct)
        found = {row["id"]: row for row in rows}
        for row_id in distinct:
            if row_id not in found:
                missing = [each for each in distinct if each not in found]
                raise all_not_found(self._table.missing, missing)
            row = found[row_id]
            self._table.require_permitted(caller, row, self._table.read)
        if any(row["are_too_large"] for row in rows):
            raise _too_large(self._table.kind)
        return [found[row_id] for row_id in ids]


async def build_batch(rows: Iterable[Row], message: Callable[[Row], M], batch: Messages[M]) -> None:
    """Append the messages of rows to the field of the response.

    Raises Refusal(LIMIT_EXCEEDED) if they are more than clients take.
    """
    left = PAGE_BYTES
    async for each, size in build_all(rows, message):
        left -= size
        if left < 0:
            raise _too_large(message.__name__)
        batch.append(each)


def _too_large(kind: str) -> Refusal:
    message = f"The {kind}s are larger than {PAGE_BYTES // 1024} KiB together; ask for fewer."
    return Refusal(Reason.LIMIT_EXCEEDED, message, {"limit_bytes": str(PAGE_BYTES)})


def _rows_of(table: ProjectScopedTable) -> Select[Any]:
    # Not `and_`: it would look at the right side, too, if the left is NULL.
    too_large = case((table.permits(table.read), _are_too_large(table)))
    columns = (
        case((~too_large, column)).label(column.name) if is_large(column) else column
        for column in table.table.c
    )
    return (
        select(*columns, *table.decisive, too_large.label("are_too_large"))
        .select_from(table.with_project)
        .where(table.table.c.id == any_(_ids))
    )


def _are_too_large(table: ProjectScopedTable) -> ColumnElement[bool]:
    """Whether the rows together have more than MAXIMUM_TEXT_BYTES.

    They are measured one by one, only to the row that is too much: a thousand large ones would take
    PostgreSQL many seconds. As a subquery, that is done once, and not at all if no row is reached.
    """
    rows, asked = table.table, select(_ids.label("ids")).subquery("asked")
    nothing = literal(0, Integer)
    measured = select(nothing.label("number"), nothing.label("bytes")).cte(
        "measured", recursive=True
    )
    number = measured.c.number + 1
    size = select(size_as_text(rows)).where(rows.c.id == asked.c.ids[number]).scalar_subquery()
    measured = measured.union_all(
        select(number, measured.c.bytes + func.coalesce(size, 0))
        .select_from(measured.join(asked, true()))
        .where(number <= func.cardinality(asked.c.ids), measured.c.bytes <= MAXIMUM_TEXT_BYTES)
    )
    return select(func.max(measured.c.bytes) > MAXIMUM_TEXT_BYTES).scalar_subquery()
