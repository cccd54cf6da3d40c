"""Every row of agent_com is served by Tandem's API, field by field as it was."""

import json
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.struct_pb2 import Struct

from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from migrations.history import NEWEST
from migrations.run import adopt_from_agent_com
from shared.database.transaction import Database as Pool
from shared.settings import SecretStr, Settings
from tandem.agent.v1 import agent_service_pb2 as agents
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.agent.v1 import room_service_pb2 as rooms
from tandem.agent.v1 import user_service_pb2 as users
from tandem.task.v1 import task_service_pb2 as tasks
from tests.conftest import POOL_SIZE
from tests.migrations.agent_com import origin_rows as origin
from tests.migrations.agent_com.origin import make_tables
from tests.migrations.agent_com.origin_rows import HERE, THERE, Row, fill, given_id
from tests.migrations.database import Database
from tests.migrations.legacy import named
from tests.world import SECRET, Client, World

ALL: dict[str, Any] = {"page_size": 1000, "order_by": "created_at"}
GONE = named("gone")


def same(row: Row, *columns: str) -> dict[str, Any]:
    """The fields that have the value of the column; ids as text, each with its times."""
    names = ("id", *columns, "created_at", "updated_at")
    return {
        name: str(row[name]) if isinstance(row[name], UUID) else row[name] for name in names
    } | {"revision": 1}


def struct(text: str | None) -> Struct | None:
    """The Struct of JSON, unless that is null."""
    content = json.loads(text or "null")
    if content is None:
        return None
    value = Struct()
    value.update(content)
    return value


def moved(agent: UUID, project: UUID) -> str:
    """The agent that stands for another one in a project."""
    elsewhere = {
        (GONE, HERE),
        (named("offline"), THERE),
        (named("error"), HERE),
    }
    return str(given_id(agent, project) if (agent, project) in elsewhere else agent)


def expected_users() -> list[auth.User]:
    columns = ("username", "email", "full_name", "is_superuser", "is_active")
    return [auth.User(**same(row, *columns)) for row in origin.USERS]


def expected_projects() -> list[projects.Project]:
    statuses = {"deleted": projects.PROJECT_STATUS_ARCHIVED}
    return [
        projects.Project(
            **same(row, "owner_id", "name", "description"),
            slug=origin.SLUGS[row["project_id"]],
            status=statuses.get(row["status"])
            or getattr(projects, f"PROJECT_STATUS_{row['status'].upper()}"),
            settings=struct(row["settings"]),
        )
        for row in sorted(origin.PROJECTS, key=lambda row: row["created_at"])
    ]


def expected_rooms() -> list[rooms.Room]:
    columns = ("project_id", "name", "description", "created_by")
    return [rooms.Room(**same(row, *columns)) for row in origin.ROOMS]


def expected_agents() -> list[agents.Agent]:
    columns = ("project_id", "name", "nickname", "agent_type", "is_active")
    return [
        agents.Agent(
            **same(row, *columns),
            status=getattr(agents, f"AGENT_STATUS_{row['status'].upper()}"),
            capabilities=json.loads(row["capabilities"]),
            config=struct(row["config"]),
            max_leases=100,
        )
        for row in origin.AGENTS
    ]


def expected_placeholders() -> dict[str, tuple[str, str, str | None]]:
    """By id: name, project, and the agent for which it stands."""
    standing = {
        str(GONE): (str(THERE), None),
        moved(GONE, HERE): (str(HERE), str(GONE)),
        moved(named("offline"), THERE): (str(THERE), str(named("offline"))),
        moved(named("error"), HERE): (str(HERE), str(named("error"))),
    }
    return {
        id: (f"Migrated Agent {id[:8]}", project, source)
        for id, (project, source) in standing.items()
    }


def expected_participants(room: UUID) -> list[rooms.Participant]:
    project = {row["id"]: row["project_id"] for row in origin.ROOMS}[room]
    return [
        rooms.Participant(
            id=str(row["id"]),
            room_id=str(room),
            joined_at=row["joined_at"],
            **{"agent_id": moved(row["agent_id"], project)}
            if row["agent_id"]
            else {"user_id": str(row["user_id"])},
        )
        for row in origin.SEATS
        if row["room_id"] == room
    ]


def expected_keys() -> list[auth.ApiKey]:
    return [
        auth.ApiKey(
            **same(row, "project_id", "key_id", "key_prefix", "expires_at"),
            agent_id=moved(row["agent_id"], row["project_id"]),
            capabilities=json.loads(row["capabilities"]),
            status=auth.API_KEY_STATUS_EXPIRED
            if row["status"] == "expired"
            else auth.API_KEY_STATUS_REVOKED,
            created_by_id=str(row["created_by_id"])
            if row["created_by_type"] == "user" and row["created_by_id"]
            else None,
        )
        for row in origin.KEYS
    ]


ASSIGNED = {
    "to agent": (str(named("offline")), tasks.ASSIGNEE_TYPE_AGENT),
    "to user": (str(named("reader")), tasks.ASSIGNEE_TYPE_USER),
    "to agent now": (str(named("online")), tasks.ASSIGNEE_TYPE_AGENT),
    "to user now": (str(named("ann")), tasks.ASSIGNEE_TYPE_USER),
    "to a guest": (moved(named("error"), HERE), tasks.ASSIGNEE_TYPE_AGENT),
}


def assignee(title: str) -> dict[str, Any]:
    names = ("assigned_to", "assigned_to_type")
    return dict(zip(names, ASSIGNED[title], strict=True)) if title in ASSIGNED else {}


DEPENDENCIES = {
    "full": [str(named("review")), str(named("completed"))],
    "messy": [str(named("full")), str(named("completed"))],
}


def expected_tasks() -> list[tasks.Task]:
    times = ("started_at", "completed_at", "due_date")
    return [
        tasks.Task(
            **same(row, "project_id", "title", "description", "created_by", *times),
            status=getattr(tasks, f"TASK_STATUS_{row['status'].upper()}"),
            priority=getattr(tasks, f"TASK_PRIORITY_{(row['priority'] or 'unspecified').upper()}"),
            room_id=str(row["room_id"]) if row["title"] == "full" else None,
            result=struct(row["result"]),
            dependencies=DEPENDENCIES.get(row["title"], []),
            **assignee(row["title"]),
            # Others get theirs from the time of the migration: see `compare`.
            ready_at=row["created_at"] if row["status"] == "pending" else None,
            max_attempts=3,
            dependency_policy=tasks.DEPENDENCY_POLICY_STRICT,
            on_dependency_failure=tasks.ON_DEPENDENCY_FAILURE_KEEP_BLOCKED,
        )
        for row in origin.TASKS
    ]


async def test_every_row_is_served(adopted: Database) -> None:
    settings = Settings(database_url=SecretStr(adopted.url), jwt_secret=SECRET)
    database = await Pool.connect(adopted.url, size=POOL_SIZE)
    try:
        async with World.built(database, settings) as world:
            await compare(Client(world.channels, world.token(named("root"))))
    finally:
        await database.close()


async def compare(root: Client) -> None:
    found_users = await root.users.ListUsers(users.ListUsersRequest(**ALL))
    assert list(found_users.users) == expected_users()
    found_projects = await root.projects.ListProjects(projects.ListProjectsRequest(**ALL))
    assert list(found_projects.projects) == expected_projects()
    found_rooms = await root.rooms.ListRooms(rooms.ListRoomsRequest(**ALL))
    assert list(found_rooms.rooms) == expected_rooms()
    for room in origin.ROOMS:
        request = rooms.ListParticipantsRequest(room_id=str(room["id"]), order_by="joined_at")
        seats = await root.rooms.ListParticipants(request)
        assert list(seats.participants) == expected_participants(room["id"])
    found_tasks = await root.tasks.ListTasks(tasks.ListTasksRequest(**ALL))
    for task in found_tasks.tasks:
        if task.status != tasks.TASK_STATUS_PENDING:
            task.ClearField("ready_at")
    assert list(found_tasks.tasks) == expected_tasks()
    await compare_agents(root)


async def compare_agents(root: Client) -> None:
    found = await root.agents.ListAgents(agents.ListAgentsRequest(**ALL))
    ours = {str(row["id"]) for row in origin.AGENTS}
    assert [agent for agent in found.agents if agent.id in ours] == expected_agents()
    placeholders = [agent for agent in found.agents if agent.id not in ours]
    assert {
        agent.id: (agent.name, agent.project_id, dict(agent.config).get("migrated_from"))
        for agent in placeholders
    } == expected_placeholders()
    assert {
        (agent.agent_type, agent.status, agent.is_active, *agent.capabilities)
        for agent in placeholders
    } == {("generic", agents.AGENT_STATUS_OFFLINE, False)}
    keys = []
    for agent in found.agents:
        answer = await root.auth.ListApiKeys(auth.ListApiKeysRequest(agent_id=agent.id))
        keys += answer.api_keys
    assert sorted(keys, key=lambda key: key.key_id) == expected_keys()


def test_it_ends_at_the_newest_revision_with_the_tables_of_tandem(
    adopted: Database, database_url: str
) -> None:
    assert adopted.current() == NEWEST
    assert examine(adopted.url).verdict is Verdict.CLEAN
    only_here = adopted.structure() - Database(database_url).structure()
    assert {line for line in only_here if "meetings" not in line} == set()
    assert Database(database_url).structure() <= adopted.structure()


def test_the_first_version_has_neither_agents_nor_tasks(
    database: Database,
) -> None:
    """All agents are placeholders there, and creators of keys may be missing."""
    make_tables(database, newest=False)
    rows = {table: rows for table, rows in origin.ROWS.items() if table not in ("agents", "tasks")}
    rows["agent_api_keys"] = [*origin.KEYS, origin.key("key 6", 56, "b", created_by_id=GONE)]
    fill(database, rows)
    mentioned = {
        *((row["agent_id"], row["project_id"]) for row in rows["agent_api_keys"]),
        (named("offline"), THERE),
        (GONE, HERE),
        (GONE, THERE),
    }
    adopt_from_agent_com(database.url, lambda _: None)
    assert database.values("SELECT count(*) FROM agents") == [len(mentioned)]
    assert set(database.rows("SELECT id, project_id FROM agents WHERE config IS NULL")) >= {
        (GONE, THERE),
        (named("error"), THERE),
        (named("offline"), THERE),
    }
    assert database.values("SELECT created_by_id FROM agent_api_keys WHERE key_id ~ '6'") == [None]
    assert examine(database.url).verdict is Verdict.CLEAN


def test_json_may_be_jsonb(origin: Database) -> None:
    origin.rows("ALTER TABLE projects ALTER COLUMN settings TYPE jsonb")
    adopt_from_agent_com(origin.url, lambda _: None)
    assert origin.values("SELECT count(settings) FROM projects") == [1]


@pytest.mark.parametrize("name", ["project_members", "user_identities", "request_ids"])
def test_tables_that_agent_com_does_not_have_start_empty(adopted: Database, name: str) -> None:
    assert adopted.values(f"SELECT count(*) FROM {name}") == [0]  # noqa: S608


def test_the_services_cannot_read_what_was_moved_aside(adopted: Database) -> None:
    """It has password hashes."""
    assert adopted.values("SELECT has_schema_privilege('public', 'agent_com_before', 'USAGE')") == [
        False
    ]
