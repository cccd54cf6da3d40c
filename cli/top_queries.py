"""The SQL of `tandem agents top`: each statement reads a bounded number of entries of an index.

Rows are looked up one by one (LATERAL, LIMIT 1): a join may read the whole of the other table,
because a plan does not know how few rows a LIMIT leaves that is a parameter.
"""

# A project, by slug or id.
PROJECT = """
SELECT id, name, slug, now() AS at FROM projects WHERE slug = $1 OR id::text = lower($1)
ORDER BY slug = $1 DESC LIMIT 1
"""

# Agents of a project that are not offline, the latest of each status, and how many leases they
# have: project, limit.
AGENTS = """
SELECT
    agent.id, agent.name, agent.status, agent.is_active, agent.max_leases,
    now() - presence.last_seen_at AS seen, held.leases, held.oldest
FROM (
    SELECT one.* FROM unnest('{busy,online,error}'::text[]) wanted (status)
    CROSS JOIN LATERAL (
        SELECT * FROM agents WHERE project_id = $1 AND agents.status = wanted.status
        ORDER BY created_at DESC LIMIT $2
    ) one
    LIMIT $2
) agent
LEFT JOIN LATERAL (
    SELECT last_seen_at FROM agent_presence
    WHERE project_id = agent.project_id AND agent_id = agent.id LIMIT 1
) presence ON true
CROSS JOIN LATERAL (
    SELECT count(*) AS leases, max(now() - attempt.started_at) AS oldest
    FROM task_leases lease
    CROSS JOIN LATERAL (
        SELECT started_at FROM task_attempts
        WHERE project_id = lease.project_id AND task_id = lease.task_id AND fence = lease.fence
        LIMIT 1
    ) attempt
    WHERE lease.project_id = agent.project_id AND lease.agent_id = agent.id
) held
ORDER BY held.leases DESC, agent.name, agent.id
"""

# How many agents are offline, counted up to a limit: project, limit.
OFFLINE = """
SELECT count(*) AS agents FROM (
    SELECT FROM agents WHERE project_id = $1 AND status = 'offline' ORDER BY created_at LIMIT $2
) counted
"""

# Leases, in the order of their tasks: project, limit.
LEASES = """
SELECT
    task.title, agent.name AS agent, task.attempt, task.max_attempts, lease.fence,
    now() - attempt.started_at AS held, lease.expires_at - now() AS left,
    task.cancel_requested_at IS NOT NULL AS stops
FROM (SELECT * FROM task_leases WHERE project_id = $1 ORDER BY task_id LIMIT $2) lease
CROSS JOIN LATERAL (
    SELECT * FROM tasks WHERE project_id = lease.project_id AND id = lease.task_id LIMIT 1
) task
CROSS JOIN LATERAL (
    SELECT name FROM agents WHERE project_id = lease.project_id AND id = lease.agent_id LIMIT 1
) agent
LEFT JOIN LATERAL (
    SELECT started_at FROM task_attempts
    WHERE project_id = lease.project_id AND task_id = lease.task_id AND fence = lease.fence
    LIMIT 1
) attempt ON true
ORDER BY attempt.started_at
"""

# Lanes with tasks that wait to be claimed, one look into the index for each, how many tasks are in
# each of them, counted up to a limit, and how long the oldest has been ready: project, most lanes,
# most tasks.
LANES = """
WITH RECURSIVE lanes (lane, number) AS (
    (SELECT lane, 1 FROM tasks WHERE project_id = $1 AND status = 'pending' ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (
        SELECT tasks.lane FROM tasks
        WHERE project_id = $1 AND status = 'pending' AND tasks.lane > lanes.lane
        ORDER BY tasks.lane LIMIT 1
    ), lanes.number + 1
    FROM lanes WHERE lanes.lane IS NOT NULL AND lanes.number <= $2
)
SELECT lanes.lane, waiting.tasks, oldest.age, urgent.rank, (
    SELECT name FROM agents
    WHERE project_id = $1
        AND id = CASE WHEN lanes.lane ~ '^@[0-9a-f]' THEN substr(lanes.lane, 2)::uuid END
) AS agent
FROM lanes
CROSS JOIN LATERAL (
    SELECT count(*) AS tasks FROM (
        SELECT FROM tasks
        WHERE project_id = $1 AND status = 'pending' AND tasks.lane = lanes.lane
        ORDER BY rank LIMIT $3
    ) counted
) waiting
CROSS JOIN LATERAL (
    SELECT max(now() - first.ready_at) AS age FROM generate_series(1, 4) urgency
    CROSS JOIN LATERAL (
        SELECT ready_at FROM tasks
        WHERE project_id = $1 AND status = 'pending' AND tasks.lane = lanes.lane
            AND tasks.rank = urgency
        ORDER BY ready_at LIMIT 1
    ) first
) oldest
CROSS JOIN LATERAL (
    SELECT rank FROM tasks
    WHERE project_id = $1 AND status = 'pending' AND tasks.lane = lanes.lane
    ORDER BY rank LIMIT 1
) urgent
WHERE lanes.lane IS NOT NULL
ORDER BY oldest.age DESC, lanes.lane
"""
