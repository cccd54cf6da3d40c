"""How a lease ends: its row goes, and the attempt under it is over.

A lease ends with the row of its task locked, and that row says so in the same transaction: `leased`
is false. What a statement finds in `task_leases` may be older than the row of the task for which it
has waited; so one that has not seen the lease begin only ends it in a statement after the lock.
"""

from typing import Any

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Select,
    String,
    Text,
    Update,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    delete,
    false,
    func,
    literal,
    literal_column,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)

from shared.auth.access import usable
from shared.database.statement import Statement
from shared.dependents.queries import CONCERNED, WAITS_FOR
from shared.events.recording import Old, as_told, told
from shared.resources.locking import after
from shared.schema import agent_api_keys, task_attempts, task_leases, tasks

_lease, _attempt = task_leases.c, task_attempts.c
_of_task = and_(
    _lease.project_id == bindparam("project_id", type_=Uuid),
    _lease.task_id == bindparam("task_id", type_=Uuid),
)


def ended(rows: CTE, outcome: str | ColumnElement[str], **columns: ColumnElement[Any]) -> CTE:
    """Deletes the leases of rows of `tasks`, and ends the attempts under them, which it answers.

    The attempts get these columns, too.
    """
    lease = (
        delete(task_leases)
        .where(
            _lease.project_id == rows.c.project_id,
            _lease.task_id == rows.c.id,
            _lease.fence == rows.c.fence,
        )
        .returning(_lease.project_id, _lease.task_id, _lease.fence, _lease.pooled)
        .cte("ended_leases")
    )
    return _attempts_of(lease, outcome, **columns)


def _attempts_of(lease: CTE, outcome: str | ColumnElement[str], **columns: Any) -> CTE:
    word = cast(literal(outcome), String) if isinstance(outcome, str) else outcome
    changed = (
        update(task_attempts)
        .where(
            _attempt.project_id == lease.c.project_id,
            _attempt.task_id == lease.c.task_id,
            _attempt.fence == lease.c.fence,
        )
        # A transaction that had to wait for the one before may have begun before it.
        .values(outcome=word, ended_at=func.greatest(func.now(), _attempt.started_at), **columns)
    )
    return changed.returning(literal_column("1")).cte("ended_attempts")


def is_proof(agents: CTE, agent_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether the API key of the call, if any, still proves who the agent is that was found.

    It is locked, after the agent: a lease under a key that is revoked meanwhile is either seen by
    the revocation or not given.
    """
    given, key = bindparam("actor_api_key_id", type_=Uuid), agent_api_keys.c
    locked = (
        select(key.id)
        .select_from(agents.join(agent_api_keys, key.agent_id == agent_id))
        .where(key.id == given, usable())
        .with_for_update(read=True, of=agent_api_keys)
        .cte("api_key")
    )
    return or_(given.is_(None), select(locked.c.id).exists())


def _end() -> Statement:
    lease = delete(task_leases).where(_of_task).returning(*task_leases.c).cte("lease")
    attempts = _attempts_of(lease, bindparam("outcome", type_=String))
    found = select(lease.c.agent_id, lease.c.pooled)
    return Statement(
        "Ends the lease of a task that is locked since a statement before; the caller changes the "
        "task. Answers its agent, and whether the task was assigned to none before.",
        found.add_cte(attempts),
    )


END = _end()

# The pause before the second attempt, the longest one, and after how many it stays so.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, DOUBLINGS = 5.0, 3_600.0, 10


def backoff() -> ColumnElement[Any]:
    """How long a task pauses after an attempt that has failed: it doubles with each attempt.

    The pause is up to 20 % shorter or longer, so that tasks that fail together part. By how much is
    a matter of the task and its lease only.
    """
    doubled = func.power(2.0, func.least(tasks.c.attempt - 1, DOUBLINGS))
    seconds = func.least(FIRST_PAUSE_SECONDS * doubled, LONGEST_PAUSE_SECONDS)
    hashed = func.hashtextextended(cast(tasks.c.id, Text), tasks.c.fence)
    thousandths = 800 + func.abs(hashed % 401)
    return func.make_interval(0, 0, 0, 0, 0, 0, seconds * thousandths / 1000.0)


def pending_again(pooled: ColumnElement[bool]) -> dict[str, ColumnElement[Any]]:
    """The columns of a task that can be claimed again by those who could before.

    A dependency may have been reopened meanwhile, and lost: then it waits for that, and what
    follows has to be looked for in the same transaction, by `follow`. If it is to be cancelled,
    that is done at the next look at what is due.
    """
    is_cancelled = tasks.c.cancel_requested_at.is_not(None)
    waits = tasks.c.open_dependencies > 0
    return {
        "status": case((waits, "blocked"), else_="pending"),
        "leased": false(),
        "started_at": null(),
        "assigned_agent_id": case((pooled, null()), else_=tasks.c.assigned_agent_id),
        "status_reason": case((waits, WAITS_FOR)),
        "status_message": case((is_cancelled, tasks.c.status_message)),
        "cancel_deadline": case((is_cancelled, func.now())),
    }


# Of an attempt that does not count.
UNCOUNTED = func.greatest(tasks.c.attempt - 1, 0)
# What becomes of a task whose lease, if it has one, was ended for another assignee, or none.
OVERRIDDEN: dict[str, ColumnElement[Any]] = {
    name: case((tasks.c.leased, value), else_=tasks.c[name])
    for name, value in {**pending_again(true()), "attempt": UNCOUNTED}.items()
    if name != "assigned_agent_id"
}
# What changes in a task whose lease is taken from its agent.
RELEASED = (*pending_again(true()), "attempt")


def _release(purpose: str, outcome: str, *is_its: ColumnElement[bool]) -> Statement:
    """Locks the tasks first: a lease that has ended meanwhile is not found, nor is another one."""
    old = Old.of(tasks, RELEASED)
    locked = (
        select(tasks.c.id, tasks.c.project_id, tasks.c.fence, _lease.pooled, *old.columns)
        .select_from(
            task_leases.join(
                tasks,
                and_(tasks.c.project_id == _lease.project_id, tasks.c.id == _lease.task_id),
            )
        )
        .where(
            _lease.project_id == bindparam("project_id", type_=Uuid),
            *is_its,
            tasks.c.leased,
            tasks.c.fence == _lease.fence,
        )
        .order_by(tasks.c.id)
        .with_for_update(of=tasks, key_share=True)
        .cte("locked")
    )
    attempts = ended(locked, outcome)
    return Statement(
        f"{purpose} Their tasks are pending again, and the attempts do not count. It tells a Log, "
        "and answers what `follow_all` needs to know.",
        releasing(locked, attempts, old),
    )


def releasing(locked: CTE, attempts: CTE, old: Old) -> Select[Any]:
    """Makes the locked tasks pending, as if they had not been claimed, and tells of it."""
    changed: Update = (
        update(tasks)
        .where(
            tasks.c.project_id == locked.c.project_id,
            tasks.c.id == locked.c.id,
            after(attempts),
        )
        .values(
            **pending_again(locked.c.pooled),
            attempt=UNCOUNTED,
            revision=tasks.c.revision + 1,
            updated_at=func.now(),
        )
    )
    released = changed.returning(*tasks.c, *old.within(locked).columns).cte("released")
    found = select(
        *told(tasks, "task.released", released, old.within(released)),
        *(released.c[each.name] for each in CONCERNED),
    ).subquery("told")
    return select(*(found.c[each.name] for each in CONCERNED), *as_told(found))


_is_of_agent = _lease.agent_id == bindparam("agent_id", type_=Uuid)
RELEASE = _release("Ends the leases of an agent that is locked.", "overridden", _is_of_agent)
RELEASE_KEYS = _release(
    "Ends the leases under API keys, whose agents are locked.",
    "overridden",
    _lease.api_key_id == any_(bindparam("api_key_ids", type_=ARRAY(Uuid))),
)
GIVE_BACK = _release(
    "Ends leases that were given to a call whose client has gone.",
    "released",
    _is_of_agent,
    tuple_(_lease.task_id, _lease.fence).in_(
        select(
            func.unnest(
                bindparam("task_ids", type_=ARRAY(Uuid)),
                bindparam("fences", type_=ARRAY(BigInteger)),
            )
            .table_valued(column("task_id", Uuid), column("fence", BigInteger), name="given")
            .render_derived()
        )
    ),
)
