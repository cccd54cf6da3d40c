"""Reads the log of a project in pages, and proves that none of its events is missing."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import structlog

from shared.database.pool import Record
from shared.database.transaction import Database
from shared.errors import Reason, Refusal, events_compacted, not_found
from task_service.events import queries
from task_service.events.assembly import BATCH_EVENTS, RESPONSE_BYTES, Entry, item
from task_service.events.selection import Facts
from task_service.events.visible import require_position

log = structlog.get_logger()

# So many pages are read and built at a time, whoever asks: other calls need connections, too.
READS = 3
# After so long it is the turn of other calls, for as long.
TURN_SECONDS = 0.005
Read = Callable[[Any], Any]
Serialize = Callable[[Any], bytes]


class Page(NamedTuple):
    """Events that follow each other, up to `read`, which is `whole` if that ends a transaction.

    `whole` is the last number known to end one; it is below the first event if none does.
    """

    entries: Sequence[Entry]
    read: int
    whole: int


class LogReader:
    """The logs of all projects."""

    def __init__(self, database: Database, read: Read, serialize: Serialize) -> None:
        """`read` reads the JSON of a row, and `serialize` makes the bytes of an Event of that."""
        self._database = database
        self._read, self._serialize = read, serialize
        self._turn = asyncio.Semaphore(READS)

    async def page(self, project_id: UUID, log_id: UUID, after: int) -> Page:
        """The events after a number, some hundred; of a larger transaction so many in any case.

        Raises Refusal: EVENTS_COMPACTED, LOG_REWOUND, PROJECT_NOT_FOUND if the log is gone,
        INTERNAL if an event is missing, and those of Database.read.
        """
        entries: list[Entry] = []
        size, whole, read = 0, after, after
        while True:
            async with self._turn:
                rows = await self._rows(project_id, read)
                last = rows[0]["last"]
                require_readable(rows[0], log_id, read)
                found = [] if rows[0]["sequence"] is None else rows
                require_gapless(project_id, found, read, last)
                entries += await self._entries(found)
            size += sum(len(entry.item) for entry in entries[-len(found) :]) if found else 0
            read = entries[-1].sequence if entries else after
            whole = _whole(entries, last, after)
            if whole > after or read == last or len(entries) > BATCH_EVENTS:
                break
            if size > RESPONSE_BYTES:
                break
        return Page(entries, read, whole)

    async def _rows(self, project_id: UUID, after: int) -> list[Record]:
        rows = await self._database.read(
            lambda c: queries.EVENTS_AFTER.rows(c, project_id=project_id, after=after)
        )
        if not rows:
            raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
        return rows

    async def _entries(self, rows: Sequence[Record]) -> list[Entry]:
        loop = asyncio.get_running_loop()
        entries, began = [], loop.time()
        for row in rows:
            known = self._read(row)
            built = item(self._serialize(known))
            entries.append(Entry(row["sequence"], row["batch"], Facts.of(known), built))
            if loop.time() - began > TURN_SECONDS:
                await asyncio.sleep(TURN_SECONDS)
                began = loop.time()
        return entries


def require_readable(head: Record, log_id: UUID, after: int) -> None:
    """Refuse to read on after a number that the log does not have any more, or not yet."""
    require_position(head, after, log_id)
    if after + 1 < head["first"]:  # 0 is only at the beginning of a watch that of any log
        raise events_compacted(head["first"])


def require_gapless(project_id: UUID, rows: Sequence[Record], after: int, last: int) -> None:
    """Raise Refusal(INTERNAL) if an event is missing: a watch would miss it without a word."""
    expected = after + 1
    for row in rows:
        if row["sequence"] != expected:
            raise _broken(project_id, expected)
        expected += 1
    if not rows and after < last:
        raise _broken(project_id, expected)


def _broken(project_id: UUID, sequence: int) -> Refusal:
    log.error("an event is missing", project_id=str(project_id), sequence=sequence)
    message = "An event is missing in the log; its operator has to look at that."
    return Refusal(Reason.INTERNAL, message)


def _whole(entries: Sequence[Entry], last: int, after: int) -> int:
    """The last number known to end a transaction: the log ends with it, or another one follows."""
    if entries and entries[-1].sequence == last:
        return last
    if not entries:
        return after
    batch = entries[-1].batch
    return max(after, batch - 1) if batch > entries[0].batch else after
