"""Pages of a log, as a caller sees them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.resources.pagination import PAGE_BYTES
from task_service.events import queries
from task_service.events.visible import require_position, shown_own, sight


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of a log: up to `size` events with a number greater than `after`.

    It is a number of the log `log_id`, None: any. Only filters that are set are given; see
    queries.FILTERS.
    """

    filters: Mapping[str, Any]
    after: int
    log_id: UUID | None
    size: int


@dataclass(frozen=True, slots=True)
class Events:
    """Rows of events, all that are asked for up to the number `through`, and the log's head."""

    head: Record
    rows: list[Record]
    through: int


async def read_page(
    connection: Connection, caller: Caller, project_id: UUID, query: Query
) -> Events:
    """Events, in batches: up to `size`, or what a message takes, of queries.LOOKED_AT.

    Raises Refusal: those of `sight` and `require_position`.
    """
    statement = queries.page(queries.Shape(frozenset(query.filters), shown_own(caller)))
    rows: list[Record] = []
    through, left, page = query.after, PAGE_BYTES, None
    while True:
        limit = min(query.size - len(rows), queries.BATCH_SIZE)
        batch = await statement.rows(
            connection,
            caller.rights,
            **query.filters,
            project_id=project_id,
            begun=query.after,
            after=through,
            row_limit=limit,
            byte_limit=left,
        )
        head = batch[0] if batch else None
        sight(caller, project_id, head)
        assert head is not None, "it is refused"
        if page is None:
            require_position(head, query.after, query.log_id)
        elif head["log_id"] != page.head["log_id"] or through + 1 < head["first"]:
            return page  # what comes next is gone since: the next page says so
        found = [row for row in batch if row["sequence"] is not None]
        rows += found
        is_cut = bool(found) and len(found) < found[0]["batch_rows"]
        is_full = len(found) == limit
        is_last = not (is_cut or is_full)
        through = max(head["looked_at"], through) if is_last else found[-1]["sequence"]
        page = Events(head, rows, through)
        left -= sum(len(row["after"]) + len(row["before"] or b"") for row in found)
        if not is_full or len(rows) == query.size or left < 0:  # cut, it is not full
            return page
