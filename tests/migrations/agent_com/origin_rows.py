"""A database of agent_com with rows of every kind: each value that a column may have, and each
flaw that an adoption repairs. The tests compare what Tandem answers with these rows.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from tests.migrations.database import Database
from tests.migrations.legacy import named
from tests.schema.rows import Connection, add

Row = dict[str, Any]

SETTINGS = {"a": {"deep": [1, 2.5, None, True, "é😀 \\u0000 \\ud800"]}, "b": ""}


def times(day: int) -> Row:
    """Times of its own for each row, so that none is taken for another."""
    created = datetime(2025, 1, 1, 12, 30, 15, 123456, UTC) + timedelta(days=day)
    return {"created_at": created, "updated_at": created + timedelta(hours=7)}


def row(name: str, day: int, /, **values: Any) -> Row:
    return {"id": named(name), **times(day), **values}


def user(name: str, day: int, /, **values: Any) -> Row:
    return row(
        name,
        day,
        **{
            "username": name,
            "email": f"{name}@example.com",
            "password_hash": "$argon2id$x",
            "full_name": None,
            "role": "user",
            "is_active": True,
            "is_superuser": False,
            "permissions": None,
            **values,
        },
    )


USERS = [
    user("ann", 0, full_name="Ann Ä."),
    user("root", 1, role="admin", is_superuser=True),
    user("Admin", 2, role="admin", permissions='["x"]'),
    user("owner", 3, role="owner"),
    user("reader", 4, role="readonly", is_active=False, password_hash=None),
]


def project(name: str, day: int, /, **values: Any) -> Row:
    return row(
        name,
        day,
        **{
            "owner_id": named("ann"),
            "project_id": name,
            "name": f"{name}!",
            "description": None,
            "status": "active",
            "allow_cross_project": False,
            "settings": None,
            **values,
        },
    )


LONG = "A" * 99 + "!"
PROJECTS = [
    project("project-a", 10, description="First\nof all", settings=json.dumps(SETTINGS)),
    project("Project A", 9, status="suspended", settings="null"),
    project("PROJECT  a?", 11, status="archived", allow_cross_project=True),
    project("x_1.y-", 12, status="deleted", owner_id=named("owner")),
    project("프로젝트", 13),
    project(LONG, 14),
    project(LONG.lower()[:99] + "?", 15),
]
SLUGS = {
    "project-a": "project-a",
    "Project A": f"project-a-{str(named('Project A'))[:8]}",
    "PROJECT  a?": f"project-a-{str(named('PROJECT  a?'))[:8]}",
    "x_1.y-": "x_1.y-",
    "프로젝트": f"project-{str(named('프로젝트'))[:8]}",
    LONG: "a" * 99,
    LONG.lower()[:99] + "?": f"{'a' * 91}-{str(named(LONG.lower()[:99] + '?'))[:8]}",
}
HERE, THERE = named("project-a"), named("Project A")

ROOMS = [
    row("room", 20, project_id=HERE, name="Room", description="d", created_by=named("ann")),
    row("other room", 21, project_id=THERE, name="Room", description=None, created_by=None),
]


def agent(name: str, day: int, /, **values: Any) -> Row:
    return row(
        name,
        day,
        **{
            "project_id": HERE,
            "name": name,
            "nickname": None,
            "agent_type": "generic",
            "status": "offline",
            "capabilities": "[]",
            "config": None,
            "is_active": True,
            **values,
        },
    )


AGENTS = [
    agent("offline", 30, nickname="Nick", agent_type="coder", config=json.dumps(SETTINGS)),
    agent("online", 31, status="online", capabilities='["b", "a"]', config="null"),
    agent("busy", 32, status="busy", is_active=False, config="{}"),
    agent("error", 33, status="error", project_id=THERE),
    # As its own migration names the agents that it makes.
    agent("migrated", 34, name=f"Migrated Agent {str(named('gone'))[:8]}"),
]


def seat(name: str, day: int, room: str, /, **values: Any) -> Row:
    joined = times(day)["created_at"] - timedelta(minutes=1)
    return row(
        name,
        day,
        room_id=named(room),
        joined_at=joined,
        **{"agent_id": None, "user_id": None, **values},
    )


SEATS = [
    seat("seat 0", 40, "room", agent_id=named("offline")),
    seat("seat 1", 41, "room", user_id=named("ann")),
    seat("seat 2", 42, "other room", user_id=named("reader")),
    # Of another project, and of no agent at all.
    seat("seat 3", 43, "other room", agent_id=named("offline")),
    seat("seat 4", 44, "room", agent_id=named("gone")),
    seat("seat 5", 45, "other room", agent_id=named("gone")),
]


def key(name: str, day: int, agent: str, /, **values: Any) -> Row:
    return row(
        name,
        day,
        **{
            "project_id": HERE,
            "agent_id": named(agent),
            "key_id": f"sk_agent_v1_{name}",
            "api_key_hash": f"$argon2id${name}",
            "key_prefix": "sk_agent_v1_",
            "capabilities": '["search"]',
            "status": "active",
            "expires_at": None,
            "created_by_type": "user",
            "created_by_id": named("ann"),
            **values,
        },
    )


KEYS = [
    key("key 0", 50, "offline"),
    key("key 1", 51, "online", status="revoked", created_by_type="agent", created_by_id=None),
    key("key 2", 52, "busy", status="expired", expires_at=times(53)["created_at"]),
    key("key 3", 53, "error", project_id=THERE, created_by_type="system", capabilities="[]"),
    key("key 4", 54, "gone"),
    # Of an agent of another project, as allow_cross_project lets.
    key("key 5", 55, "error"),
]


def task(name: str, day: int, /, **values: Any) -> Row:
    return row(
        name,
        day,
        **{
            "project_id": HERE,
            "title": name,
            "room_id": None,
            "description": None,
            "status": "pending",
            "priority": None,
            "assigned_to": None,
            "assigned_to_type": None,
            "user_assigned_to": None,
            "agent_assigned_to": None,
            "created_by": named("ann"),
            "dependencies": "[]",
            "started_at": None,
            "completed_at": None,
            "due_date": None,
            "result": None,
            **values,
        },
    )


def listed(*names: str) -> str:
    return json.dumps([str(named(name)) for name in names])


STATUSES = ("pending", "in_progress", "review", "blocked", "completed", "cancelled")
TASKS = [
    *(task(status, 60 + day, status=status) for day, status in enumerate(STATUSES)),
    *(
        task(priority, 70 + day, priority=priority)
        for day, priority in enumerate(("low", "medium", "high", "critical"))
    ),
    task(
        "full",
        80,
        room_id=named("room"),
        description="Do\nit",
        result=json.dumps(SETTINGS),
        started_at=times(81)["created_at"],
        completed_at=times(82)["created_at"],
        due_date=times(83)["created_at"],
        dependencies=listed("review", "completed"),
    ),
    task("bare", 81, created_by=None, result="null", dependencies="null"),
    task("to agent", 82, assigned_to=named("offline"), assigned_to_type="agent"),
    task("to user", 83, assigned_to=named("reader"), assigned_to_type="user"),
    task("to agent now", 84, agent_assigned_to=named("online"), assigned_to_type="agent"),
    task(
        "to user now",
        85,
        user_assigned_to=named("ann"),
        assigned_to=named("offline"),
        assigned_to_type="agent",
    ),
    task("to a guest", 86, agent_assigned_to=named("error")),
    task("to nobody", 87, assigned_to=named("never"), assigned_to_type="agent"),
    task("elsewhere", 88, room_id=named("other room")),
    task("messy", 89, dependencies=listed("full", "full", "never", "messy", "completed")),
    task("there", 90, project_id=THERE, dependencies=listed("completed")),
]

ROWS = {
    "users": USERS,
    "projects": PROJECTS,
    "chat_rooms": ROOMS,
    "agents": AGENTS,
    "chat_participants": SEATS,
    "agent_api_keys": KEYS,
    "tasks": TASKS,
    "chat_messages": [row("message", 95, room_id=named("room"), content="Hi", metadata="{}")],
    "meetings": [{"id": named("meeting"), "topic": "All"}],
}

AUDIT = """
INSERT INTO audit_logs (action, entity_type, project_id, actor_type, action_details, status)
SELECT 'create', 'project', $1, actor, '{"a":  1}', 'success'
FROM unnest(ARRAY['user', 'agent', 'system', 'anonymous']) AS actor
"""


def fill(database: Database, tables: dict[str, list[Row]] = ROWS) -> None:
    """Add these rows to the tables."""

    async def work(connection: Connection) -> None:
        for table, rows in tables.items():
            for values in rows:
                await add(connection, table, **values)
        await connection.execute(AUDIT, HERE)

    database.make(work)


def given_id(agent: UUID, project: UUID) -> UUID:
    """The id of the placeholder that stands for an agent in another project."""
    from hashlib import md5

    return UUID(md5(f"{agent}{project}".encode()).hexdigest())  # noqa: S324
