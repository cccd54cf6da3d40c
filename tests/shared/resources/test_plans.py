"""What the pages of lists cost: no more with 100,000 rows than they show."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from agent_service.agents.queries import LIST as AGENTS
from agent_service.api_keys.queries import LIST as KEYS
from agent_service.members.queries import LIST as MEMBERS
from agent_service.projects.queries import LIST as PROJECTS
from agent_service.rooms.queries import LIST as ROOMS
from agent_service.rooms.queries import LIST_PARTICIPANTS as PARTICIPANTS
from agent_service.users.queries import LIST as USERS
from shared.auth.access import reach
from shared.auth.authenticator import ACTIVE
from shared.auth.caller import Agent, Caller, User
from shared.database.pool import Record
from shared.database.transaction import Database
from shared.resources.listing import Lister
from shared.resources.pagination import Order, Page, Query
from task_service.backlog.queries import BY_STATUS, COUNTED, ESTIMATE, LEASES, READY
from task_service.backlog.rules import Backlog
from task_service.events.queries import AWAITED
from task_service.tasks.queries import LIST as TASKS
from tests.conftest import TEMPLATE
from tests.databases import execute, fresh
from tests.plans import Cost, cost_of

SIZE = 50
SHOWN = SIZE + 1
BIG, MANY = 1, 1000
# One user has a project with most of the rows, one has ten projects, and one a thousand.
FILL = """
SET session_replication_role = replica; -- every reference is right, and need not be looked up
CREATE FUNCTION id(n bigint) RETURNS uuid LANGUAGE sql RETURN lpad(to_hex(n), 32, '0')::uuid;
INSERT INTO users (id, username, email) SELECT id(n), n, n FROM generate_series(1, 2000) n;
INSERT INTO projects (id, owner_id, slug, name)
    SELECT id(n), id(CASE WHEN n = 1 THEN 1 WHEN n <= 11 THEN 2
            WHEN n <= 1011 THEN 3 ELSE 4 + n % 1990 END), n, md5(n::text)
    FROM generate_series(1, 5000) n;
INSERT INTO agents (id, project_id, name) VALUES (id(1), id(1), 'Agent');
INSERT INTO agents (id, project_id, name) SELECT id(10000 + n), id(1 + n % 5000), md5(n::text)
    FROM generate_series(1, 15000) n;
INSERT INTO chat_rooms (id, project_id, name) SELECT id(n), id(1 + n % 5000), md5(n::text)
    FROM generate_series(1, 15000) n;
INSERT INTO tasks (id, project_id, title, status, priority, due_date, created_at, updated_at,
        assigned_agent_id, assigned_user_id, room_id)
    SELECT id(n), id(CASE WHEN n <= 60000 THEN 1 WHEN n <= 70000 THEN 2 + n % 10
            WHEN n <= 95000 THEN 12 + n % 1000 ELSE 2000 + n % 3000 END), 'Task',
        CASE n % 500 WHEN 0 THEN 'review' WHEN 1 THEN 'pending' ELSE 'completed' END,
        (ARRAY['low', 'medium', 'high', 'critical'])[1 + n % 5],
        CASE WHEN n % 3 > 0 THEN now() + (n % 7919 - 4000) * interval '1 minute' END,
        now() - (n / 3) * interval '1 second', now() - (n % 9973) * interval '1 second',
        CASE WHEN n <= 60000 AND n % 3 = 0 THEN id(1) END,
        CASE WHEN n <= 60000 AND n % 300 = 1 THEN id(2000) END,
        CASE WHEN n <= 60000 AND n % 200 = 1 THEN id(5000) END
    FROM generate_series(1, 100000) n;
-- Of project 1; 300 tasks depend on task 60000.
INSERT INTO task_dependencies (project_id, task_id, depends_on_id)
    SELECT id(1), id(n), id(60000) FROM generate_series(1001, 1300) n;
INSERT INTO task_dependencies (project_id, task_id, depends_on_id)
    SELECT id(1), id(n), id(n + 1) FROM generate_series(2001, 22000) n;
-- Room 5000 and agent 1 are of project 1.
INSERT INTO chat_participants (id, project_id, room_id, agent_id, joined_at)
    SELECT id(n), id(1), id(5000), id(n), now() - (n / 3) * interval '1 second'
    FROM generate_series(1, 5000) n;
INSERT INTO chat_participants (id, project_id, room_id, agent_id)
    SELECT id(n), id(1 + n % 5000), id(n), id(n) FROM generate_series(5001, 15000) n;
INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix, created_at)
    SELECT id(n), id(1), id(1), n, n, n, now() - (n / 3) * interval '1 second'
    FROM generate_series(1, 5000) n;
INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)
    SELECT id(n), id(1 + n % 5000), id(10000 + n), n, n, n FROM generate_series(5001, 15000) n;
INSERT INTO project_members (id, project_id, user_id, role, created_at)
    SELECT id(n), id(1), id(n), 'viewer', now() - (n / 3) * interval '1 second'
    FROM generate_series(5, 1800) n;
INSERT INTO project_members (id, project_id, user_id, role)
    SELECT id(10000 + n), id(1 + n), id(1800 + n % 100), 'editor' FROM generate_series(1, 4000) n;
ANALYZE;
"""


def number(n: int) -> UUID:
    return UUID(int=n)


def user(n: int, *, superuser: bool = False) -> User:
    return User(number(n), "name", "email", None, superuser)


ONE, TEN, THOUSAND = user(1), user(2), user(3)
ROOT = user(9, superuser=True)
# Users without a project; one is assigned tasks of the largest.
ASSIGNED, STRANGER = user(2000), user(1999)
AGENT = Agent(number(1), "Agent", number(BIG), [])
IN_ONE = {"project_id": number(BIG)}
RARE = {"statuses": ["pending", "review"]}
BOTH = {"tasks", "task_dependencies"}


@pytest.fixture(scope="module")
def filled_url(postgres_url: str) -> Iterator[str]:
    with fresh(postgres_url, TEMPLATE) as url:
        asyncio.run(execute(url, FILL))
        yield url


async def pages(
    url: str, lister: Lister, caller: Caller, order: Order, filters: dict[str, Any]
) -> list[Cost]:
    """What two pages cost, one behind the other."""
    database = await Database.connect(url, size=1)
    page = Page("list", SIZE, order, None, include_total=False)
    try:
        first, found = await page_of(database, lister, caller, Query(filters, page))
        last = found[:SIZE][-1]
        page = replace(page, after=(last["page_key"], last["id"]))
        second, _ = await page_of(database, lister, caller, Query(filters, page))
    finally:
        await database.close()
    return [first, second]


async def page_of(
    database: Database, lister: Lister, caller: Caller, query: Query
) -> tuple[Cost, list[Record]]:
    cost = await cost_of(database, lambda c: lister.run(c, caller, query))
    found = await database.read(lambda c: lister.run(c, caller, query))
    return cost, found.rows


def assert_bounded(cost: Cost, table: str, streams: int) -> None:
    """A project is read, a row of each stream, and of the first streams what a page can have."""
    read = streams + sum(range(SHOWN, SHOWN - min(streams, SHOWN), -1))
    assert table not in cost.sequential, cost.plans
    # A sort that keeps the first of many begins to forget when it has twice as many.
    assert cost.sorted <= 2 * SHOWN, cost.plans
    assert cost.rows <= read + streams + 2, cost.plans
    assert cost.buffers <= 2 * read + 8 * (streams + SHOWN), cost.plans


def orders_of(lister: Lister) -> list[Order]:
    names = dict.fromkeys(name.partition(" ")[0] for name in lister.orders)
    return [Order(name, descending) for name in names for descending in (False, True)]


def statuses_of(lister: Lister, caller: Caller, order: Order) -> int:
    """How many statuses the index of an order has before the rows are in that order."""
    if order.field in lister.by_status or (caller is ROOT and order.field == "created_at"):
        return max(1, len(lister.statuses))
    return 1


CASES = [
    ("tasks of a project", TASKS, ONE, IN_ONE, 1),
    ("tasks of one project's owner", TASKS, ONE, {}, 1),
    ("tasks of ten projects", TASKS, TEN, {}, 10),
    ("tasks of a thousand projects", TASKS, THOUSAND, {}, MANY),
    ("all tasks", TASKS, ROOT, {}, 1),
    ("agents of a project", AGENTS, ONE, IN_ONE, 1),
    ("agents of a thousand projects", AGENTS, THOUSAND, {}, MANY),
    ("all agents", AGENTS, ROOT, {}, 1),
    ("rooms of a thousand projects", ROOMS, THOUSAND, {}, MANY),
    ("all rooms", ROOMS, ROOT, {}, 1),
    ("projects", PROJECTS, THOUSAND, {}, 1),
    ("all projects", PROJECTS, ROOT, {}, 1),
    ("participants of a room", PARTICIPANTS, ONE, {"room_id": number(5000)}, 1),
    ("participants of a room for a superuser", PARTICIPANTS, ROOT, {"room_id": number(5000)}, 1),
    ("users", USERS, ROOT, {}, 1),
    ("keys of an agent", KEYS, ONE, {"agent_id": number(1)}, 1),
    ("keys of an agent for a superuser", KEYS, ROOT, {"agent_id": number(1)}, 1),
]


@pytest.mark.parametrize(
    ("lister", "caller", "filters", "projects"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
async def test_every_order_is_served_by_an_index(
    filled_url: str, lister: Lister, caller: Caller, filters: dict[str, Any], projects: int
) -> None:
    for order in orders_of(lister):
        streams = projects * statuses_of(lister, caller, order)
        for cost in await pages(filled_url, lister, caller, order, filters):
            assert_bounded(cost, lister.table.name, streams)


@pytest.mark.parametrize("caller", [ONE, ROOT, user(1500)])
@pytest.mark.parametrize("filters", [IN_ONE, {**IN_ONE, "roles": ["viewer"]}])
async def test_a_page_of_members_reads_a_user_for_each(
    filled_url: str, caller: Caller, filters: dict[str, Any]
) -> None:
    for order in orders_of(MEMBERS):
        for cost in await pages(filled_url, MEMBERS, caller, order, filters):
            assert not cost.sequential, cost.plans
            assert cost.sorted <= 2 * SHOWN, cost.plans
            assert cost.rows <= 2 * SHOWN + 4, cost.plans
            assert cost.buffers <= 12 * SHOWN, cost.plans


@pytest.mark.parametrize(
    ("caller", "filters", "streams"),
    [
        (ONE, {**IN_ONE, **RARE}, 2),
        (ONE, RARE, 2),
        (ROOT, RARE, 2),
        (ROOT, {**IN_ONE, **RARE}, 2),
        (THOUSAND, RARE, 2 * MANY),
        (AGENT, {"statuses": ["completed"]}, 1),
        (AGENT, {}, 7),
        (ONE, {"assigned_to": number(1)}, 7),
    ],
)
async def test_rare_statuses_are_found_by_an_index(
    filled_url: str, caller: Caller, filters: dict[str, Any], streams: int
) -> None:
    for descending in (False, True):
        order = Order("created_at", descending)
        first, _ = await pages(filled_url, TASKS, caller, order, filters)
        assert_bounded(first, "tasks", streams)


@pytest.mark.parametrize(
    ("caller", "filters", "streams"),
    [
        (ONE, {**IN_ONE, **RARE}, 2),
        (ONE, RARE, 2),
        (ROOT, RARE, 2),
        (ROOT, {**IN_ONE, **RARE}, 2),
        (THOUSAND, RARE, 2 * MANY),
    ],
)
async def test_work_to_do_is_found_by_an_index(
    filled_url: str, caller: Caller, filters: dict[str, Any], streams: int
) -> None:
    for order in orders_of(TASKS):
        if order.field in TASKS.by_status:
            first, _ = await pages(filled_url, TASKS, caller, order, filters)
            assert_bounded(first, "tasks", streams)


@pytest.mark.parametrize("descending", [False, True])
async def test_a_range_of_due_dates_is_found_by_an_index(filled_url: str, descending: bool) -> None:
    now = datetime.now(UTC)
    due = {"due_after": now, "due_before": now + timedelta(minutes=10)}
    order = Order("due_date", descending)
    first, _ = await pages(filled_url, TASKS, ONE, order, {**IN_ONE, **due})
    assert_bounded(first, "tasks", len(TASKS.statuses))


@pytest.mark.parametrize(
    ("caller", "filters", "under_way"), [(ONE, IN_ONE, 240), (ONE, {}, 240), (ROOT, {}, 400)]
)
async def test_overdue_tasks_are_looked_for_among_those_that_have_not_ended(
    filled_url: str, caller: Caller, filters: dict[str, Any], under_way: int
) -> None:
    for order in orders_of(TASKS):
        if order.field != "updated_at":
            asked = {**filters, "overdue": True}
            first, _ = await pages(filled_url, TASKS, caller, order, asked)
            assert "tasks" not in first.sequential, first.plans
            assert first.rows <= 2 * under_way + 2 * len(TASKS.statuses), first.plans


async def test_a_stranger_reads_no_task(filled_url: str) -> None:
    database = await Database.connect(filled_url, size=1)
    try:
        for order in orders_of(TASKS):
            for filters in ({}, IN_ONE):
                page = Page("list", SIZE, order, None, include_total=False)
                cost, found = await page_of(database, TASKS, STRANGER, Query(filters, page))
                assert not found
                assert cost.rows <= 4, (order, cost.plans)  # at most two a part
    finally:
        await database.close()


@pytest.mark.parametrize(
    ("caller", "filters", "matching"),
    [
        (ONE, {"room_id": number(5000)}, 300),
        (ROOT, {"room_id": number(5000)}, 300),
        (ONE, {"depends_on": number(60000)}, 300),
        (ONE, {"depends_on": number(60000), **IN_ONE}, 300),
        # Too few for a page of one part: each part reads those that depend on the task.
        (ONE, {"depends_on": number(60000), **RARE}, 2 * 300),
        (ONE, {"depends_on": number(60000), "assigned_to": number(1)}, 2 * 300),
        (AGENT, {"depends_on": number(60000)}, 2 * 300),
        (ROOT, {"depends_on": number(60000)}, 300),
        (ONE, {"assigned_to": number(2000)}, 200),
        (ONE, {"assigned_to": number(2000), **IN_ONE}, 200),
        (ROOT, {"assigned_to": number(2000)}, 200),
        (ASSIGNED, {}, 200),
        (ASSIGNED, IN_ONE, 200),
        (ASSIGNED, {"assigned_to": number(2000)}, 200),
        (AGENT, RARE, 120),
    ],
)
async def test_other_orders_read_the_tasks_of_a_room_or_an_assignee_or_upon_a_task(
    filled_url: str, caller: Caller, filters: dict[str, Any], matching: int
) -> None:
    for order in orders_of(TASKS):
        first, _ = await pages(filled_url, TASKS, caller, order, filters)
        assert first.sequential.isdisjoint(BOTH), first.plans
        assert first.rows <= 2 * matching + 2 * SHOWN, (order, first.rows, first.plans)


@pytest.mark.parametrize("caller", [ONE, ROOT])
async def test_ready_looks_at_the_dependencies_of_the_tasks_on_the_way(
    filled_url: str, caller: Caller
) -> None:
    for descending in (False, True):
        order = Order("created_at", descending)
        first, _ = await pages(filled_url, TASKS, caller, order, {**IN_ONE, "ready": True})
        assert first.sequential.isdisjoint(BOTH), first.plans
        assert first.rows <= 4 * SHOWN, first.plans


@pytest.mark.parametrize(
    ("caller", "filters", "counted"),
    [
        (TEN, {}, 10_000),
        (TEN, RARE, 40),
        (THOUSAND, {}, 25_000),
        (THOUSAND, RARE, 100),
        (ONE, {**IN_ONE, **RARE}, 240),
        (ROOT, {**IN_ONE, **RARE}, 240),
        (ONE, {"room_id": number(5000)}, 300),
        (ONE, {"depends_on": number(60000)}, 300),
        (ROOT, {"depends_on": number(60000)}, 300),
        (ASSIGNED, {}, 200),
        (ASSIGNED, IN_ONE, 200),
        (AGENT, {}, 20_000),
        (AGENT, RARE, 80),
        (STRANGER, {}, 0),
        (STRANGER, IN_ONE, 0),
    ],
)
async def test_no_more_tasks_are_read_than_are_counted(
    filled_url: str, caller: Caller, filters: dict[str, Any], counted: int
) -> None:
    statement = TASKS.counts_statement(frozenset(filters), reach(caller, TASKS.permission))
    database = await Database.connect(filled_url, size=1)
    try:
        cost = await cost_of(database, lambda c: statement.rows(c, caller.rights, **filters))
        found = await database.read(lambda c: statement.rows(c, caller.rights, **filters))
    finally:
        await database.close()
    assert sum(row["number"] for row in found) == counted
    assert cost.sequential.isdisjoint(BOTH), cost.plans
    # The ids of the projects, and of rows that are found by their ids, are read before.
    assert cost.rows <= 2 * counted + 2 * MANY, cost.plans


async def test_waits_and_callers_are_checked_by_keys(filled_url: str) -> None:
    waits = 20
    task_ids = [number(n) for n in range(1, waits + 1)]
    database = await Database.connect(filled_url, size=1)
    users, keys = [number(5)], [number(7)]

    async def check(connection: Any) -> None:
        await AWAITED.rows(connection, task_ids=task_ids, user_ids=[number(5), None] * (waits // 2))
        await ACTIVE.rows(connection, users=users, agents=users, keys=keys)

    cost = await cost_of(database, check)
    await database.close()
    assert not cost.sequential, cost.plans
    # Of each wait the task, the project, and of users the member; then three callers.
    assert cost.rows <= 3 * waits + 3, cost.plans


async def test_metrics_count_a_bounded_part_of_the_tasks_by_an_index(filled_url: str) -> None:
    database = await Database.connect(filled_url, size=1)
    by_status = await cost_of(database, BY_STATUS.rows)
    ready = await cost_of(database, READY.row)
    others = [await cost_of(database, statement.row) for statement in (ESTIMATE, LEASES)]
    backlog = Backlog(database)
    found = {labels[0]: value for _, value, labels in await backlog.samples() if labels}
    await backlog.close()
    await database.close()
    assert {n["Node Type"] for n in by_status.nodes if "Relation Name" in n} == {"Index Only Scan"}
    # The completed ones are too many, and there are 200 of two other statuses.
    assert by_status.rows == COUNTED + 400
    assert (ready.rows, ready.sorted, ready.sequential) == (200, 0, set()), ready.plans
    assert all("tasks" not in cost.sequential and cost.buffers < 200 for cost in others)
    assert (found["pending"], found["review"], found["failed"]) == (200, 200, 0)
    assert isinstance(found["completed"], int | float)
    assert abs(found["completed"] - 99_600) < 1_000, "it is estimated"
