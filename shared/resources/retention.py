"""How long request ids are kept: a day, and less by a caller with very many."""

import asyncio
import time
from collections import Counter
from datetime import timedelta
from functools import partial
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import (
    ColumnElement,
    DateTime,
    Integer,
    Uuid,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    tuple_,
)

from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.errors import Reason, Refusal
from shared.schema import request_ids

log = structlog.get_logger()

KEPT = timedelta(hours=24)
# Of a caller's request ids that are older than this, only the latest are kept for the whole time:
# refusing a busy caller, or counting at each call, would cost those who do no harm.
KEPT_AT_LEAST = timedelta(hours=1)
MAXIMUM_OLDER = 100_000
# How many a process stores for a caller until it looks how many there are.
STORED_BEFORE_A_LOOK = 10_000
# What a process stores for a caller in an hour: a thousand calls a second of some hundred bytes.
MAXIMUM_BYTES_PER_HOUR = 4 * 1024**3
HOUR_SECONDS = 3600.0
ROOM_RETRY_SECONDS = 600.0
SWEEP_EVERY_SECONDS = 600.0
SWEEP_ROWS = 1_000  # with 1 MiB each, they take some seconds
SWEEP_PAUSE_SECONDS = 0.1
SWEEP_RETRY_SECONDS = 10.0

_ids = request_ids.c
_key = (_ids.caller_id, _ids.method, _ids.request_id)
_of_caller = _ids.caller_id == bindparam("caller_id", type_=Uuid)
expired = _ids.created_at < func.now() - KEPT


def _forgetting(purpose: str, *conditions: ColumnElement[bool]) -> Statement:
    """A statement that deletes up to SWEEP_ROWS, and answers a row for each of them."""
    rows = select(*_key).where(*conditions).limit(SWEEP_ROWS)
    # As a subquery it could be run once for each row, and then find others each time.
    found = rows.with_for_update(skip_locked=True).cte("found")
    return Statement(
        f"{purpose}; a bounded number at once, which several services may do at the same time.",
        delete(request_ids).where(tuple_(*_key).in_(select(found))).returning(literal_column("1")),
    )


SWEEP = _forgetting("Forgets expired request ids", expired)
FIRST_TOO_MANY = Statement(
    "When the latest request id of a caller was stored that is one too many of the older ones.",
    select(_ids.created_at)
    .where(_of_caller, _ids.created_at < func.now() - KEPT_AT_LEAST)
    .order_by(_ids.created_at.desc())
    .offset(bindparam("maximum", type_=Integer))
    .limit(1),
)
TRIM = _forgetting(
    "Forgets request ids of a caller up to a time",
    _of_caller,
    _ids.created_at <= bindparam("until", type_=DateTime(timezone=True)),
)


class Stored:
    """What this process has stored for each caller: an estimate that costs a call nothing."""

    def __init__(self) -> None:
        self._ids: Counter[UUID] = Counter()
        self._bytes: Counter[UUID] = Counter()
        self._hour_began = time.monotonic()

    def add(self, caller_id: UUID, size: int) -> None:
        """Count a response of this many bytes. Raises Refusal(LIMIT_EXCEEDED) if it is too much."""
        now = time.monotonic()
        if now >= self._hour_began + HOUR_SECONDS:
            self._hour_began = now
            self._bytes.clear()
        if self._bytes[caller_id] + size > MAXIMUM_BYTES_PER_HOUR:
            raise no_room("hour", MAXIMUM_BYTES_PER_HOUR)
        self._bytes[caller_id] += size
        self._ids[caller_id] += 1

    def with_many(self) -> list[UUID]:
        """The callers for whom very many were stored since they were taken before."""
        many = [one for one, count in self._ids.items() if count >= STORED_BEFORE_A_LOOK]
        for caller_id in many:
            del self._ids[caller_id]
        return many


stored = Stored()


def no_room(time: str, limit: int) -> Refusal:
    """The refusal of a response that is one too many to be kept."""
    message = (
        f"The responses to this caller's calls with a request_id of the last {time} would have "
        f"more than {limit} bytes together; call without a request_id, or later."
    )
    metadata = {"limit_bytes": str(limit)}
    seconds, limit_reached = ROOM_RETRY_SECONDS, "request_ids"
    return Refusal(
        Reason.LIMIT_EXCEEDED, message, metadata, retry_after=seconds, limit=limit_reached
    )


async def sweep(database: Database) -> int:
    """Forget up to SWEEP_ROWS request ids whose time is over, and say how many."""
    return len(await database.single(SWEEP.rows))


async def trim(database: Database, caller_id: UUID) -> None:
    """Forget what a caller has stored beyond MAXIMUM_OLDER of those that are an hour old."""
    first = partial(FIRST_TOO_MANY.row, caller_id=caller_id, maximum=MAXIMUM_OLDER)
    if (row := await database.read(first)) is None:
        return
    some = partial(TRIM.rows, caller_id=caller_id, until=row["created_at"])
    while True:
        if len(await database.single(some)) < SWEEP_ROWS:
            return
        await asyncio.sleep(SWEEP_PAUSE_SECONDS)


async def sweep_forever(database: Database) -> None:
    """Sweep now and then, and as fast as request ids get old, until cancelled."""
    while True:
        pause = SWEEP_EVERY_SECONDS
        try:
            if await sweep(database) == SWEEP_ROWS:
                pause = SWEEP_PAUSE_SECONDS
            for caller_id in stored.with_many():
                await trim(database, caller_id)
        except (Refusal, asyncpg.PostgresError) as error:
            log.warning("request ids not swept", cause=repr(error))
            pause = SWEEP_RETRY_SECONDS
        await asyncio.sleep(pause)
