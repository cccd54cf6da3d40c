"""What is found in a database of agent_com: what is copied, what changes, is lost, or blocks.

Each kind has a query whose lines describe the rows; `migrations.agent_com.source` has its tables.
"""

from collections.abc import Iterator
from importlib import import_module

from migrations.agent_com.tables import COLUMNS
from migrations.history import IGNORING_CASE
from migrations.inspect.findings import Kind

users_ignoring_case = import_module(f"migrations.versions.{IGNORING_CASE}")

COPIED = {
    Kind(f"copied_{table}", f"rows of {table}, which are copied"): f"SELECT id FROM {table}"  # noqa: S608
    for table in COLUMNS
}

CHANGES = {
    Kind("slugs_changed", "projects whose project_id changes, to be a slug"): """
        SELECT format('%s becomes %s (project %s)', project_id, slug, id)
        FROM projects JOIN slugs USING (id) WHERE slug <> project_id
    """,
    Kind("projects_archived", "deleted projects, which become archived ones"): """
        SELECT 'project ' || id FROM projects WHERE status = 'deleted'
    """,
    Kind("keys_revoked", "active API keys, which cannot work here and become revoked"): """
        SELECT format('%s (key %s)', key_id, id) FROM agent_api_keys WHERE status = 'active'
    """,
    Kind("keys_of_the_system", "API keys made by the system, now by an unknown user"): """
        SELECT 'key ' || id FROM agent_api_keys WHERE created_by_type = 'system'
    """,
    Kind("placeholders", "placeholder agents that will be created"): """
        SELECT format('%s: %s for %s in project %s', name, id, agent_id, project_id)
        FROM placeholders
    """,
    Kind("rows_moved", "API keys and participants that get a placeholder of their project"): """
        SELECT format('key %s from %s to %s', keys.id, agent_id, placeholders.id)
        FROM agent_api_keys AS keys JOIN placeholders USING (agent_id, project_id)
        WHERE placeholders.id <> agent_id
        UNION ALL
        SELECT format('participant %s from %s to %s', seats.id, agent_id, placeholders.id)
        FROM chat_participants AS seats JOIN chat_rooms ON chat_rooms.id = room_id
        JOIN placeholders USING (agent_id, project_id) WHERE placeholders.id <> agent_id
    """,
}

LOSSES = {
    Kind("passwords_lost", "users whose password is of no use here: they need tokens"): """
        SELECT format('%s (user %s)', username, id) FROM users WHERE password_hash IS NOT NULL
    """,
    Kind("roles_lost", "users with the role admin or owner, which gives no right here"): """
        SELECT format('%s: %s (user %s)', username, role, id) FROM users
        WHERE role NOT IN ('user', 'readonly') AND NOT is_superuser
    """,
    Kind("readonly_lost", "users who could only read, and may change what is theirs here"): """
        SELECT format('%s (user %s)', username, id) FROM users WHERE role = 'readonly'
    """,
    Kind("permissions_lost", "users with additional permissions, which count no longer"): """
        SELECT format('%s (user %s)', username, id) FROM users WHERE permissions IS NOT NULL
    """,
    Kind(
        "cross_project_lost", "projects that other projects could use, which now are separate"
    ): """
        SELECT 'project ' || id FROM projects WHERE allow_cross_project
    """,
    Kind("creators_forgotten", "API keys whose creator is not a user, and will be removed"): """
        SELECT 'key ' || id FROM agent_api_keys WHERE created_by_id IS NOT NULL
        AND NOT EXISTS (SELECT FROM users WHERE users.id = created_by_id)
    """,
    Kind("tasks_without_room", "tasks in a room of another project, and then in no room"): """
        SELECT 'task ' || tasks.id FROM tasks JOIN chat_rooms ON chat_rooms.id = room_id
        WHERE chat_rooms.project_id <> tasks.project_id
    """,
    Kind("tasks_unassigned", "tasks whose assignee does not exist, and then without one"): """
        SELECT 'task ' || assignees.id FROM assignees WHERE assignee IS NOT NULL AND NOT (
            (kind IS NOT DISTINCT FROM 'user' AND EXISTS (
                SELECT FROM users WHERE users.id = assignee))
            OR (kind IS NOT DISTINCT FROM 'agent' AND (
                EXISTS (SELECT FROM agents WHERE agents.id = assignee
                    AND agents.project_id = assignees.project_id)
                OR EXISTS (SELECT FROM placeholders WHERE placeholders.id = assignee
                    AND placeholders.project_id = assignees.project_id))))
    """,
    Kind("dependencies_lost", "tasks that list repeated or missing dependencies"): """
        SELECT 'task ' || id FROM tasks WHERE json_typeof(dependencies::json) <> 'array'
        OR CASE json_typeof(dependencies::json) WHEN 'array' THEN
            json_array_length(dependencies::json) <> (
                SELECT count(DISTINCT needed.id)
                FROM json_array_elements(dependencies::json) AS listed (id)
                JOIN tasks AS needed ON needed.id = CASE WHEN
                    listed.id::text ~* '^"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"$'
                    THEN btrim(listed.id::text, '"')::uuid END
                WHERE needed.project_id = tasks.project_id AND needed.id <> tasks.id)
        END
    """,
}

# Unpaired surrogates are as impossible in jsonb as U+0000. Escaped backslashes are taken out first.
_UNFIT_TEXT = r"""
regexp_replace(replace({column}, '\\', ''),
    '\\u[dD][89abAB][0-9a-fA-F]{{2}}\\u[dD][c-fC-F][0-9a-fA-F]{{2}}', '', 'g')
    ~ '\\u(0000|[dD][89a-fA-F])'
"""

# Structs are at most 30 levels deep.
_UNFIT_OBJECT = """
json_typeof({column}::json) <> 'object' OR CASE WHEN {unfit} THEN false ELSE jsonb_path_exists(
    {column}::jsonb, 'strict $.**{{30}} ? (@.type() == "object" || @.type() == "array")') END
"""
_UNFIT_LIST = """
json_typeof({column}::json) <> 'array' OR EXISTS (
    SELECT FROM json_array_elements(
        CASE json_typeof({column}::json) WHEN 'array' THEN {column}::json ELSE '[]' END
    ) AS listed (item) WHERE json_typeof(item) <> 'string')
"""
_STRUCTS = (("projects", "settings"), ("agents", "config"), ("tasks", "result"))
_LISTS = (("agents", "capabilities"), ("agent_api_keys", "capabilities"))

_STATUSES = {
    ("projects", "status"): ("active", "suspended", "archived", "deleted"),
    ("agents", "status"): ("offline", "online", "busy", "error"),
    ("agent_api_keys", "status"): ("active", "revoked", "expired"),
    ("agent_api_keys", "created_by_type"): ("user", "agent", "system"),
    ("tasks", "status"): (
        *("pending", "in_progress", "review", "blocked", "completed", "failed", "cancelled"),
    ),
    ("tasks", "priority"): ("low", "medium", "high", "critical"),
    ("tasks", "assigned_to_type"): ("agent", "user"),
}

_REFERENCES = (
    ("projects", "owner_id", "users"),
    ("chat_rooms", "project_id", "projects"),
    ("chat_rooms", "created_by", "users"),
    ("agents", "project_id", "projects"),
    ("chat_participants", "room_id", "chat_rooms"),
    ("chat_participants", "user_id", "users"),
    ("agent_api_keys", "project_id", "projects"),
    ("tasks", "project_id", "projects"),
    ("tasks", "room_id", "chat_rooms"),
    ("tasks", "created_by", "users"),
)

_UNIQUE = (
    *((table, "id") for table in COLUMNS),
    ("agents", "project_id, name"),
    ("chat_participants", "room_id, agent_id"),
    ("chat_participants", "room_id, user_id"),
    ("agent_api_keys", "key_id"),
    ("agent_api_keys", "api_key_hash"),
)


def _union(queries: Iterator[str]) -> str:
    return " UNION ALL ".join(f"({query})" for query in queries)


def _unfit_json() -> Iterator[str]:
    for table, column in (*_STRUCTS, *_LISTS, ("tasks", "dependencies")):
        unfit = _UNFIT_TEXT.format(column=column)
        if (table, column) in _STRUCTS:
            unfit += " OR " + _UNFIT_OBJECT.format(column=column, unfit=unfit)
        elif (table, column) in _LISTS:
            unfit += " OR " + _UNFIT_LIST.format(column=column)
        yield f"SELECT '{table}.{column} of ' || id FROM {table} WHERE {unfit}"  # noqa: S608


def _unknown_values() -> Iterator[str]:
    for (table, column), known in _STATUSES.items():
        yield f"""
            SELECT format('{table}.{column} %s of %s', {column}, id) FROM {table}
            WHERE {column} NOT IN ({", ".join(f"'{value}'" for value in known)})
        """  # noqa: S608


def _dangling() -> Iterator[str]:
    for table, column, target in _REFERENCES:
        yield f"""
            SELECT format('{table}.{column} of %s', child.id) FROM {table} AS child
            WHERE {column} IS NOT NULL
            AND NOT EXISTS (SELECT FROM {target} AS parent WHERE parent.id = child.{column})
        """  # noqa: S608


def _repeated() -> Iterator[str]:
    for table, columns in _UNIQUE:
        yield f"""
            SELECT format('{table} ({columns}): %s', string_agg(id::text, ', ' ORDER BY id))
            FROM {table} WHERE num_nulls({columns}) = 0 GROUP BY {columns} HAVING count(*) > 1
        """  # noqa: S608


BLOCKS = {
    Kind("users_alike", "users whose names or addresses differ only in case", blocks=True): _union(
        users_ignoring_case.DOUBLES.format(column=column) for column in users_ignoring_case.COLUMNS
    ),
    Kind("values_unknown", "values that agent_com does not have", blocks=True): _union(
        _unknown_values()
    ),
    Kind("json_unfit", "JSON that Tandem cannot store or return", blocks=True): _union(
        _unfit_json()
    ),
    Kind("participants_unfit", "participants that are not one agent or user", blocks=True): """
        SELECT 'participant ' || id FROM chat_participants
        WHERE num_nonnulls(agent_id, user_id) <> 1
    """,
    Kind("dangling", "references to rows that do not exist", blocks=True): _union(_dangling()),
    Kind("repeated", "rows with the same unique values", blocks=True): _union(_repeated()),
    Kind("slugs_taken", "slugs that several projects would get", blocks=True): """
        SELECT format('%s: %s', slug, string_agg(id::text, ', ' ORDER BY id))
        FROM slugs GROUP BY slug HAVING count(*) > 1
    """,
}
