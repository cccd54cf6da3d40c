"""What holds of leases, attempts, dependencies and the log at any time, whatever is killed.

Each is a query for the tasks, agents or events of which it does not hold: none, in any snapshot.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

COMPLETE = "%/CompleteTask"

# A task is held by one lease at most, each is of the latest claim, and no fence is given twice.
LEASES = {
    "a lease is that of the latest claim, for the agent that the task is assigned to": """
        SELECT l.task_id FROM task_leases l
        LEFT JOIN tasks t ON t.project_id = l.project_id AND t.id = l.task_id
        WHERE l.project_id = $1 AND (t.id IS NULL OR t.fence <> l.fence
            OR t.assigned_agent_id IS DISTINCT FROM l.agent_id)
    """,
    "a task says that it is leased if and only if it has a lease": """
        SELECT t.id FROM tasks t
        LEFT JOIN task_leases l ON l.project_id = t.project_id AND l.task_id = t.id
        WHERE t.project_id = $1 AND t.leased <> (l.task_id IS NOT NULL)
    """,
    "a task with a lease is in progress, and has been started": """
        SELECT id FROM tasks
        WHERE project_id = $1 AND leased AND (status <> 'in_progress' OR started_at IS NULL)
    """,
    "an attempt is under way if and only if its lease is there": """
        SELECT COALESCE(a.task_id, l.task_id)
        FROM (SELECT * FROM task_attempts WHERE project_id = $1 AND ended_at IS NULL) a
        FULL JOIN (SELECT * FROM task_leases WHERE project_id = $1) l
            ON a.task_id = l.task_id AND a.fence = l.fence AND a.agent_id = l.agent_id
        WHERE a.task_id IS NULL OR l.task_id IS NULL
    """,
    "an attempt has an outcome if and only if it has ended, and ends after it began": """
        SELECT task_id FROM task_attempts
        WHERE project_id = $1
            AND ((outcome IS NULL) <> (ended_at IS NULL) OR ended_at < started_at)
    """,
    "the fences of a task are 1, 2, 3 …, one for each attempt": """
        SELECT t.id FROM tasks t
        LEFT JOIN task_attempts a ON a.project_id = t.project_id AND a.task_id = t.id
        WHERE t.project_id = $1
        GROUP BY t.id, t.fence
        HAVING count(a.fence) <> t.fence OR COALESCE(max(a.fence), 0) <> t.fence
    """,
    "an attempt begins when those before it have ended": """
        SELECT a.task_id FROM task_attempts a
        JOIN task_attempts b ON b.project_id = a.project_id AND b.task_id = a.task_id
            AND b.fence = a.fence + 1
        WHERE a.project_id = $1 AND a.outcome IS NULL
    """,
    "no attempt is counted that was not made": """
        SELECT id FROM tasks WHERE project_id = $1 AND attempt NOT BETWEEN 0 AND fence
    """,
    "a task that has ended is not to be cancelled": """
        SELECT id FROM tasks
        WHERE project_id = $1 AND status IN ('completed', 'failed', 'cancelled')
            AND (cancel_requested_at IS NOT NULL OR cancel_deadline IS NOT NULL)
    """,
}

# No limit is exceeded.
LIMITS = {
    "an agent has at most as many leases as it may have": """
        SELECT a.id FROM agents a JOIN task_leases l
            ON l.project_id = a.project_id AND l.agent_id = a.id
        WHERE a.project_id = $1 GROUP BY a.id, a.max_leases
        HAVING count(*) > a.max_leases OR max(l.agent_slot) > a.max_leases OR min(l.agent_slot) < 1
    """,
    "a lock key is held once, by every task with a lease that has one": """
        SELECT l.task_id FROM task_leases l
        JOIN tasks t ON t.project_id = l.project_id AND t.id = l.task_id
        WHERE l.project_id = $1 AND l.lock_key IS NULL AND t.lock_key IS NOT NULL
        UNION ALL
        SELECT min(task_id::text)::uuid FROM task_leases
        WHERE project_id = $1 AND lock_key IS NOT NULL GROUP BY lock_key HAVING count(*) > 1
    """,
    "no agent that is not active has a lease": """
        SELECT a.id FROM agents a JOIN task_leases l
            ON l.project_id = a.project_id AND l.agent_id = a.id
        WHERE a.project_id = $1 AND NOT a.is_active
    """,
    "no task was given back more than 100 times without counting": """
        SELECT id FROM tasks WHERE project_id = $1 AND releases NOT BETWEEN 0 AND 100
    """,
}

# Tasks wait for as long as they have to, and no longer.
OPEN = """
    SELECT t.id, t.status, t.status_reason, t.open_dependencies, t.on_dependency_failure,
        count(d.id) FILTER (WHERE d.status <> 'completed' AND NOT (
            t.on_dependency_failure = 'ignore' AND d.status IN ('failed', 'cancelled')
        )) AS open,
        count(d.id) FILTER (WHERE t.on_dependency_failure <> 'ignore'
            AND d.status IN ('failed', 'cancelled')) AS lost
    FROM tasks t
    LEFT JOIN task_dependencies e ON e.project_id = t.project_id AND e.task_id = t.id
    LEFT JOIN tasks d ON d.project_id = e.project_id AND d.id = e.depends_on_id
    WHERE t.project_id = $1 AND t.dependency_policy = 'wait'
    GROUP BY t.id
"""
WAITS = {
    "a task knows how many dependencies it waits for": f"""
        SELECT id FROM ({OPEN}) counted WHERE open <> open_dependencies
    """,  # noqa: S608
    "no task waits for dependencies without one that is open": f"""
        SELECT id FROM ({OPEN}) counted
        WHERE open = 0 AND status = 'blocked'
            AND status_reason IN ('dependencies', 'dependency_failed')
    """,  # noqa: S608
    "no task can be claimed that waits for a dependency": f"""
        SELECT id FROM ({OPEN}) counted WHERE open > 0 AND status = 'pending'
    """,  # noqa: S608
    "a task that waits says that a dependency is lost if and only if one is": f"""
        SELECT id FROM ({OPEN}) counted
        WHERE status = 'blocked' AND status_reason IN ('dependencies', 'dependency_failed')
            AND (lost > 0) <> (status_reason = 'dependency_failed')
    """,  # noqa: S608
    "no task waits for what is lost that is to end with it": f"""
        SELECT id FROM ({OPEN}) counted
        WHERE lost > 0 AND on_dependency_failure IN ('cancel', 'fail') AND (
            status = 'pending'
            OR status = 'blocked' AND status_reason IN ('dependencies', 'dependency_failed')
        )
    """,  # noqa: S608
    "a task that others wait for knows that": """
        SELECT d.id FROM task_dependencies e
        JOIN tasks t ON t.project_id = e.project_id AND t.id = e.task_id
        JOIN tasks d ON d.project_id = e.project_id AND d.id = e.depends_on_id
        WHERE e.project_id = $1 AND t.dependency_policy = 'wait' AND NOT d.has_dependents
    """,
    "a task shows the dependencies that it has": """
        SELECT t.id FROM tasks t
        LEFT JOIN task_dependencies e ON e.project_id = t.project_id AND e.task_id = t.id
        WHERE t.project_id = $1 GROUP BY t.id
        HAVING jsonb_array_length(t.dependencies) <> count(e.task_id)
            OR NOT COALESCE(bool_and(t.dependencies ? e.depends_on_id::text), true)
    """,
    "no task waits for itself": """
        WITH RECURSIVE above AS (
            SELECT task_id, depends_on_id FROM task_dependencies WHERE project_id = $1
            UNION
            SELECT a.task_id, e.depends_on_id FROM above a
            JOIN task_dependencies e ON e.project_id = $1 AND e.task_id = a.depends_on_id
        )
        SELECT task_id FROM above WHERE task_id = depends_on_id
    """,
}

# The log is whole, and says of each claim and each completion once that it happened.
LOG = {
    "events are numbered without a gap, up to the head": """
        SELECT h.project_id FROM event_heads h
        LEFT JOIN {log} e ON e.project_id = h.project_id
        WHERE h.project_id = $1 GROUP BY h.project_id, h.last
        HAVING count(e.sequence) <> h.last OR COALESCE(max(e.sequence), 0) <> h.last
            OR count(DISTINCT e.sequence) <> h.last
    """,
    "each claim is one event": """
        SELECT t.id FROM tasks t
        LEFT JOIN {log} e ON e.project_id = t.project_id AND e.resource_id = t.id
            AND e.type = 'task.claimed'
        WHERE t.project_id = $1 GROUP BY t.id, t.fence HAVING count(e.sequence) <> t.fence
    """,
    "each completion under a lease is one attempt that was completed": """
        SELECT t.id FROM tasks t
        WHERE t.project_id = $1 AND (
            SELECT count(*) FROM {log} e
            WHERE e.project_id = $1 AND e.resource_id = t.id AND e.type = 'task.completed'
                AND e.method LIKE '{complete}'
        ) <> (
            SELECT count(*) FROM task_attempts a
            WHERE a.project_id = $1 AND a.task_id = t.id AND a.outcome = 'completed'
        )
    """,
    "each attempt that has ended is one event, after which the task is not leased": """
        SELECT t.id FROM tasks t
        WHERE t.project_id = $1 AND (
            SELECT count(*) FROM (
                SELECT after ->> 'leased' AS leased,
                    lag(after ->> 'leased') OVER (ORDER BY sequence) AS was
                FROM {log} e
                WHERE e.project_id = $1 AND e.resource_type = 'task' AND e.resource_id = t.id
            ) told WHERE was = 'true' AND leased = 'false'
        ) <> (
            SELECT count(*) FROM task_attempts a
            WHERE a.project_id = $1 AND a.task_id = t.id AND a.outcome IS NOT NULL
        )
    """,
    "the revisions of a resource rise by one with each of its events": """
        SELECT resource_id FROM (
            SELECT resource_id, revision,
                lag(revision) OVER (PARTITION BY resource_id ORDER BY sequence) AS before
            FROM {log} WHERE project_id = $1 AND resource_type = 'task'
        ) told WHERE revision <> COALESCE(before, 0) + 1
    """,
}


async def broken(connection: Any, project_id: str, log: str = "events") -> list[str]:
    """What does not hold of a project, in one snapshot: a sentence, and of what.

    `log` is the table or view with all events that there ever were.
    """
    found: list[str] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for sentence, statement in _statements(log):
            rows = await connection.fetch(statement, UUID(project_id))
            found += (f"{sentence}: not {row[0]}" for row in rows)
    return found


def _statements(log: str) -> Iterable[tuple[str, str]]:
    yield from {**LEASES, **LIMITS, **WAITS}.items()
    for sentence, statement in LOG.items():
        yield sentence, statement.format(log=log, complete=COMPLETE)
