"""Predicts what the next migrations find and do, by running their own queries.

The transaction is read-only: common table expressions take the place of the tables that a migration
creates first.
"""

from importlib import import_module

from sqlalchemy import Connection

from migrations.history import (
    BASE,
    BASE_WITH_CREATORS,
    BOUND,
    IGNORING_CASE,
    REVISIONS,
    WITH_AGENTS,
)
from migrations.inspect.findings import Finding, Kind, count

creators, agents, bound, ignoring_case = (
    import_module(f"migrations.versions.{revision}")
    for revision in (BASE_WITH_CREATORS, WITH_AGENTS, BOUND, IGNORING_CASE)
)

# The tables that 003 creates, as far as its queries read them. Rows keep their agent id here, so an
# id belongs to an agent of the row's project if and only if 003 creates an agent for that project.
_TABLES = f"""
placeholders AS MATERIALIZED ({agents.AGENT_IDS}),
agents AS (SELECT agent_id AS id, project_id FROM placeholders),
"""  # noqa: S608

_IN_KEYS = "SELECT DISTINCT agent_id::text FROM agent_api_keys"
_IN_PARTICIPANTS = """
SELECT DISTINCT agent_id::text FROM chat_participants WHERE agent_id IS NOT NULL
"""

# Each with a query whose lines describe the rows.
FOUND_BY_003 = {
    Kind("agent_ids_in_keys", "agent ids in API keys"): _IN_KEYS,
    Kind("agent_ids_in_participants", "agent ids in participants"): _IN_PARTICIPANTS,
    Kind("agent_ids_in_both", "agent ids in both"): f"{_IN_KEYS} INTERSECT {_IN_PARTICIPANTS}",
    Kind("placeholders", "placeholder agents that will be created"): """
        SELECT format('for %s in project %s', agent_id, project_id) FROM placeholders
    """,
    Kind("names_numbered", "placeholders whose name will be numbered, to be unique"): f"""
        SELECT format('%s in project %s', name, project_id) FROM ({agents.NAMED}) AS named
        WHERE name LIKE '%(%)'
    """,  # noqa: S608
    Kind("agent_ids_in_several_projects", "agent ids in several projects"): """
        SELECT format('%s stays with project %s, of %s', agent_id, project_id, projects)
        FROM (SELECT *, count(*) OVER (PARTITION BY agent_id) AS projects FROM placeholders) AS ids
        WHERE projects > 1 AND placeholder_id = agent_id
    """,
    Kind("keys_moved", "API keys that will get another agent, of their own project"): """
        SELECT 'key ' || keys.id FROM agent_api_keys AS keys
        JOIN placeholders AS given USING (agent_id, project_id)
        WHERE given.placeholder_id <> keys.agent_id
    """,
    Kind("participants_moved", "participants that will get another agent, of their project"): """
        SELECT 'participant ' || seats.id
        FROM chat_participants AS seats JOIN chat_rooms ON chat_rooms.id = seats.room_id
        JOIN placeholders AS given
            ON given.agent_id = seats.agent_id AND given.project_id = chat_rooms.project_id
        WHERE given.placeholder_id <> seats.agent_id
    """,
    Kind("rows_lost", "API keys or participants without a project or room", blocks=True): (
        agents.DANGLING
    ),
}

CREATORS = Kind("creators_forgotten", "API keys whose creator is not a user, and will be removed")
_WITHOUT_CREATOR = f"SELECT 'key ' || id FROM agent_api_keys WHERE {creators.WITHOUT_CREATOR}"  # noqa: S608

# 004 copies the project of the room to each participant before it checks.
_PARTICIPANTS_WITH_PROJECTS = """
chat_participants AS (
    SELECT seats.*, chat_rooms.project_id
    FROM chat_participants AS seats JOIN chat_rooms ON chat_rooms.id = seats.room_id
),
"""
OTHER_PROJECT = Kind(
    "agents_of_other_projects",
    "API keys or participants with an agent of another project",
    blocks=True,
)

DOUBLES = {
    column: Kind(f"{column}s_in_several_cases", ignoring_case.WHAT.format(column=column), True)
    for column in ignoring_case.COLUMNS
}


def dry_run(connection: Connection, revision: str) -> list[Finding]:
    """What the migrations after `revision` will find."""
    findings = []
    if revision == BASE:
        findings.append(count(connection, CREATORS, _WITHOUT_CREATOR))
    if revision in (BASE, BASE_WITH_CREATORS):
        findings += [
            count(connection, kind, lines, _TABLES) for kind, lines in FOUND_BY_003.items()
        ]
    if revision == WITH_AGENTS:
        findings.append(
            count(connection, OTHER_PROJECT, bound.FOREIGN_AGENTS, _PARTICIPANTS_WITH_PROJECTS)
        )
    if revision in REVISIONS[: REVISIONS.index(IGNORING_CASE)]:
        findings += [
            count(connection, kind, ignoring_case.DOUBLES.format(column=column))
            for column, kind in DOUBLES.items()
        ]
    return findings
