"""The SQL of the command line: users, and the revision of the schema.

It is plain text for asyncpg, because `tandem up` runs some of it at every start: importing
SQLAlchemy to build it would take a fifth of the time until everything is ready.
"""

# The id of a user, by name, whatever the case of the letters.
USER_BY_NAME = "SELECT id FROM users WHERE lower(username) = lower($1)"

# Every user, by name.
USERS = """
SELECT id, username, email, full_name, is_active, is_superuser, created_at, updated_at, revision
FROM users ORDER BY lower(username), id
"""

# A new user: id, name, e-mail address, whether superuser.
INSERT_USER = """
WITH created AS (
    INSERT INTO users (id, username, email, is_superuser) VALUES ($1, $2, $3, $4) RETURNING *
), head AS (
    UPDATE event_heads SET last = last + 1
    WHERE project_id = '00000000-0000-0000-0000-000000000000' AND EXISTS (SELECT FROM created)
    RETURNING last
)
INSERT INTO events (
    project_id, sequence, batch, type, resource_type, resource_id, revision, actor_type, after
)
SELECT
    '00000000-0000-0000-0000-000000000000', head.last, head.last, 'user.created', 'user',
    created.id, created.revision, 'system', to_jsonb(created)
FROM created LEFT JOIN head ON true
"""

# Links an issuer's subject to a user, unless it is linked already: issuer, subject, user's id.
INSERT_IDENTITY = """
INSERT INTO user_identities (issuer, subject, user_id) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
"""

# The user who an issuer's subject is: issuer, subject.
USER_BY_IDENTITY = """
SELECT users.id, users.username FROM user_identities JOIN users ON users.id = user_id
WHERE issuer = $1 AND subject = $2
"""

# Ends the link of a subject to a user: issuer, subject, user's id.
DELETE_IDENTITY = """
DELETE FROM user_identities WHERE issuer = $1 AND subject = $2 AND user_id = $3 RETURNING issuer
"""

# The identities of a user, by id.
IDENTITIES = """
SELECT issuer, subject FROM user_identities WHERE user_id = $1 ORDER BY issuer, subject
"""

# The revision that the last migration left.
REVISION = "SELECT version_num FROM alembic_version"

# Whether there are tables, of anybody, beside PostgreSQL's own.
HAS_TABLES = """
SELECT EXISTS (
    SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'p') AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
)
"""

# The services that are connected to this database.
SERVICES = """
SELECT application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name IN ('agents', 'tasks')
"""

# Makes each log another one, and counts them.
NEW_LOG_IDS = """
WITH changed AS (UPDATE event_heads SET log_id = gen_random_uuid() RETURNING 1)
SELECT count(*) FROM changed
"""

# The log of a project, by slug or id; that of a deleted project by id only.
LOG_OF_PROJECT = """
SELECT head.project_id, head.log_id
FROM event_heads head LEFT JOIN projects ON projects.id = head.project_id
WHERE projects.slug = $1 OR head.project_id::text = lower($1)
ORDER BY projects.slug = $1 DESC NULLS LAST LIMIT 1
"""

# The head of a log, by project id.
HEAD_OF_LOG = "SELECT log_id, last FROM event_heads WHERE project_id = $1"

_EVENTS = """
SELECT
    head.log_id, head.first, head.last, event.*,
    COALESCE(users.username, agents.name) AS actor
FROM event_heads head
LEFT JOIN LATERAL (
    SELECT * FROM events
    WHERE project_id = $1 AND sequence > $2
        AND ($3::text[] IS NULL OR type = ANY ($3)) AND ($4::uuid IS NULL OR resource_id = $4)
    ORDER BY sequence {} LIMIT $5
) event ON true
LEFT JOIN users ON event.actor_type = 'user' AND users.id = event.actor_id
LEFT JOIN agents ON event.actor_type = 'agent' AND agents.id = event.actor_id
WHERE head.project_id = $1
ORDER BY event.sequence
"""

# The next events of a log in their order, and its head, also if there are none: project id, number
# that they come behind, types or NULL, resource's id or NULL, limit.
EVENTS = _EVENTS.format("")

# The latest events, likewise in their order.
LATEST_EVENTS = _EVENTS.format("DESC")
