"""The resources of a project as they are, read page by page: no transaction spans them."""

from asyncio import Semaphore
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any
from uuid import UUID

from shared.database.pool import Record
from shared.database.transaction import Database
from shared.events.vocabulary import NIL
from task_service.events import queries
from task_service.events.selection import Selection

API_KEY, USER = "api_key", "user"


async def pages(
    database: Database, project_id: UUID, selection: Selection, turn: Semaphore, *, keys: bool
) -> AsyncIterator[tuple[str, Sequence[Record]]]:
    """The kind and the rows of each page. `keys` says whether API keys may be in it.

    Raises Refusal, as Database.read.
    """
    filters = _filters(selection)
    for kind in _kinds(project_id, selection, keys=keys):
        statement = queries.resources(kind, frozenset(filters))
        offered = {**filters, "project_id": project_id}
        after = NIL
        while statement is not None:
            given = {**offered, "after": after}
            async with turn:
                rows = await database.read(lambda c: statement.rows(c, given))  # noqa: B023
            if not rows:
                break
            after = rows[-1]["snapshot_key"]
            yield kind, rows


def _kinds(project_id: UUID, selection: Selection, *, keys: bool) -> Iterator[str]:
    for kind in queries.KINDS:
        is_here = (kind == USER) == (project_id == NIL)
        is_allowed = keys or kind != API_KEY
        is_asked = selection.kinds is None or kind in selection.kinds
        if is_here and is_allowed and is_asked:
            yield kind


def _filters(selection: Selection) -> dict[str, Any]:
    found = {
        "resource_ids": selection.resource_ids and list(selection.resource_ids),
        "assigned_to": selection.assigned_to,
        "room_id": selection.room_id,
        "own": selection.own,
    }
    return {name: value for name, value in found.items() if value is not None}
