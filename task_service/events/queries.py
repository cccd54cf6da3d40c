"""The statements about logs."""

from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    String,
    Uuid,
    and_,
    any_,
    bindparam,
    cast,
    func,
    literal,
    or_,
    select,
    true,
)

from shared.auth.access import RIGHTS, allowed, role_in
from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.schema import event_heads, events, projects

HEADS = Statement(
    "The number of the latest event of each of these projects.",
    select(event_heads.c.project_id, event_heads.c.last).where(
        event_heads.c.project_id == any_(bindparam("project_ids", type_=ARRAY(Uuid)))
    ),
)

# So many events are looked at for a page at most, whether they are shown or not.
LOOKED_AT = 10_000
# An event has up to 80 KiB.
BATCH_SIZE = 250

_heads, _events = event_heads.c, events.c
_project_id = bindparam("project_id", type_=Uuid)
_resource_id = bindparam("resource_id", type_=Uuid)
# Where the page begins, and where this part of it does.
_begun = func.greatest(bindparam("begun", type_=BigInteger), _heads.first - 1)
_after = bindparam("after", type_=BigInteger)
_limit = bindparam("row_limit", type_=Integer)

FILTERS: dict[str, ColumnElement[bool]] = {
    "resource_id": _events.resource_id == _resource_id,
    "types": _events.type == any_(bindparam("types", type_=ARRAY(String))),
    "resource_types": _events.resource_type
    == any_(bindparam("resource_types", type_=ARRAY(String))),
    "by_actor": _events.actor_id == bindparam("by_actor", type_=Uuid),
    "at_after": _events.at >= bindparam("at_after", type_=DateTime(timezone=True)),
    "at_before": _events.at < bindparam("at_before", type_=DateTime(timezone=True)),
}


def _is_assigned(task: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a task, as JSON, is assigned to the agent that calls."""
    agent_id = cast(RIGHTS["caller_agent_id"], String)
    return and_(
        task["assigned_to"].astext == agent_id,
        task["assigned_to_type"].astext == literal("agent"),
    )


# See Sight.shows, which says the same.
OWN = or_(
    and_(_events.resource_type == "agent", _events.resource_id == RIGHTS["caller_agent_id"]),
    and_(
        _events.resource_type == "task",
        or_(_is_assigned(_events.after), _is_assigned(_events.before)),
    ),
)
# Only they, and the last owner, read the log of a project that is deleted.
_is_deleted = projects.c.id.is_(None)
_role = role_in(projects.c.id, projects.c.owner_id)
_permitted = or_(
    allowed(Permission.READ_EVENTS, projects.c.id, _role),
    and_(_is_deleted, _heads.owner_id == RIGHTS["caller_id"]),
)


def _head(*columns: ColumnElement[Any]) -> Select[Any]:
    return (
        select(
            _heads.log_id,
            _heads.first,
            _heads.last,
            _heads.owner_id,
            _is_deleted.label("is_deleted"),
            _role.label("found_role"),
            *columns,
        )
        .select_from(event_heads.outerjoin(projects, projects.c.id == _heads.project_id))
        .where(_heads.project_id == _project_id)
    )


LOG = Statement("The head of a log, and what decides who may read it.", _head())


class Shape(NamedTuple):
    """What a page of events depends on: the filters that are set, and whether only what is the
    calling agent's own is shown."""

    filters: frozenset[str]
    own: bool


def _looked_at(shape: Shape) -> ColumnElement[int]:
    """The number of the last event that is looked at for a page."""
    if "resource_id" not in shape.filters:
        return func.least(_heads.last - LOOKED_AT, _begun) + LOOKED_AT  # it cannot overflow
    if shape == Shape(frozenset({"resource_id"}), own=False):
        return func.greatest(_heads.last, _begun)  # an index has them, and no others
    last_of_many = (
        select(_events.sequence)
        .where(
            _events.project_id == _project_id,
            FILTERS["resource_id"],
            _events.sequence > bindparam("begun", type_=BigInteger),
        )
        .order_by(_events.sequence)
        .offset(literal(LOOKED_AT - 1, Integer))
        .limit(literal(1, Integer))
        .scalar_subquery()
    )
    return func.coalesce(last_of_many, _heads.last)


@lru_cache(maxsize=128)
def page(shape: Shape) -> Statement:
    """The head, and beside it each of the events `after` a number, up to `row_limit`.

    Both are of one snapshot: what is removed from the log is not missing without `first` saying so.
    """
    permitted = true() if shape.own else _permitted
    head = _head(_looked_at(shape).label("looked_at"), permitted.label("permitted")).cte("head")
    found = (
        select(*_events)
        .where(
            _events.project_id == _project_id,
            _events.sequence > _after,
            _events.sequence <= head.c.looked_at,
            head.c.permitted,
            *(FILTERS[name] for name in sorted(shape.filters)),
            *([OWN] if shape.own else ()),
        )
        .order_by(_events.sequence)
        .limit(_limit)
        .lateral("found")
    )
    shown = [column for column in found.c if column.name != "project_id"]
    return Statement(
        "Events of a log in their order, and its head.",
        select(head, *shown).select_from(head.outerjoin(found, true())).order_by(found.c.sequence),
    )


# Two of the shapes, as docs/sql.md shows them.
PAGE = page(Shape(frozenset(), own=False))
OWN_PAGE = page(Shape(frozenset(FILTERS), own=True))
