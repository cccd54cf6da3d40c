"""What the move of a task does to those that wait for it, in the transaction of the move."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from uuid import UUID

from shared.database.pool import Connection, Record
from shared.dependents import queries
from shared.dependents.effects import Effect, effect
from shared.errors import Reason, Refusal
from shared.events.recording import Log

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
    if happened is not None and task["has_dependents"]:
        of_project = task["project_id"]
        await _cascade(connection, log, of_project, [task["id"]], happened, is_due=is_due)


async def follow(
    connection: Connection, log: Log, task: Record, before: str, *, is_due: bool = False
) -> Record:
    """A task that has moved, as it is with what follows from those that it waits for.

    It is as the move has left it, and locked by a statement that has returned; its status was
    `before`. What that statement knew of other tasks may be older than the row. Those that wait for
    it know then. Raises Refusal as `propagate`.
    """
    if task["open_dependencies"] and _may_begin(task):
        of_task = (task["project_id"], [task["id"]])
        rows = await _recount(connection, log, *of_task, is_lost=False)
        task = rows[0] if rows else task
    await propagate(connection, log, task, before, is_due=is_due)
    return task


async def follow_all(connection: Connection, log: Log, changed: Sequence[Record]) -> None:
    """Tell of many tasks that are worked on no more, of which CONCERNED is known, and the same."""
    log.add(changed)
    waiting = defaultdict(list)
    for row in changed:
        if row["open_dependencies"]:
            waiting[row["project_id"]].append(row["id"])
    for project_id, ids in waiting.items():
        await recount_all(connection, log, project_id, ids)


async def _cascade(
    connection: Connection,
    log: Log,
    project_id: UUID,
    level: Sequence[UUID],
    happened: Effect,
    *,
    is_due: bool,
) -> None:
    """Settle those that wait for the tasks of a level to which this has happened, and so on."""
    total = 0
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
    """The same of many tasks that are locked and have lost edges, or come to wait."""
    given_up: list[Record] = []
    for part in _parts(ids):
        rows = await _recount(connection, log, project_id, part, is_lost=False)
        given_up += (row for row in rows if row["told_type"] in GIVEN_UP)
    level = [row["id"] for row in given_up if row["has_dependents"]]
    await _cascade(connection, log, project_id, level, GIVE_UP, is_due=True)


def _may_begin(task: Record) -> bool:
    """Whether a task is pending, or blocked only because it waits for others."""
    is_blocked = task["status"] == "blocked" and task["status_reason"] in queries.WAITING
    return is_blocked or task["status"] == "pending"


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
