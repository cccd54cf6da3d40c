"""003 creates an agent for every agent id of keys and participants, or changes nothing."""

import logging
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from migrations.history import BASE_WITH_CREATORS, WITH_AGENTS
from migrations.transaction import MigrationError
from tests.migrations.database import Database
from tests.schema.rows import Connection, add, add_key, add_user

AGENTS = "SELECT id, project_id, name, agent_type, status, is_active FROM agents ORDER BY name"


def make_project(database: Database, created: int = 2000) -> UUID:
    async def work(connection: Connection) -> UUID:
        return await add(
            connection,
            "projects",
            owner_id=await add_user(connection),
            slug=uuid4().hex,
            name="p",
            created_at=datetime(created, 1, 1, tzinfo=UTC),
        )

    return database.make(work)


def make_key(database: Database, project: UUID, agent: UUID) -> UUID:
    return database.make(lambda connection: add_key(connection, project, agent))


def make_participant(database: Database, project: UUID, agent: UUID) -> UUID:
    async def work(connection: Connection) -> UUID:
        room = await add(connection, "chat_rooms", project_id=project, name="r")
        return await add(connection, "chat_participants", room_id=room, agent_id=agent)

    return database.make(work)


def agent_of(database: Database, table: str, row: UUID) -> UUID:
    (agent,) = database.values(f"SELECT agent_id FROM {table} WHERE id = $1", row)  # noqa: S608
    assert isinstance(agent, UUID)
    return agent


def test_an_orphan_becomes_a_placeholder_with_the_same_id(legacy: Database) -> None:
    project, of_key, of_participant = make_project(legacy), UUID(int=1 << 96), UUID(int=2 << 96)
    make_key(legacy, project, of_key)
    make_participant(legacy, project, of_participant)
    legacy.upgrade(WITH_AGENTS)
    assert legacy.rows(AGENTS) == [
        (of_key, project, "Migrated Agent 00000001", "generic", "offline", False),
        (of_participant, project, "Migrated Agent 00000002", "generic", "offline", False),
    ]


def test_one_agent_is_enough_for_all_rows_of_a_project(legacy: Database) -> None:
    project, agent = make_project(legacy), uuid4()
    for _ in range(2):
        make_key(legacy, project, agent)
        make_participant(legacy, project, agent)
    legacy.upgrade()
    assert legacy.values("SELECT id FROM agents") == [agent]


def test_participants_who_are_users_are_no_orphans(legacy: Database) -> None:
    async def work(connection: Connection) -> None:
        room = await add(connection, "chat_rooms", project_id=project, name="r")
        await add(connection, "chat_participants", room_id=room, user_id=await add_user(connection))

    project = make_project(legacy)
    legacy.make(work)
    legacy.upgrade()
    assert legacy.values("SELECT count(*) FROM agents") == [0]
    assert legacy.values("SELECT count(*) FROM chat_participants") == [1]


def test_alike_names_are_numbered(legacy: Database) -> None:
    """Ids that were created in the same minute begin with the same eight digits."""
    project = make_project(legacy)
    for last in (1, 2, 3):
        make_key(legacy, project, UUID(int=(7 << 96) + last))
    make_key(legacy, make_project(legacy), UUID(int=(7 << 96) + 4))
    legacy.upgrade(WITH_AGENTS)
    assert legacy.rows("SELECT id, name FROM agents ORDER BY id") == [
        (UUID(int=(7 << 96) + 1), "Migrated Agent 00000007"),
        (UUID(int=(7 << 96) + 2), "Migrated Agent 00000007 (2)"),
        (UUID(int=(7 << 96) + 3), "Migrated Agent 00000007 (3)"),
        (UUID(int=(7 << 96) + 4), "Migrated Agent 00000007"),
    ]


def test_an_id_in_two_projects_goes_to_the_older_project(
    legacy: Database, caplog: pytest.LogCaptureFixture
) -> None:
    agent, younger, older = uuid4(), make_project(legacy, 2021), make_project(legacy, 2020)
    key, seat = make_key(legacy, younger, agent), make_participant(legacy, younger, agent)
    first_key = make_key(legacy, older, agent)
    with caplog.at_level(logging.WARNING, "tandem.migrations"):
        legacy.upgrade()
    own = agent_of(legacy, "agent_api_keys", key)
    assert agent_of(legacy, "agent_api_keys", first_key) == agent != own
    assert agent_of(legacy, "chat_participants", seat) == own
    assert set(legacy.rows("SELECT id, project_id FROM agents")) == {(agent, older), (own, younger)}
    assert f"key {key} from {agent} to {own}" in caplog.text
    assert f"participant {seat} from {agent} to {own}" in caplog.text


def test_between_projects_of_the_same_age_the_smaller_id_decides(legacy: Database) -> None:
    agent, projects = uuid4(), [make_project(legacy) for _ in range(5)]
    for project in projects:
        make_key(legacy, project, agent)
    legacy.upgrade(WITH_AGENTS)
    assert legacy.values("SELECT project_id FROM agents WHERE id = $1", agent) == [min(projects)]
    assert legacy.values("SELECT count(*) FROM agents") == [5]


def test_a_row_without_a_project_fails_the_whole_run(
    legacy: Database, caplog: pytest.LogCaptureFixture
) -> None:
    legacy.rows("ALTER TABLE agent_api_keys DROP CONSTRAINT fk_agent_api_keys_project_id")
    kept, lost = make_key(legacy, make_project(legacy), uuid4()), make_key(legacy, uuid4(), uuid4())
    with pytest.raises(MigrationError, match=f"API keys .*: 1 .first: key {lost}"):
        legacy.upgrade()
    assert_untouched(legacy)
    assert sorted(legacy.values("SELECT id FROM agent_api_keys")) == sorted([kept, lost])
    assert f"key {lost}" in caplog.text


def test_a_row_without_a_room_fails_the_whole_run(legacy: Database) -> None:
    legacy.rows("ALTER TABLE chat_participants DROP CONSTRAINT fk_chat_participants_room_id")
    seat = make_participant(legacy, make_project(legacy), uuid4())
    legacy.rows("DELETE FROM chat_rooms")
    with pytest.raises(MigrationError, match=f"first: participant {seat}"):
        legacy.upgrade()
    assert_untouched(legacy)


def assert_untouched(database: Database) -> None:
    assert database.current() == BASE_WITH_CREATORS
    assert database.values("SELECT to_regclass('agents')") == [None]


def test_many_orphans_get_an_agent_each(legacy: Database) -> None:
    project = make_project(legacy)
    legacy.rows(
        """
        INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)
        SELECT gen_random_uuid(), $1, gen_random_uuid(), n::text, n::text, ''
        FROM generate_series(1, 20000) AS n
        """,
        project,
    )
    legacy.upgrade()
    assert legacy.values("SELECT count(*) FROM agents") == [20000]


def test_a_downgrade_lists_what_is_lost(legacy: Database, caplog: pytest.LogCaptureFixture) -> None:
    key = make_key(legacy, make_project(legacy), agent := uuid4())
    legacy.upgrade(WITH_AGENTS)
    legacy.downgrade(BASE_WITH_CREATORS)
    assert "agents: 1 row will be lost" in caplog.text
    assert agent_of(legacy, "agent_api_keys", key) == agent
    legacy.upgrade(WITH_AGENTS)
    assert legacy.values("SELECT id FROM agents") == [agent]
