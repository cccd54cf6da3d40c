"""Heads of logs that are missing: of projects made by a version of Tandem before there were logs.

Such a version goes on for a while after the migration. Without the head of its log a project cannot
be changed, because a change that cannot be logged fails.
"""

from uuid import UUID

from sqlalchemy import Integer, Uuid, bindparam, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from shared.database.statement import Statement
from shared.database.transaction import Database
from shared.events.vocabulary import NIL
from shared.schema import event_heads, projects

# A project waits for no statement that adds heads: the rows are new, and few at once.
AT_ONCE = 1_000

_every_log = select(projects.c.id).union_all(select(literal(NIL, Uuid)))
_log = _every_log.subquery("log")
_has_head = select(event_heads.c.project_id).where(event_heads.c.project_id == _log.c.id).exists()
_missing = (
    select(_log.c.id, func.gen_random_uuid())
    .where(~_has_head)
    .limit(bindparam("at_once", type_=Integer))
)

ADD_MISSING = Statement(
    "Gives logs without a head one; several services may do so at the same time.",
    insert(event_heads)
    .from_select(["project_id", "log_id"], _missing)
    .on_conflict_do_nothing()
    .returning(event_heads.c.project_id),
)


async def add_missing(database: Database) -> list[UUID]:
    """Give each project that has no head of its log one; the projects that had none."""
    added: list[UUID] = []
    while True:
        rows = await database.single(
            lambda connection: ADD_MISSING.rows(connection, at_once=AT_ONCE)
        )
        if not rows:
            return added
        added += [row["project_id"] for row in rows]
