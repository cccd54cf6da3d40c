"""003 on every mix of agent ids that a database from before agents may hold."""

import pytest

from tests.migrations.database import Database
from tests.migrations.legacy import WITH_AGENTS, Mix, make_legacy

EVERYTHING = Mix(
    in_keys=5, in_participants=6, in_both=7, in_two_projects=8, alike=9, users=2, rows=2
)

MIXES = {
    "no rows": Mix(projects=0),
    "no agents": Mix(users=3),
    "in keys only": Mix(in_keys=10),
    "in participants only": Mix(in_participants=10, rows=2),
    "in both": Mix(in_both=10, rows=2),
    "in two projects": Mix(in_two_projects=10, rows=2),
    "alike": Mix(alike=1000),
    "everything": EVERYTHING,
}

DANGLING = """
SELECT id FROM agent_api_keys AS keys
WHERE NOT EXISTS (SELECT FROM agents WHERE agents.id = keys.agent_id
                                       AND agents.project_id = keys.project_id)
UNION ALL
SELECT seats.id FROM chat_participants AS seats JOIN chat_rooms ON chat_rooms.id = room_id
WHERE agent_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM agents WHERE agents.id = seats.agent_id
                                       AND agents.project_id = chat_rooms.project_id)
"""

KEPT = """
SELECT (SELECT count(*) FROM agent_api_keys), (SELECT count(*) FROM chat_participants)
"""


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_every_id_gets_its_agent(database: Database, mix: Mix) -> None:
    make_legacy(database, mix)
    rows = database.rows(KEPT)
    database.upgrade(WITH_AGENTS)
    assert database.rows(KEPT) == rows
    assert database.rows(DANGLING) == []
    assert database.values("SELECT count(*) FROM agents") == [mix.agents]
    database.upgrade()
    assert database.rows(KEPT) == rows
