"""The rows of agent_com in the shape of Tandem's tables, as common table expressions.

They have the names of the tables, so that a statement reads the same before its tables have moved
(to predict) and afterwards (to copy).
"""

from migrations.agent_com.tables import COLUMNS
from migrations.inspect.catalog import Catalog, Column

# JSON is text here, because jsonb cannot hold all of it. Its null is NULL.
_JSON_TEXT = r"NULLIF(btrim({column}::text, E' \t\n\r'), 'null')"

# A project id that cannot be a slug is changed: lower case, other characters become hyphens. If two
# become the same, the one that needed no change keeps it, or else the older one; the others get the
# first digits of their id.
_SLUGS = r"""
wishes AS (
    SELECT id, project_id, created_at,
           CASE WHEN project_id COLLATE "C" ~ '^[a-z0-9][a-z0-9._-]*$' THEN project_id
                ELSE COALESCE(NULLIF(btrim(left(regexp_replace(
                         lower(project_id) COLLATE "C",
                         '[^a-z0-9._-]+', '-', 'g'), 100), '._-'), ''),
                     'project-' || left(id::text, 8)) END AS wish
    FROM projects
),
slugs AS (
    SELECT id, CASE row_number() OVER (
                   PARTITION BY wish ORDER BY wish <> project_id, created_at, id)
               WHEN 1 THEN wish ELSE left(wish, 91) || '-' || left(id::text, 8) END AS slug
    FROM wishes
)"""

# As in migration 003, an agent id without an agent becomes a placeholder in the project of the row
# that has it; in the oldest one, if there are several. Each other project gets one with an id of
# its own, which follows from both, so that every statement has the same.
_PLACEHOLDERS = """
mentions AS (
    SELECT agent_id, project_id FROM agent_api_keys
    UNION
    SELECT agent_id, project_id FROM chat_participants JOIN chat_rooms ON chat_rooms.id = room_id
    WHERE agent_id IS NOT NULL
),
given AS (
    SELECT mentions.agent_id, mentions.project_id,
           CASE WHEN known.id IS NULL AND 1 = row_number() OVER (
                    PARTITION BY mentions.agent_id ORDER BY projects.created_at, projects.id)
                THEN mentions.agent_id
                ELSE md5(mentions.agent_id::text || mentions.project_id)::uuid END AS id
    FROM mentions JOIN projects ON projects.id = mentions.project_id
    LEFT JOIN agents AS known ON known.id = mentions.agent_id
    WHERE known.project_id IS DISTINCT FROM mentions.project_id
),
placeholders AS (
    SELECT *, 'Migrated Agent ' || CASE
               WHEN count(*) OVER (PARTITION BY project_id, left(id::text, 8)) > 1 OR EXISTS (
                   SELECT FROM agents WHERE agents.project_id = given.project_id
                   AND agents.name = 'Migrated Agent ' || left(given.id::text, 8))
               THEN id::text ELSE left(id::text, 8) END AS name
    FROM given
)"""

# The columns with foreign keys, which newer versions have, count more than the older ones.
_ASSIGNEES = """
assignees AS (
    SELECT tasks.id, tasks.project_id,
           CASE WHEN user_assigned_to IS NOT NULL THEN 'user'
                WHEN agent_assigned_to IS NOT NULL THEN 'agent'
                ELSE assigned_to_type END AS kind,
           COALESCE(user_assigned_to, placeholders.id, agent_assigned_to, assigned_to) AS assignee
    FROM tasks LEFT JOIN placeholders
        ON user_assigned_to IS NULL AND placeholders.project_id = tasks.project_id
        AND placeholders.agent_id = COALESCE(agent_assigned_to,
            CASE assigned_to_type WHEN 'agent' THEN assigned_to END)
)"""


def source(catalog: Catalog, schema: str) -> str:
    """Common table expressions of all rows, each followed by a comma.

    `schema` has the tables of the catalog; a table that is missing there has no rows. Besides the
    tables there are: slugs (id, slug), placeholders (agent_id, project_id, id, name), and assignees
    (id, project_id, kind, assignee).
    """
    tables = [
        f"{table} AS NOT MATERIALIZED ({_select(catalog, schema, table)})" for table in COLUMNS
    ]
    return "".join(f"{each},\n" for each in (*tables, _SLUGS, _PLACEHOLDERS, _ASSIGNEES))


def _select(catalog: Catalog, schema: str, table: str) -> str:
    found = catalog.columns.get(table)
    values = [
        f"{_value(name, column, exists=name in (found or {}))} AS {name}"
        for name, column in COLUMNS[table].items()
    ]
    rows = f"FROM {schema}.{table}" if found is not None else "WHERE false"
    return f"SELECT {', '.join(values)} {rows}"


def _value(name: str, column: Column, *, exists: bool) -> str:
    if not exists:
        return f"NULL::{'text' if column.type == 'json' else column.type}"
    return _JSON_TEXT.format(column=name) if column.type == "json" else name
