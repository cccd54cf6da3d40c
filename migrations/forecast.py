"""What the next migrations will find and do to the rows that are there, by their own statements.

They run here in a transaction that cannot write: where a migration makes a table first, an
expression of the same name takes its place.
"""

from importlib import import_module

from sqlalchemy import Connection

from migrations.findings import Finding, Kind, count
from migrations.history import BASE, BASE_WITH_CREATORS, BOUND, WITH_AGENTS

creators, agents, bound = (
    import_module(f"migrations.versions.{revision}")
    for revision in (BASE_WITH_CREATORS, WITH_AGENTS, BOUND)
)

# What 003 will have made when it comes to what else it looks at: every row keeps its id here, so an
# agent is one of the row's project exactly where there will be one for it.
TABLES = f"""
placeholders AS MATERIALIZED ({agents.SPOKEN_OF}),
agents AS (SELECT agent_id AS id, project_id FROM placeholders),
"""  # noqa: S608

IN_KEYS = "SELECT DISTINCT agent_id::text FROM agent_api_keys"
IN_PARTICIPANTS = """
SELECT DISTINCT agent_id::text FROM chat_participants WHERE agent_id IS NOT NULL
"""

# Each with the lines that name what it is true of.
FOUND_BY_003 = {
    Kind("agent_ids_in_keys", "agent ids are in API keys"): IN_KEYS,
    Kind("agent_ids_in_participants", "agent ids are in participants"): IN_PARTICIPANTS,
    Kind("agent_ids_in_both", "agent ids are in both"): f"{IN_KEYS} INTERSECT {IN_PARTICIPANTS}",
    Kind("placeholders", "placeholder agents will be created"): """
        SELECT format('for %s in project %s', agent_id, project_id) FROM placeholders
    """,
    Kind("names_numbered", "placeholders will have a numbered name, as others begin alike"): f"""
        SELECT format('%s in project %s', name, project_id) FROM ({agents.NAMED}) AS named
        WHERE name LIKE '%(%)'
    """,  # noqa: S608
    Kind("agent_ids_in_several_projects", "agent ids are in several projects"): """
        SELECT format('%s stays with project %s, of %s', agent_id, project_id, projects)
        FROM (SELECT *, count(*) OVER (PARTITION BY agent_id) AS projects FROM placeholders) AS ids
        WHERE projects > 1 AND placeholder_id = agent_id
    """,
    Kind("keys_moved", "API keys will get an agent of their own project"): """
        SELECT 'key ' || keys.id FROM agent_api_keys AS keys
        JOIN placeholders AS given USING (agent_id, project_id)
        WHERE given.placeholder_id <> keys.agent_id
    """,
    Kind("participants_moved", "participants will get an agent of their own project"): """
        SELECT 'participant ' || seats.id
        FROM chat_participants AS seats JOIN chat_rooms ON chat_rooms.id = seats.room_id
        JOIN placeholders AS given
            ON given.agent_id = seats.agent_id AND given.project_id = chat_rooms.project_id
        WHERE given.placeholder_id <> seats.agent_id
    """,
    Kind("rows_lost", "API keys or participants have no project or room", blocks=True): (
        agents.DANGLING
    ),
}

CREATORS = Kind("creators_forgotten", "API keys have a creator that is no user, and will have none")
FORGOTTEN = f"SELECT 'key ' || id FROM agent_api_keys WHERE {creators.WITHOUT_CREATOR}"  # noqa: S608

# 004 gives participants their room's project before it looks.
SEATS_WITH_PROJECTS = """
chat_participants AS (
    SELECT seats.*, chat_rooms.project_id
    FROM chat_participants AS seats JOIN chat_rooms ON chat_rooms.id = seats.room_id
),
"""
FOREIGN = Kind(
    "agents_of_other_projects",
    "API keys or participants have an agent of another project",
    blocks=True,
)


def foresee(connection: Connection, revision: str) -> list[Finding]:
    """What the migrations after `revision` will find; nothing where it is beyond 003."""
    findings = []
    if revision == BASE:
        findings.append(count(connection, CREATORS, FORGOTTEN))
    if revision in (BASE, BASE_WITH_CREATORS):
        findings += [count(connection, kind, lines, TABLES) for kind, lines in FOUND_BY_003.items()]
    if revision == WITH_AGENTS:
        findings.append(count(connection, FOREIGN, bound.FOREIGN_AGENTS, SEATS_WITH_PROJECTS))
    return findings
