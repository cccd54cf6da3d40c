"""003 on every mix of agent ids that a database from before 003 may have."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, Engine, event

from migrations.history import BASE_WITH_CREATORS, WITH_AGENTS
from migrations.transaction import MigrationError
from tests.locks import under_way
from tests.migrations.database import Database
from tests.migrations.legacy import Mix, fill_legacy, named

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

# A reference to an agent of another project counts as dangling.
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

AGENT_IDS = (
    "SELECT id, agent_id FROM agent_api_keys UNION ALL SELECT id, agent_id FROM chat_participants"
)

OTHERS = """
SELECT to_jsonb(t) - 'agent_id' FROM agent_api_keys AS t
UNION ALL SELECT to_jsonb(t) - 'agent_id' FROM chat_participants AS t
"""


@pytest.mark.parametrize("mix", MIXES.values(), ids=MIXES)
def test_every_id_gets_its_agent_and_no_row_is_lost(legacy: Database, mix: Mix) -> None:
    fill_legacy(legacy, mix)
    agent_ids, others = dict(legacy.rows(AGENT_IDS)), sorted(legacy.values(OTHERS))
    legacy.upgrade(WITH_AGENTS)
    assert legacy.rows(DANGLING) == []
    assert legacy.values("SELECT count(*) FROM agents") == [mix.agents]
    assert sorted(legacy.values(OTHERS)) == others
    now = dict(legacy.rows(AGENT_IDS))
    assert len([row for row in agent_ids if now[row] != agent_ids[row]]) == mix.moved
    legacy.upgrade()
    assert dict(legacy.rows(AGENT_IDS)) == now


def test_a_thousand_alike_names_are_numbered(legacy: Database) -> None:
    fill_legacy(legacy, Mix(alike=1000))
    legacy.upgrade(WITH_AGENTS)
    numbers = [f" ({number})" for number in range(2, 1001)]
    assert set(legacy.values("SELECT name FROM agents")) == {
        f"Migrated Agent 00000007{number}" for number in ("", *numbers)
    }


def test_a_placeholder_with_a_new_id_records_the_old_one(legacy: Database) -> None:
    fill_legacy(legacy, Mix(in_both=1, in_two_projects=2))
    legacy.upgrade()
    origins = "SELECT project_id, config FROM agents WHERE config IS NOT NULL ORDER BY name"
    ids = [(named(f"project {n + 1}"), named(f"in_two_projects {n}")) for n in range(2)]
    assert sorted(legacy.rows(origins)) == sorted(
        (project, f'{{"migrated_from": "{agent}"}}') for project, agent in ids
    )


@pytest.mark.parametrize(
    ("mix", "first"),
    [
        (Mix(without_project=30, rows=2, in_both=1), "key"),
        (Mix(without_room=30, rows=2, in_both=1), "participant"),
    ],
)
def test_rows_without_a_project_or_room_fail_the_whole_run(
    legacy: Database, mix: Mix, first: str, caplog: pytest.LogCaptureFixture
) -> None:
    fill_legacy(legacy, mix)
    agent_ids, structure = sorted(legacy.rows(AGENT_IDS)), legacy.structure()
    with pytest.raises(MigrationError, match=f"^API keys .*: 60 .first: {first} .*changed"):
        legacy.upgrade()
    assert caplog.messages[-1].endswith(" and 40 more")
    assert (sorted(legacy.rows(AGENT_IDS)), legacy.structure()) == (agent_ids, structure)
    assert legacy.current() == BASE_WITH_CREATORS
    legacy.rows(f"DELETE FROM {'agent_api_keys' if first == 'key' else 'chat_participants'}")  # noqa: S608
    legacy.upgrade()


def test_a_report_counts_all_rows_and_transfers_few(
    legacy: Database, caplog: pytest.LogCaptureFixture
) -> None:
    transferred: list[int] = []

    def note(_: Connection, cursor: Any, *__: object) -> None:
        if cursor.description:
            transferred.append(cursor.rowcount)

    fill_legacy(legacy, Mix(in_two_projects=500))
    event.listen(Engine, "after_cursor_execute", note)
    try:
        legacy.upgrade(WITH_AGENTS)
    finally:
        event.remove(Engine, "after_cursor_execute", note)
    moved = [line for line in caplog.messages if "now with another agent" in line]
    assert all(line.splitlines()[0].endswith(": 500") for line in moved)
    assert len(moved) == 2
    assert all(line.endswith(" and 480 more") and line.count(" from ") == 20 for line in moved)
    assert max(transferred) < 100  # the columns of the baseline, for the comparison


def test_each_of_the_seven_steps_is_announced(
    legacy: Database, caplog: pytest.LogCaptureFixture
) -> None:
    fill_legacy(legacy, EVERYTHING)
    with caplog.at_level("INFO", "tandem.migrations"):
        legacy.upgrade(WITH_AGENTS)
    steps = [line[: len("Step 1 of 7")] for line in caplog.messages if line.startswith("Step")]
    assert steps == [f"Step {number} of 7" for number in range(1, 8)]


LATE = """
INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)
SELECT gen_random_uuid(), project_id, $1, 'late', 'late', 'tdm_late' FROM agent_api_keys LIMIT 1
"""


async def test_a_key_that_is_created_meanwhile_gets_its_agent_too(legacy: Database) -> None:
    await asyncio.to_thread(fill_legacy, legacy, Mix(in_keys=1))
    agent = uuid4()
    async with under_way(legacy.url, LATE, agent) as blocked:
        migration = asyncio.create_task(asyncio.to_thread(legacy.upgrade))
        await blocked.wait()
    await migration
    agents = await asyncio.to_thread(legacy.values, "SELECT id FROM agents")
    assert len(agents) == 2
    assert agent in agents
