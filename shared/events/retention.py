"""How long events are kept: for some days, by their age, which a project may state itself.

A log is cut at its oldest end, and only between transactions. What is removed and the number of the
oldest event that is kept change in one statement: whoever reads sees both changes or neither.
"""

import asyncio
import time
from functools import partial
from typing import Any, NoReturn
from uuid import UUID

import asyncpg
import structlog
from sqlalchemy import (
    CTE,
    ColumnElement,
    Integer,
    Numeric,
    Select,
    Uuid,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal_column,
    not_,
    null,
    or_,
    select,
    true,
    update,
)

from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.events.heads import add_missing
from shared.events.vocabulary import NIL
from shared.schema import event_heads, events, projects
from shared.settings import MAXIMUM_EVENT_RETENTION_DAYS, Settings

log = structlog.get_logger()

SETTING = "event_retention_days"
SWEEP_EVERY_SECONDS = 600.0  # a look at 100,000 logs takes some seconds
# Until then a project of an older version, which has no head, cannot be changed.
HEADS_EVERY_SECONDS = 60.0
SWEEP_PAUSE_SECONDS = 0.1
SWEEP_RETRY_SECONDS = 10.0
# A change in the project waits while so many events are removed; one transaction's go together.
CUT_EVENTS = 1_000
# How many times a log is cut until the others have their turn.
CUTS_AT_ONCE = 20
LOGS_PER_LOOK = 1_000

_head, _event = event_heads.c, events.c


def stated_days(settings: ColumnElement[Any]) -> ColumnElement[int]:
    """For how many days a project's settings say that events are kept, NULL if they do not.

    What no client could set today says nothing.
    """
    value = func.jsonb_extract_path(settings, SETTING)
    number = cast(func.jsonb_extract_path_text(settings, SETTING), Numeric)
    is_valid = and_(number.between(1, MAXIMUM_EVENT_RETENTION_DAYS), number == func.trunc(number))
    # AND has no order: only a CASE keeps a text from being read as a number.
    is_number = func.jsonb_typeof(value) == "number"
    return case((is_number, case((is_valid, cast(number, Integer)))))


_project_id: ColumnElement[UUID] = bindparam("project_id", type_=Uuid)
_days = func.coalesce(
    stated_days(projects.c.settings), _head.retention_days, bindparam("days", type_=Integer)
)
_with_project = event_heads.outerjoin(projects, projects.c.id == _head.project_id)


def _is_old(at: ColumnElement[Any], days: ColumnElement[Any]) -> ColumnElement[bool]:
    return at < func.now() - func.make_interval(0, 0, 0, days)


def _look() -> Statement:
    log = (
        select(
            _head.project_id,
            _head.first,
            _head.last,
            projects.c.id.is_(null()).label("is_gone"),
            _days.label("days"),
        )
        .select_from(_with_project)
        .where(_head.project_id >= bindparam("start", type_=Uuid))
        .order_by(_head.project_id)
        .limit(LOGS_PER_LOOK)
        .subquery("log")
    )
    of = log.c
    of_oldest = and_(_event.project_id == of.project_id, _event.sequence == of.first)
    is_gone = and_(of.is_gone, of.project_id != NIL).label("is_gone")
    is_old = _is_old(select(_event.at).where(of_oldest).scalar_subquery(), of.days)
    is_due = or_(is_old, and_(is_gone, of.first > of.last)).label("is_due")
    return Statement(
        "The next logs by their project, and whether there is something to remove: the oldest "
        "event, or the head if the project is gone.",
        select(of.project_id, is_gone, is_due).order_by(of.project_id),
    )


def _cut(purpose: str, *, skip_locked: bool) -> Statement:
    head = (
        select(_head.first, _days.label("days"))
        .select_from(_with_project)
        .where(_head.project_id == _project_id)
        .with_for_update(of=event_heads, skip_locked=skip_locked)
        .cte("head")
    )
    # As values of subqueries, what bounds an index scan does not depend on the plan.
    first, days = (select(head.c[name]).scalar_subquery() for name in ("first", "days"))
    of_project = _event.project_id == _project_id
    # Numbers have no gaps: a range of them is a limit that no plan can exceed.
    oldest = (
        select(_event.sequence, _event.batch, _is_old(_event.at, days).label("is_old"))
        .where(of_project, _event.sequence >= first, _event.sequence <= first + CUT_EVENTS)
        .cte("oldest")
    )
    found = _end_of_the_old(oldest).cte("found")
    end = select(_whole(found, of_project)).select_from(found).cte("cut")
    stop = select(end.c.stop).scalar_subquery()
    removed = (
        delete(events)
        .where(of_project, _event.sequence >= first, _event.sequence < stop)
        .returning(literal_column("1"))
        .cte("removed")
    )
    moved = (
        update(event_heads)
        .values(first=stop)
        .where(_head.project_id == _project_id, stop > _head.first)
        .returning(literal_column("1"))
        .cte("moved")
    )
    count = select(func.count()).select_from(removed).scalar_subquery()
    answer = select(count.label("removed"), found.c.has_more).select_from(head.join(found, true()))
    return Statement(purpose, answer.add_cte(moved))


def _end_of_the_old(oldest: CTE) -> Select[Any]:
    """Where the first transaction begins that is not old, or with which it would be too many."""
    is_full = func.count() > CUT_EVENTS
    end = case((is_full, func.max(oldest.c.batch)), else_=func.max(oldest.c.sequence) + 1)
    return select(
        func.min(oldest.c.batch).label("begin"),
        func.coalesce(func.min(oldest.c.batch).filter(not_(oldest.c.is_old)), end).label("stop"),
        func.bool_and(oldest.c.is_old).label("all_old"),
        and_(is_full, func.bool_and(oldest.c.is_old)).label("has_more"),
    )


def _whole(found: CTE, of_project: ColumnElement[bool]) -> ColumnElement[int]:
    """The same, but beyond the first transaction if it alone is too many."""
    begin = select(found.c.begin).scalar_subquery()
    steps = select((begin + CUT_EVENTS).label("sequence")).cte("steps", recursive=True)
    is_of_it = and_(of_project, _event.batch == begin)
    goes_on = select(_event.batch).where(is_of_it, _event.sequence == steps.c.sequence).exists()
    steps = steps.union_all(select(steps.c.sequence + CUT_EVENTS).where(goes_on))
    beyond = select(func.max(steps.c.sequence)).scalar_subquery()
    is_last = and_(is_of_it, _event.sequence.between(beyond - CUT_EVENTS, beyond))
    end = select(func.max(_event.sequence) + 1).where(is_last).scalar_subquery()
    is_one = and_(found.c.all_old, found.c.stop == found.c.begin)
    return case((is_one, end), else_=found.c.stop).label("stop")


LOOK = _look()
CUT = _cut(
    "Removes the oldest events of a log that are too old, a bounded number at once, unless another "
    "session has its head; and how many these are, and whether there may be more.",
    skip_locked=True,
)
CUT_IN_TURN = _cut("The same, after the sessions that wait for the head.", skip_locked=False)
FORGET = Statement(
    "Removes the head of an empty log whose project is gone.",
    delete(event_heads).where(
        _head.project_id == _project_id,
        _head.first > _head.last,
        _head.project_id != NIL,
        ~select(projects.c.id).where(projects.c.id == _head.project_id).exists(),
    ),
)


async def sweep(database: Database, days: int) -> bool:
    """Look at every log once, and cut what is too old; whether there is more of it."""
    start, has_more = NIL, False
    while True:
        logs = await database.read(partial(LOOK.rows, start=start, days=days))
        for log in (log for log in logs if log["is_due"]):
            has_more |= await _shorten(database, log["project_id"], days)
            if log["is_gone"]:
                await database.single(partial(FORGET.run, project_id=log["project_id"]))
        if len(logs) < LOGS_PER_LOOK:
            return has_more
        start = UUID(int=logs[-1]["project_id"].int + 1)
        await asyncio.sleep(SWEEP_PAUSE_SECONDS)


async def _shorten(database: Database, project_id: UUID, days: int) -> bool:
    """Cut a log up to CUTS_AT_ONCE times; whether there is more to cut."""
    for _ in range(CUTS_AT_ONCE):
        cut = partial(CUT.row, project_id=project_id, days=days)
        row = await database.single(cut)
        if row is None:
            # Of a busy project somebody always has the head: then only waiting gets it.
            in_turn = partial(CUT_IN_TURN.row, project_id=project_id, days=days)
            row = await database.single(in_turn)
        if row is None or not row["has_more"]:
            return False
        await asyncio.sleep(SWEEP_PAUSE_SECONDS)
    return True


async def sweep_forever(database: Database, settings: Settings) -> NoReturn:
    """Sweep now and then, and as fast as events get too old, until cancelled."""
    next_sweep = 0.0
    while True:
        pause = HEADS_EVERY_SECONDS
        try:
            await add_missing(database)
            if time.monotonic() >= next_sweep:
                if await sweep(database, settings.event_retention_days):
                    pause = SWEEP_PAUSE_SECONDS
                else:
                    next_sweep = time.monotonic() + SWEEP_EVERY_SECONDS
        except (Refusal, asyncpg.PostgresError) as error:
            log.warning("events not swept", cause=repr(error))
            pause = SWEEP_RETRY_SECONDS
        await asyncio.sleep(pause)
