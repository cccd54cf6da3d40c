"""The statements by which agents take tasks."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Double,
    FromClause,
    Insert,
    Integer,
    Select,
    SmallInteger,
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
    extract,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.elements import Grouping

from shared.auth.access import ACTIVE
from shared.auth.permissions import Permission, Role
from shared.database.statement import Statement
from shared.events.recording import Change, Old, told
from shared.resources.leases import is_proof
from shared.resources.locking import after
from shared.resources.measuring import fitted, is_heavy
from shared.resources.pagination import PAGE_BYTES
from shared.schema import (
    agents,
    project_members,
    projects,
    task_attempts,
    task_inputs,
    task_leases,
    tasks,
)
from task_service.holders import HOLDERS
from task_service.presence.queries import is_known

# Attempts that are handed to the next one.
PREVIOUS = 5
MOST_TASKS, MOST_INPUTS = 100, 100
# What of a task can be large, and so much of it that all tasks of a claim may have it.
LARGE = ("description", "result", "dependencies")
SMALL_BYTES = PAGE_BYTES // MOST_TASKS
RANKS = 4

CLAIM_ROLES = Permission.CLAIM_TASKS.roles

_task = tasks.c
_project_id = bindparam("project_id", type_=Uuid)
_agent_id = bindparam("agent_id", type_=Uuid)
_number = bindparam("number", type_=Integer)
_seconds = bindparam("seconds", type_=Integer)
_only = bindparam("only", type_=ARRAY(Text))
_here = _task.project_id == _project_id
_pending = and_(_here, _task.status == "pending")
_order = (_task.ready_at, _task.id)
# What a claim changes in a task.
_CHANGED = (
    "status",
    "assigned_agent_id",
    "started_at",
    "attempt",
    "leased",
    "status_reason",
    "status_message",
)


def _agent() -> CTE:
    """The agent, locked against deactivation and deletion, if the caller may claim for it."""
    of_type = func.to_jsonb(cast(func.concat("type:", agents.c.agent_type), Text))
    words = func.jsonb_array_elements_text(agents.c.capabilities.concat(of_type))
    word = words.table_valued("value").c.value
    able = select(word).where(or_(_only.is_(None), word == any_(_only)))
    is_ready = and_(agents.c.is_active, projects.c.status == ACTIVE)
    return (
        select(
            agents.c.id.label("found_id"),
            agents.c.is_active.label("found_is_active"),
            agents.c.status.label("found_status"),
            projects.c.status.label("found_project_status"),
            is_ready.label("is_ready"),
            agents.c.revision.label("found_revision"),
            func.array(able.scalar_subquery(), type_=ARRAY(Text)).label("found_able"),
            agents.c.max_leases,
            is_known().label("found_is_known"),
        )
        .select_from(HOLDERS.with_project)
        .where(
            agents.c.project_id == _project_id,
            agents.c.id == _agent_id,
            HOLDERS.permits(Permission.CLAIM_TASKS),
        )
        .with_for_update(read=True, of=agents)
        .cte("agent")
    )


def _proved(agent: CTE) -> CTE:
    """The agent, and whether its API key, if one is used, still proves who it is."""
    is_usable = is_proof(agent, agent.c.found_id).label("found_is_usable")
    return select(*agent.c, is_usable).cte("proved")


def _is_ready(agent: CTE) -> ColumnElement[bool]:
    return and_(agent.c.is_ready, agent.c.found_is_usable)


def _own(agent_id: ColumnElement[Any]) -> ColumnElement[str]:
    """The lane of tasks that are assigned to the agent."""
    return func.concat("@", cast(agent_id, Text), type_=Text)


def _is_able(lane: ColumnElement[str], able: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether an agent with these capabilities can do what is in a lane that agents share."""
    required = func.string_to_array(func.substr(lane, 2), ",", type_=ARRAY(Text))
    return and_(lane >= "=", lane < ">", or_(lane == "=", required.bool_op("<@")(able)))


def _first_in_lanes(*conditions: ColumnElement[bool]) -> Select[Any]:
    """The first task of the first lane that matches: the most urgent one, ready or not."""
    first = select(_task.lane, _task.rank, _task.ready_at).where(_pending, *conditions)
    return first.order_by(_task.lane, _task.rank, *_order).limit(1)


def _shared_lanes() -> CTE:
    """The first task of each lane of all agents, by one look at the index for each."""
    first = _first_in_lanes(_task.lane >= "=", _task.lane < ">").subquery("first")
    shared = select(*first.c).cte("lanes", recursive=True)
    following = _first_in_lanes(_task.lane > shared.c.lane, _task.lane < ">").lateral("following")
    return shared.union_all(select(*following.c).select_from(shared.join(following, true())))


def _lanes(agent: CTE) -> CTE:
    """The first task of each lane that the agent can claim from."""
    shared = _shared_lanes()
    can = select(*shared.c).select_from(shared.join(agent, true()))
    can = can.where(_is_ready(agent), _is_able(shared.c.lane, agent.c.found_able))
    first = _first_in_lanes(_task.lane == _own(agent.c.found_id)).lateral("own")
    own = select(*first.c).select_from(agent.join(first, true())).where(_is_ready(agent))
    return can.union_all(own).cte("mine").prefix_with("MATERIALIZED", dialect="postgresql")


def _is_free() -> ColumnElement[bool]:
    """Whether no task with a lease has the same lock key."""
    of_key = (
        select(task_leases.c.task_id)
        .where(task_leases.c.project_id == _project_id, task_leases.c.lock_key == _task.lock_key)
        .correlate(tasks)
        .limit(1)
    )
    # Not EXISTS, for which a plan may read all leases first.
    return or_(_task.lock_key.is_(None), of_key.scalar_subquery().is_(None))


def _candidates(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Tasks that match, the most urgent first; what another call has locked is left to it."""
    old = Old.of(tasks, _CHANGED)
    return (
        select(
            _task.id,
            (_task.fence + 1).label("fence"),
            _task.lock_key,
            or_(_task.lane < ">", _task.preferred_until.is_not(None)).label("pooled"),
            *old.columns,
        )
        .where(*conditions, _is_free(), _task.cancel_requested_at.is_(None))
        .with_for_update(of=tasks, key_share=True, skip_locked=True)
    )


def _urgency() -> tuple[FromClause, ColumnElement[Any]]:
    """Every rank, as rows."""
    urgency = func.generate_series(1, RANKS).table_valued("rank").render_derived("urgency")
    return urgency, cast(urgency.c.rank, SmallInteger)


def _within(lane: ColumnElement[Any], rank: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(_pending, _task.lane == lane, _task.rank == rank)


def _first(*conditions: ColumnElement[bool]) -> Select[Any]:
    """When the first of the tasks of a lane and rank is ready that match."""
    return select(_task.ready_at).where(*conditions).order_by(*_order).limit(1)


def _ready(lane: ColumnElement[Any], rank: ColumnElement[Any]) -> ColumnElement[bool]:
    return and_(_within(lane, rank), _task.ready_at <= func.now())


def _heads(mine: CTE, urgency: FromClause, rank: ColumnElement[Any]) -> FromClause:
    """The lanes with ready tasks of a rank, that of the one first that is ready longest.

    Of the lane's most urgent rank the first task is known; none is looked for above it.
    """
    known = select(mine.c.ready_at).where(mine.c.rank == rank, mine.c.ready_at <= func.now())
    looked_for = _first(mine.c.rank < rank, _ready(mine.c.lane, rank))
    each = (part.correlate(mine, urgency) for part in (known, looked_for))
    head = union_all(*each).lateral("head")
    lanes = select(mine.c.lane).select_from(mine.join(head, true()))
    return lanes.order_by(head.c.ready_at).lateral("heads")


def _waiting(agent: CTE) -> Select[Any]:
    """Those that wait in the lanes of the agent: of each urgency the one that is ready longest.

    Each join is a loop in this order, and ends when enough are found: lanes are looked at for tasks
    of a rank only if there are too few that are more urgent.
    """
    urgency, rank = _urgency()
    heads = _heads(_lanes(agent), urgency, rank)
    some = _candidates(_ready(heads.c.lane, rank)).order_by(*_order).limit(_number)
    found = some.lateral("candidate")
    return select(*found.c).select_from(urgency.join(heads, true()).join(found, true()))


def _named(agent: CTE) -> Select[Any]:
    """Those of `task_ids`; also one that the agent works on without a lease."""
    one_of = _task.id == any_(bindparam("task_ids", type_=ARRAY(Uuid)))
    found_id, able = (select(agent.c[n]).scalar_subquery() for n in ("found_id", "found_able"))
    can = or_(_task.lane == _own(found_id), _is_able(_task.lane, able))
    is_mine = and_(_task.assigned_agent_id == found_id, ~_task.leased)
    is_ready = select(_is_ready(agent)).scalar_subquery()
    return _candidates(
        _here,
        one_of,
        is_ready,
        or_(
            and_(_task.status == "pending", _task.ready_at <= func.now(), can),
            and_(_task.status == "in_progress", is_mine),
        ),
    ).order_by(_task.rank, _task.ready_at, _task.id)


def _claim(purpose: str, choose: Callable[[CTE], Select[Any]]) -> Change:
    agent = _proved(_agent())
    slots = select(_free_slots(agent).c.slots).scalar_subquery()
    number = func.least(_number, func.cardinality(slots))
    chosen = choose(agent).limit(number).cte("chosen").prefix_with("MATERIALIZED")
    # All insert in the order of lock keys: two calls cannot wait for each other by way of two keys.
    place = func.row_number().over(order_by=(chosen.c.lock_key, chosen.c.id))
    picked = select(*chosen.c, place.label("place")).cte("picked")
    old = Old.of(tasks, _CHANGED)
    claimed = _claimed(_leased(picked, slots), picked, old)
    attempts = _attempts(claimed).cte("attempts")
    told_rows = (
        select(*told(tasks, "task.claimed", claimed, old.within(claimed)))
        .where(after(attempts))
        .cte("told")
    )
    found = [each for each in agent.c if each.name.startswith("found_")]
    found.append(select(func.count()).select_from(picked).scalar_subquery().label("found_number"))
    found.append(func.cardinality(slots).label("found_free"))
    return Change(
        purpose,
        [*found, *_light(claimed)],
        agent.outerjoin(claimed, true()),
        told_rows,
        each=told_rows.c.told_resource_id == claimed.c.id,
    )


def _free_slots(agent: CTE) -> CTE:
    """Slots of the agent without a lease, as many as are asked for, in one array, in order."""
    held = (
        select(task_leases.c.agent_slot)
        .where(task_leases.c.project_id == _project_id, task_leases.c.agent_id == _agent_id)
        .cte("held")
        .prefix_with("MATERIALIZED", dialect="postgresql")
    )
    most = select(agent.c.max_leases).scalar_subquery()
    slot = func.generate_series(1, most).column_valued("slot")
    # Each transaction takes others first: calls of one agent at the same time seldom meet.
    moment = cast(extract("microseconds", func.now()), BigInteger)
    order = func.hashint8(slot + moment)
    # Slots above a limit that was lowered count, too.
    room = most - select(func.count()).select_from(held).scalar_subquery()
    number = func.greatest(func.least(_number, room), 0)
    is_free = slot.not_in(select(held.c.agent_slot))  # looked up in a hash table
    some = select(slot).where(is_free).order_by(order).limit(number).subquery("some")
    slots = func.array(
        select(some.c.slot).order_by(some.c.slot).scalar_subquery(), type_=ARRAY(Integer)
    )
    return select(slots.label("slots")).cte("free").prefix_with("MATERIALIZED")


def _leased(picked: CTE, slots: ColumnElement[Any]) -> CTE:
    """One lease for each; a task whose lock key or slot was taken meanwhile gets none."""
    values: dict[str, ColumnElement[Any]] = {
        "project_id": _project_id,
        "task_id": picked.c.id,
        "agent_id": _agent_id,
        "fence": picked.c.fence,
        "pooled": picked.c.pooled,
        "agent_slot": Grouping(slots)[picked.c.place],
        "lock_key": picked.c.lock_key,
        "api_key_id": bindparam("actor_api_key_id", type_=Uuid),
        "expires_at": func.now() + func.make_interval(0, 0, 0, 0, 0, 0, _seconds),
        "seconds": _seconds,
    }
    rows = select(*values.values()).select_from(picked).order_by(picked.c.place)
    new = insert(task_leases).from_select(list(values), rows).on_conflict_do_nothing()
    lease = task_leases.c
    return new.returning(lease.project_id, lease.task_id, lease.fence).cte("leased")


def _claimed(leased: CTE, picked: CTE, old: Old) -> CTE:
    """The tasks with leases, each looked up by its key however few tasks there are.

    For the planner, few leases are of one project among those of which it knows nothing: this is
    why `leased` is joined by its project.
    """
    changed = (
        update(tasks)
        .where(
            _here,
            _task.project_id == leased.c.project_id,
            _task.id == leased.c.task_id,
            picked.c.id == leased.c.task_id,
        )
        .values(
            status="in_progress",
            assigned_agent_id=_agent_id,
            leased=True,
            fence=leased.c.fence,
            attempt=_task.attempt + 1,
            started_at=func.coalesce(_task.started_at, func.now()),
            preferred_until=null(),
            status_reason=null(),
            status_message=null(),
            updated_at=func.now(),
            revision=_task.revision + 1,
        )
    )
    return changed.returning(*tasks.c, *old.within(picked).columns).cte("claimed")


def _light(claimed: CTE) -> list[Any]:
    """The columns of tasks without what is large, and whether there is any: see LARGE_COLUMNS."""
    large = {name: is_heavy(claimed.c[name], SMALL_BYTES) for name in LARGE}
    columns = (
        case((~large[each.name], each)).label(each.name) if each.name in large else each
        for each in (claimed.c[known.name] for known in tasks.c)
    )
    return [*columns, or_(*large.values()).label("is_large")]


def _attempts(claimed: CTE) -> Insert:
    names = ("project_id", "fence", "attempt")
    rows = select(claimed.c.id, _agent_id, *(claimed.c[name] for name in names))
    return (
        insert(task_attempts)
        .from_select(["task_id", "agent_id", *names], rows)
        .returning(task_attempts.c.fence)
    )


CLAIM = _claim(
    "Gives an agent tasks that wait for it, each under a lease: the most urgent, and of "
    "these the one that is ready longest.",
    _waiting,
)
CLAIM_NAMED = _claim("The same, of the tasks `task_ids`.", _named)

_task_ids = bindparam("task_ids", type_=ARRAY(Uuid))
_of_tasks = any_(_task_ids)


def _latest_of_each(
    table: Table, *order: Any, most: int, condition: ColumnElement[bool] | None = None
) -> Select[Any]:
    """The latest rows of each task, of all tasks the latest first, as far as there is room."""
    place = func.row_number().over(
        partition_by=table.c.task_id, order_by=[each.desc() for each in order]
    )
    numbered = (
        select(*table.c, place.label("place"))
        .where(
            table.c.project_id == _project_id,
            table.c.task_id == _of_tasks,
            true() if condition is None else condition,
        )
        .subquery("numbered")
    )
    page_key = numbered.c.place * MOST_TASKS + func.array_position(_task_ids, numbered.c.task_id)
    rows = select(*numbered.c, numbered.c.task_id.label("id"), page_key.label("page_key"))
    return fitted(rows.where(numbered.c.place <= most), descending=False)


PREVIOUS_ATTEMPTS = Statement(
    "The latest attempts at each of some tasks that have ended, the latest first, as far as a "
    "response has room.",
    _latest_of_each(
        task_attempts,
        task_attempts.c.fence,
        most=PREVIOUS,
        condition=task_attempts.c.ended_at.is_not(None),
    ),
)
INPUTS = Statement(
    "What was asked for of each of some tasks, the latest first, as far as a response has room.",
    _latest_of_each(task_inputs, task_inputs.c.requested_at, task_inputs.c.key, most=MOST_INPUTS),
)
LARGE_COLUMNS = Statement(
    "What is large of some tasks, in their order, as far as a response has room.",
    fitted(
        select(
            _task.id,
            *(_task[name] for name in LARGE),
            func.array_position(_task_ids, _task.id).label("page_key"),
        ).where(_here, _task.id == _of_tasks),
        descending=False,
    ),
)


def _now_and_next() -> Select[Any]:
    """In each lane and of each urgency the first task, and the first that is not ready yet."""
    shared = _shared_lanes()
    agent_id = func.unnest(bindparam("agent_ids", type_=ARRAY(Uuid))).column_valued("agent_id")
    is_used = select(_task.id).where(_pending, _task.lane == _own(agent_id)).exists()
    here = union_all(
        select(shared.c.lane),
        select(_own(agent_id)).where(is_used),
    ).cte("here")
    urgency, rank = _urgency()
    within = _within(here.c.lane, rank)
    each = union_all(_first(within), _first(within, _task.ready_at > func.now()))
    moment = each.lateral("moment")
    return select(here.c.lane, null().label("id"), _until(moment.c.ready_at)).select_from(
        here.join(urgency, true()).join(moment, true())
    )


def _until(ready_at: ColumnElement[Any]) -> ColumnElement[float]:
    return cast(extract("epoch", ready_at - func.now()), Double).label("seconds")


def _by_name() -> Select[Any]:
    is_free = and_(_task.status == "in_progress", ~_task.leased)
    # When one is ready that is worked on already does not matter.
    seconds = case((is_free, 0.0), else_=_until(_task.ready_at)).label("seconds")
    return select(_task.lane, _task.id, seconds).where(
        _here, _task.id == _of_tasks, or_(_task.status == "pending", is_free)
    )


CLAIMABLE = Statement(
    "The lanes of a project, and tasks by their ids, in which agents that wait may find something, "
    "and in how many seconds.",
    union_all(_now_and_next(), _by_name()),
)

_held = (
    func.unnest(bindparam("agent_ids", type_=ARRAY(Uuid)), bindparam("user_ids", type_=ARRAY(Uuid)))
    .table_valued(column("agent_id", Uuid), column("user_id", Uuid), name="waiting")
    .render_derived()
)
_member = (
    select(project_members.c.role)
    .where(
        project_members.c.project_id == agents.c.project_id,
        project_members.c.user_id == _held.c.user_id,
    )
    .correlate_except(project_members)
    .scalar_subquery()
)
_owner = cast(literal(Role.OWNER.name.lower()), String)
CLAIMING = Statement(
    "How agents are that wait for tasks, and what the user, if any, is to the project who waits "
    "for them: if that changes, they look again.",
    select(
        _held.c.agent_id,
        _held.c.user_id,
        agents.c.revision,
        and_(agents.c.is_active, projects.c.status == ACTIVE).label("is_ready"),
        case((projects.c.owner_id == _held.c.user_id, _owner), else_=_member).label("found_role"),
    ).select_from(
        _held.join(agents, agents.c.id == _held.c.agent_id).join(
            projects, projects.c.id == agents.c.project_id
        )
    ),
)
