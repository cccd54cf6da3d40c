"""Takes back what agents have let expire, and does what else is due, in every task service.

There is no leader: each process does what the others have not locked, a bounded part at once.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from random import uniform
from time import time
from typing import Any, NamedTuple, NoReturn
from uuid import UUID

import asyncpg
import structlog

from shared.database.pool import Connection, Record
from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.dependents.rules import follow
from shared.errors import Refusal
from shared.events.recording import SYSTEM, Change, Log, recorded
from shared.metrics.catalog import SWEEP_FAILURES, SWEEP_TIME, SWEPT
from shared.metrics.instruments import Sample
from shared.settings import Settings
from task_service.sweep import queries
from task_service.sweep.queries import AT_ONCE, FOUND, Due

log = structlog.get_logger()

# Between two sweeps; a lease that has expired is taken back within two seconds.
SWEEP_SECONDS = (0.8, 1.2)
# For so many rows as one statement changes: after a long absence calls come in between.
PAUSE_SECONDS = 0.02
FAILURES = (Refusal, asyncpg.PostgresError)


class Chore(NamedTuple):
    """What is looked for, and what is done with it; `does` says so in the log."""

    does: str
    look: Statement
    dues: Sequence[Due]


CHORES = (
    Chore("leases expired", queries.EXPIRED, (queries.EXPIRE, queries.CANCEL_HELD)),
    Chore("tasks cancelled", queries.TO_CANCEL, (queries.CANCEL_HELD, queries.CANCEL_FREE)),
    Chore("tasks shared again", queries.PREFERRED, (queries.SHARE,)),
    Chore("agents gone offline", queries.SILENT, (queries.GO_OFFLINE,)),
)


class Tally:
    """What this process has swept. There is one, as there is one sweep in a process."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter({chore.does: 0 for chore in CHORES})
        self.failures = 0
        self.succeeded_at = 0.0


TALLY = Tally()


async def samples() -> list[Sample]:
    """What this process has swept, and when it last did."""
    done = [Sample(SWEPT, n, (does.replace(" ", "_"),)) for does, n in TALLY.done.items()]
    failures = Sample(SWEEP_FAILURES, TALLY.failures)
    return [*done, failures, Sample(SWEEP_TIME, TALLY.succeeded_at)]


async def sweep_forever(database: Database, settings: Settings) -> NoReturn:
    """Sweep each second until cancelled; what fails is tried again."""
    while True:
        pause = uniform(*SWEEP_SECONDS)  # noqa: S311
        try:
            if await sweep(database, settings.agent_timeout):
                pause = PAUSE_SECONDS
        except FAILURES as error:
            TALLY.failures += 1
            log.warning("tasks not swept", cause=repr(error))
        await asyncio.sleep(pause)


async def sweep(database: Database, silence: float) -> bool:
    """Do once what is due; whether there is more of it than one look finds.

    Agents without a sign of life for `silence` seconds go offline.
    """
    has_more = False
    for chore in CHORES:
        has_more |= await _do(database, chore, {"silence": float(silence)})
    TALLY.succeeded_at = time()
    return has_more


async def _do(database: Database, chore: Chore, offered: Mapping[str, Any]) -> bool:
    """Do what one look finds; whether there is more, unless nothing could be done."""
    rows = await database.read(partial(chore.look.rows, offered=offered))
    by_project: dict[UUID, list[UUID]] = defaultdict(list)
    for row in rows:
        by_project[row["project_id"]].append(row["id"])
    done = 0
    for project_id, ids in by_project.items():
        try:
            done += await _do_in(database, chore, {**SYSTEM, **offered}, project_id, ids)
        except FAILURES as error:  # the other projects are not to wait for it
            TALLY.failures += 1
            log.warning("not swept", project_id=str(project_id), cause=repr(error))
    if done:
        TALLY.done[chore.does] += done
        log.info(chore.does, number=done)
    return len(rows) == FOUND and done > 0


async def _do_in(
    database: Database, chore: Chore, offered: Mapping[str, Any], project_id: UUID, ids: list[UUID]
) -> int:
    """Do it with these of a project; with how many it could be done."""
    total = 0
    for start in range(0, len(ids), AT_ONCE):
        left = ids[start : start + AT_ONCE]
        for due in chore.dues:
            left = await _each(database, due, offered, project_id, left)
        done = min(AT_ONCE, len(ids) - start) - len(left)
        await asyncio.sleep(PAUSE_SECONDS * done / AT_ONCE)
        total += done
    return total


async def _each(
    database: Database, due: Due, offered: Mapping[str, Any], project_id: UUID, ids: list[UUID]
) -> list[UUID]:
    """Do it with those with which it can be done; the others."""
    if not ids:
        return []
    of = {"project_id": project_id, "ids": ids}
    rows = await database.single(partial(_alone, due.alone, offered, of))
    left = _without(ids, rows)
    while due.whole and left:
        work = partial(_whole, due.whole, offered, {**of, "ids": left})
        rows = await database.transaction(recorded(work, offered))
        if not rows:
            break
        left = _without(left, rows)
    return left


async def _alone(
    change: Change, offered: Mapping[str, Any], of: dict[str, Any], connection: Connection
) -> list[Record]:
    return await change.alone.rows(connection, offered, **of)


async def _whole(
    change: Change,
    offered: Mapping[str, Any],
    of: dict[str, Any],
    connection: Connection,
    log: Log,
) -> list[Record]:
    """The same with one for which others wait: they know of it. Or it waits for others."""
    rows = await log.run_all(connection, change, offered, of)
    for row in rows:
        await follow(connection, log, row, row["old_status"], is_due=True)
    return rows


def _without(ids: list[UUID], rows: Sequence[Record]) -> list[UUID]:
    done = {row["id"] for row in rows}
    return [each for each in ids if each not in done]
