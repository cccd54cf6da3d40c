"""What the move of a task does to those that wait for it, in the transaction of the move."""

from collections.abc import Iterator, Sequence
from uuid import UUID

from shared.database.pool import Connection, Record
from shared.errors import Reason, Refusal
from shared.events.recording import Log
from task_service.dependents import queries
from task_service.dependents.effects import Effect, effect

# Tasks that fail or are cancelled by the move of one.
MAXIMUM = 10_000
# Tasks whose dependents one statement settles, each of which looks for its edges to all of them.
AT_ONCE = 100
GIVEN_UP = ("task.failed", "task.cancelled")
GIVE_UP = Effect(0, -1, is_lost=True)


async def propagate(
    connection: Connection, log: Log, task: Record, before: str, *, is_due: bool = False
) -> None:
    """Let those that wait for a task know that it has moved, and that its status was `before`.

    The task is as it is now, and locked by a statement that has returned. What fails or is
    cancelled by this moves too, level by level. Raises Refusal(LIMIT_EXCEEDED), unless the move
    `is_due`: no caller could do with less.
    """
    happened = effect(before, task["status"])
    if happened is None or not task["has_dependents"]:
        return
    project_id, level, total = task["project_id"], [task["id"]], 0
    while level:
        given_up = []
        for part in _parts(level):
            given_up += await _settle(connection, log, project_id, part, happened)
        total += len(given_up)
        if total > MAXIMUM and not is_due:
            raise _too_many()
        level = [row["id"] for row in given_up if row["has_dependents"]]
        happened = GIVE_UP


async def recount(
    connection: Connection, log: Log, task: Record, *, is_lost: bool = False
) -> Record:
    """A task as it is after its edges were changed, with what follows from that.

    It is locked, and so are those that it depends on newly, one of which may be lost.
    """
    rows = await _recount(connection, log, task["project_id"], [task["id"]], is_lost=is_lost)
    if not rows:
        return task
    await propagate(connection, log, rows[0], task["status"])
    return rows[0]


async def recount_all(
    connection: Connection, log: Log, project_id: UUID, ids: Sequence[UUID]
) -> None:
    """The same of many tasks, which have lost edges and are locked."""
    await _recount(connection, log, project_id, ids, is_lost=False)


async def _settle(
    connection: Connection, log: Log, project_id: UUID, ids: Sequence[UUID], happened: Effect
) -> list[Record]:
    """Those that have given up."""
    if not await queries.LOCK_WAITING.rows(connection, project_id=project_id, ids=ids):
        return []
    rows = await queries.SETTLE.rows(
        connection, project_id=project_id, ids=ids, **happened._asdict()
    )
    log.add(rows)
    return [row for row in rows if row["told_type"] in GIVEN_UP]


async def _recount(
    connection: Connection, log: Log, project_id: UUID, ids: Sequence[UUID], *, is_lost: bool
) -> list[Record]:
    rows = await queries.RECOUNT.rows(connection, project_id=project_id, ids=ids, is_lost=is_lost)
    log.add(rows)
    return rows


def _parts(ids: Sequence[UUID]) -> Iterator[Sequence[UUID]]:
    return (ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE))


def _too_many() -> Refusal:
    message = f"More than {MAXIMUM:,} tasks would fail or be cancelled with it."
    return Refusal(Reason.LIMIT_EXCEEDED, message, {"limit": str(MAXIMUM)})
