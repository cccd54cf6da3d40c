"""Checks the logs of events: numbers without gaps, whole transactions, and a head for each log."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, text

from migrations.inspect.findings import Finding, Kind, count, listed

# Logs that a statement looks at, so that it does not take longer with each project.
AT_ONCE = 1_000

GAPS = Kind("log_gaps", "logs with other events than their head says, or with gaps", blocks=True)
PARTED = Kind("log_parts", "logs with a part of a transaction", blocks=True)
WITHOUT_HEAD = Kind("events_without_head", "projects with events without a head", blocks=True)
MISSING_HEADS = Kind("heads_missing", "projects without a log, to which the services add one")

# The heads of the next logs, and their events: how many, between which numbers, and how many of
# them neither begin a transaction nor follow an event of the same one.
_LOGS = """
SELECT head.project_id, first, last, lowest, highest, events, astray
FROM (
    SELECT * FROM event_heads WHERE project_id >= :start ORDER BY project_id LIMIT :at_once
) AS head, LATERAL (
    SELECT min(sequence) AS lowest, max(sequence) AS highest, count(*) AS events,
        count(*) FILTER (WHERE batch <> sequence AND batch IS DISTINCT FROM before) AS astray
    FROM (
        SELECT sequence, batch, lag(batch) OVER (ORDER BY sequence) AS before
        FROM events WHERE events.project_id = head.project_id
    ) AS log
) AS counted
ORDER BY head.project_id
"""

# Of each project with events one is looked up, not all.
_WITHOUT_HEAD = """
WITH RECURSIVE logs AS (
    (SELECT project_id FROM events ORDER BY project_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT project_id FROM events WHERE project_id > logs.project_id
        ORDER BY project_id LIMIT 1
    ) FROM logs WHERE project_id IS NOT NULL
)
SELECT 'project ' || project_id FROM logs
WHERE NOT EXISTS (SELECT FROM event_heads AS head WHERE head.project_id = logs.project_id)
    AND project_id IS NOT NULL
"""

_MISSING_HEADS = """
SELECT 'project ' || id FROM (
    SELECT id FROM projects UNION ALL SELECT '00000000-0000-0000-0000-000000000000'
) AS project
WHERE NOT EXISTS (SELECT FROM event_heads AS head WHERE head.project_id = project.id)
"""


def check_logs(connection: Connection) -> list[Finding]:
    """What is wrong with the logs of a database at the newest revision."""
    gaps, parts = [], []
    for log in _logs(connection):
        if not _is_whole(log):
            gaps.append(
                f"project {log.project_id}: {log.events} events from {log.lowest} to "
                f"{log.highest} instead of {log.first} to {log.last}"
            )
        if log.astray:
            parts.append(f"project {log.project_id}")
    return [
        listed(GAPS, gaps),
        listed(PARTED, parts),
        count(connection, WITHOUT_HEAD, _WITHOUT_HEAD),
        count(connection, MISSING_HEADS, _MISSING_HEADS),
    ]


def _is_whole(log: Row[Any]) -> bool:
    if log.events == 0:
        return bool(log.first == log.last + 1)
    found = (log.lowest, log.highest, log.events)
    return found == (log.first, log.last, log.last - log.first + 1)


def _logs(connection: Connection) -> Iterator[Row[Any]]:
    start = UUID(int=0)
    while True:
        page = connection.execute(text(_LOGS), {"start": start, "at_once": AT_ONCE}).all()
        yield from page
        if len(page) < AT_ONCE:
            return
        start = UUID(int=page[-1].project_id.int + 1)
