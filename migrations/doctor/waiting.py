"""Checks what tasks say of each other and of their leases, against the edges and the leases."""

from sqlalchemy import Connection

from migrations.inspect.findings import Finding, Kind, count

COUNTS = Kind("open_dependencies", "tasks that wait for another number than they say", blocks=True)
STATUSES = Kind("waiting", "tasks whose status is not that of what they wait for", blocks=True)
UNMARKED = Kind("unmarked", "tasks that others wait for, and that do not say so", blocks=True)
LEASES = Kind("leases", "tasks that say other than the leases whether they are held", blocks=True)

_COUNTS = """
SELECT 'task ' || id FROM tasks, LATERAL (
    SELECT count(*) AS number FROM task_dependencies AS edge
    JOIN tasks AS dependency ON dependency.id = edge.depends_on_id
    WHERE edge.project_id = tasks.project_id AND edge.task_id = tasks.id
        AND dependency.status <> 'completed'
        AND NOT (
            tasks.on_dependency_failure = 'ignore'
            AND dependency.status IN ('failed', 'cancelled')
        )
) AS counted
WHERE open_dependencies <> CASE dependency_policy WHEN 'wait' THEN number ELSE 0 END
    AND (dependency_policy = 'wait' OR open_dependencies <> 0)
"""
_STATUSES = """
SELECT 'task ' || id FROM tasks
WHERE status = 'pending' AND open_dependencies > 0
    OR status = 'blocked' AND status_reason IN ('dependencies', 'dependency_failed')
        AND open_dependencies = 0
"""
_UNMARKED = """
SELECT 'task ' || id FROM tasks
WHERE NOT has_dependents AND EXISTS (
    SELECT FROM task_dependencies AS edge JOIN tasks AS above ON above.id = edge.task_id
    WHERE edge.project_id = tasks.project_id AND edge.depends_on_id = tasks.id
        AND above.dependency_policy = 'wait'
)
"""
_LEASES = """
SELECT 'task ' || coalesce(id, task_id) FROM tasks
FULL JOIN task_leases AS lease ON lease.project_id = tasks.project_id AND lease.task_id = tasks.id
WHERE leased AND lease.task_id IS NULL
    OR lease.task_id IS NOT NULL AND (
        leased IS NOT TRUE OR assigned_agent_id <> agent_id OR tasks.fence <> lease.fence
    )
"""


def check_waiting(connection: Connection) -> list[Finding]:
    """What is wrong with the tasks of a database at the newest revision."""
    return [
        count(connection, COUNTS, _COUNTS),
        count(connection, STATUSES, _STATUSES),
        count(connection, UNMARKED, _UNMARKED),
        count(connection, LEASES, _LEASES),
    ]
