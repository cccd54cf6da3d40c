"""The statements about logs."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnClause,
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    Select,
    String,
    Table,
    Text,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    null,
    or_,
    select,
    true,
)

from shared.auth.access import RIGHTS, allowed, role_in, usable
from shared.auth.identities import USER_COLUMNS
from shared.auth.permissions import Permission, Role
from shared.database.statement import Statement
from shared.resources.measuring import size_as_text
from shared.resources.membership import SHOWN as MEMBER
from shared.schema import (
    agent_api_keys,
    agents,
    chat_participants,
    chat_rooms,
    event_heads,
    events,
    project_members,
    projects,
    tasks,
    user_identities,
    users,
)

HEADS = Statement(
    "The number of the latest event of each of these projects.",
    select(event_heads.c.project_id, event_heads.c.last).where(
        event_heads.c.project_id == any_(bindparam("project_ids", type_=ARRAY(Uuid)))
    ),
)

# So many events are looked at for a page at most, whether they are shown or not.
LOOKED_AT = 10_000
BATCH_SIZE = 250

_heads, _events = event_heads.c, events.c
_project_id = bindparam("project_id", type_=Uuid)
_resource_id = bindparam("resource_id", type_=Uuid)
# Where the page begins, and where this part of it does.
_begun = func.greatest(bindparam("begun", type_=BigInteger), _heads.first - 1)
_after = bindparam("after", type_=BigInteger)
_limit = bindparam("row_limit", type_=Integer)


def _size(event: FromClause) -> ColumnElement[int]:
    """The bytes of an event as text: how it is stored says little, because it is compressed."""
    before = func.octet_length(cast(event.c.before, Text))
    return func.octet_length(cast(event.c.after, Text)) + func.coalesce(before, 0)


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


# See Selection.matches, which says the same.
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

    Those behind `byte_limit` are left out; `batch_rows` is how many there are with them.
    Both are of one snapshot: what is removed from the log is not missing without `first` saying so.
    """
    permitted = true() if shape.own else _permitted
    # Materialized, so that what it looks for is looked for once.
    head = (
        _head(_looked_at(shape).label("looked_at"), permitted.label("permitted"))
        .cte("head")
        .prefix_with("MATERIALIZED")
    )
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
    sizes = func.sum(_size(found)).over(order_by=found.c.sequence, rows=(None, -1))
    measured = (
        select(
            head,
            *(column for column in found.c if column.name != "project_id"),
            func.count(found.c.sequence).over().label("batch_rows"),
            func.coalesce(sizes, 0).label("bytes_before"),
        )
        .select_from(head.outerjoin(found, true()))
        .subquery("measured")
    )
    shown = [column for column in measured.c if column.name != "bytes_before"]
    return Statement(
        "Events of a log in their order, and its head.",
        select(*shown)
        .where(measured.c.bytes_before <= bindparam("byte_limit", type_=BigInteger))
        .order_by(measured.c.sequence),
    )


# Two of the shapes, as docs/sql.md shows them.
PAGE = page(Shape(frozenset(), own=False))
OWN_PAGE = page(Shape(frozenset(FILTERS), own=True))


PAGE_EVENTS = 500
# A page ends behind so many bytes: about those of a response, because what is read and not sent is
# read again.
PAGE_BYTES = 256 * 1024

# From each event to the next, as far as the page goes: no other is read to be measured.
_first = (
    select(events.c.sequence, _size(events).label("bytes"))
    .where(events.c.project_id == _project_id, events.c.sequence == _after + 1)
    .cte("walked", recursive=True)
)
_walked = _first.union_all(
    select(events.c.sequence, _first.c.bytes + _size(events)).where(
        events.c.project_id == _project_id,
        events.c.sequence == _first.c.sequence + 1,
        events.c.sequence <= _after + PAGE_EVENTS,
        _first.c.bytes <= PAGE_BYTES,
    )
)
_page = (
    select(events)
    .where(
        events.c.project_id == _project_id,
        events.c.sequence > _after,
        events.c.sequence <= select(func.max(_walked.c.sequence)).scalar_subquery(),
    )
    .subquery("page")
)
EVENTS_AFTER = Statement(
    "A page of events of a log, each beside the head, which is there alone if none follow: all as "
    "it is at one moment, so that what the head says to be there is there.",
    select(event_heads.c.log_id, event_heads.c.first, event_heads.c.last, *_page.c)
    .select_from(event_heads.outerjoin(_page, true()))
    .where(event_heads.c.project_id == _project_id)
    .order_by(_page.c.sequence),
)


def _given(*columns: ColumnClause[Any]) -> FromClause:
    """Parameters `<column>s`, arrays of equal length, as rows in their order."""
    arrays = [bindparam(f"{each.name}s", type_=ARRAY(each.type)) for each in columns]
    names = [column(each.name, each.type) for each in columns]
    rows = func.unnest(*arrays).table_valued(*names, with_ordinality="position", name="given")
    return rows.render_derived()


_users = _given(
    column("project_id", Uuid),
    column("user_id", Uuid),
    column("issuer", String),
    column("subject", String),
)
# As a row of LOG has it.
_log = (
    event_heads.c.log_id,
    event_heads.c.first,
    event_heads.c.last,
    event_heads.c.owner_id,
    projects.c.id.is_(None).label("is_deleted"),
)
_role_now = case(
    (projects.c.owner_id == _users.c.user_id, cast(literal("owner"), String)),
    else_=project_members.c.role,
)
USERS_STANDING = Statement(
    "What each of these users is to a project and its log, in this order.",
    select(
        *_log,
        func.coalesce(
            users.c.is_active
            & (_users.c.issuer.is_(None) | (user_identities.c.user_id == users.c.id)),
            False,
        ).label("is_active"),
        func.coalesce(users.c.is_superuser, False).label("is_superuser"),
        _role_now.label("found_role"),
    )
    .select_from(
        _users.outerjoin(users, users.c.id == _users.c.user_id)
        .outerjoin(
            user_identities,
            and_(
                user_identities.c.issuer == _users.c.issuer,
                user_identities.c.subject == _users.c.subject,
            ),
        )
        .outerjoin(projects, projects.c.id == _users.c.project_id)
        .outerjoin(
            project_members,
            and_(
                project_members.c.project_id == _users.c.project_id,
                project_members.c.user_id == _users.c.user_id,
            ),
        )
        .outerjoin(event_heads, event_heads.c.project_id == _users.c.project_id)
    )
    .order_by(_users.c.position),
)

_agents = _given(column("project_id", Uuid), column("agent_id", Uuid), column("api_key_id", Uuid))
_key_holds = or_(_agents.c.api_key_id.is_(None), and_(agent_api_keys.c.id.is_not(None), usable()))
AGENTS_STANDING = Statement(
    "What each of these agents, by the API key that its token was given for, is to a project and "
    "its log, in this order.",
    select(
        *_log,
        func.coalesce(agents.c.is_active & _key_holds, False).label("is_active"),
        agent_api_keys.c.scopes,
        cast(null(), String).label("found_role"),
    )
    .select_from(
        _agents.outerjoin(agents, agents.c.id == _agents.c.agent_id)
        .outerjoin(
            agent_api_keys,
            and_(
                agent_api_keys.c.id == _agents.c.api_key_id,
                agent_api_keys.c.agent_id == agents.c.id,
            ),
        )
        .outerjoin(projects, projects.c.id == _agents.c.project_id)
        .outerjoin(event_heads, event_heads.c.project_id == _agents.c.project_id)
    )
    .order_by(_agents.c.position),
)

# Of a snapshot.
SNAPSHOT_ROWS = 200
_assigned = bindparam("assigned_to", type_=Uuid)
_room = bindparam("room_id", type_=Uuid)
_own = bindparam("own", type_=Uuid)
_no: ColumnElement[bool] = literal(False)


class Kind(NamedTuple):
    """How a snapshot reads the resources of a kind: by their key, as far as filters let it."""

    key: ColumnElement[Any]
    project_id: ColumnElement[Any] | None
    columns: tuple[ColumnElement[Any], ...]
    filters: Mapping[str, ColumnElement[bool]]


def _kind(table: Table, **filters: ColumnElement[bool]) -> Kind:
    columns = tuple(each for each in table.c if each.name != "api_key_hash")
    return Kind(table.c.id, table.c.project_id, columns, filters)


# In the order in which they are sent: what is referred to comes first.
KINDS: Mapping[str, Kind] = {
    "project": Kind(projects.c.id, projects.c.id, tuple(projects.c), {}),
    "user": Kind(users.c.id, None, (*USER_COLUMNS, users.c.username, users.c.is_active), {}),
    "member": Kind(project_members.c.user_id, project_members.c.project_id, MEMBER, {}),
    "agent": _kind(agents, own=agents.c.id == _own),
    "api_key": _kind(agent_api_keys),
    "room": _kind(chat_rooms, room_id=chat_rooms.c.id == _room),
    "participant": _kind(chat_participants, room_id=chat_participants.c.room_id == _room),
    "task": _kind(
        tasks,
        assigned_to=tasks.c.assigned_to == _assigned,
        room_id=tasks.c.room_id == _room,
        own=tasks.c.assigned_agent_id == _own,
    ),
}


@lru_cache(maxsize=64)
def resources(kind: str, filters: frozenset[str]) -> Statement | None:
    """A page of the resources of a kind, by their keys after `after`; None if none can match.

    A page ends behind PAGE_BYTES.
    """
    known = KINDS[kind]
    if not (filters - {"resource_ids"}) <= known.filters.keys():
        return None
    conditions = [known.filters[name] for name in sorted(filters - {"resource_ids"})]
    if "resource_ids" in filters:
        conditions.append(known.key == any_(bindparam("resource_ids", type_=ARRAY(Uuid))))
    if known.project_id is not None:
        conditions.append(known.project_id == _project_id)
    after = bindparam("after", type_=Uuid)
    page = (
        select(*known.columns, known.key.label("snapshot_key"))
        .where(*conditions, known.key > after)
        .order_by(known.key)
        .limit(SNAPSHOT_ROWS)
        .subquery("page")
    )
    sizes = func.sum(size_as_text(page)).over(order_by=page.c.snapshot_key, rows=(None, -1))
    measured = select(page, func.coalesce(sizes, 0).label("bytes_before")).subquery("measured")
    rows = select(measured).where(measured.c.bytes_before <= PAGE_BYTES)
    return Statement(
        f"A page of the resources of the kind {kind}, for a snapshot.",
        rows.order_by(measured.c.snapshot_key),
    )


CHANGED = Statement(
    "Of what the events of a project are that have these numbers.",
    select(_events.resource_id).where(
        _events.project_id == _project_id,
        _events.sequence > _after,
        _events.sequence <= bindparam("through", type_=BigInteger),
    ),
)

_waited = (
    func.unnest(bindparam("task_ids", type_=ARRAY(Uuid)), bindparam("user_ids", type_=ARRAY(Uuid)))
    .table_valued(column("task_id", Uuid), column("user_id", Uuid), name="waited")
    .render_derived()
)
_member = (
    select(project_members.c.role)
    .where(
        project_members.c.project_id == tasks.c.project_id,
        project_members.c.user_id == _waited.c.user_id,
    )
    .correlate_except(project_members)
    .scalar_subquery()
)
AWAITED = Statement(
    "What tells whether the wait of a user, or with NULL of an agent, for a task is over: how the "
    "task is, and the user's role in its project.",
    select(
        _waited.c.user_id,
        tasks.c.id,
        tasks.c.status,
        tasks.c.revision,
        tasks.c.assigned_agent_id,
        tasks.c.assigned_user_id,
        case(
            (projects.c.owner_id == _waited.c.user_id, Role.OWNER.name.lower()), else_=_member
        ).label("found_role"),
    ).select_from(
        _waited.join(tasks, tasks.c.id == _waited.c.task_id).join(
            projects, projects.c.id == tasks.c.project_id
        )
    ),
)
