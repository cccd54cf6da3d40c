"""Listing tasks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from shared.auth.access import Reach
from shared.errors import Reason
from shared.resources.pagination import Order
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    ASSIGNEE_TYPE_USER,
    TASK_PRIORITY_CRITICAL,
    TASK_PRIORITY_HIGH,
    TASK_PRIORITY_LOW,
    TASK_PRIORITY_MEDIUM,
    TASK_PRIORITY_UNSPECIFIED,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_IN_PROGRESS,
    TASK_STATUS_PENDING,
    TASK_STATUS_UNSPECIFIED,
    ListTasksRequest,
    ListTasksResponse,
)
from task_service.tasks.queries import LIST
from tests.plans import plan_of
from tests.refusals import refused
from tests.task_service.steps import completed, move
from tests.task_service.tasks.test_create import room
from tests.world import Client, World

NOW = datetime.now(UTC).replace(microsecond=123456)
TITLES = (
    *("Write tests", "rewrite", "100% done", "snake_case", "back\\slash"),
    *("Äpfel", "Große Straße", "ΟΔΟΣ"),
)
PAST, FUTURE = NOW - timedelta(days=1), NOW + timedelta(days=1)


async def listed(client: Client, **request: Any) -> ListTasksResponse:
    response: ListTasksResponse = await client.tasks.ListTasks(ListTasksRequest(**request))
    return response


async def titles(client: Client, **request: Any) -> list[str]:
    """The titles on all pages, three on each."""
    found: list[str] = []
    token = ""
    while True:
        page = await listed(client, page_size=3, page_token=token, **request)
        found += [task.title for task in page.tasks]
        token = page.next_page_token
        if not token:
            return found


async def test_the_newest_come_first(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    names = [f"task {number}" for number in range(7)]
    for name in names:
        await alice.task(project, title=name)
    assert await titles(alice, project_id=project.id) == names[::-1]
    assert await titles(alice, project_id=project.id, order_by="created_at") == names


async def test_an_update_brings_a_task_to_the_end_of_updated_at(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    tasks = [await alice.task(project, title=name) for name in "abcd"]
    await move(alice, tasks[1], TASK_STATUS_IN_PROGRESS)
    assert await titles(alice, order_by="updated_at") == list("acdb")
    assert await titles(alice, order_by="updated_at desc") == list("bdca")


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("due_date", "cabd-ef"),
        ("due_date desc", "dbac-fe"),
    ],
)
async def test_without_a_due_date_is_last_in_both_directions(
    world: World, order_by: str, expected: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    days = {
        "a": NOW,
        "b": NOW + timedelta(microseconds=1),
        "c": datetime(1, 1, 1, tzinfo=UTC),
        "d": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
    }
    for name in "abcd":
        await alice.task(project, title=name, due_date=days[name])
    for name in "ef":
        await alice.task(project, title=name)
    assert "".join(await titles(alice, order_by=order_by)) == expected.replace("-", "")


@pytest.mark.parametrize(
    ("order_by", "expected"),
    [
        ("priority", ["c1", "c2", "h", "m", "l", "n"]),
        ("priority desc", ["l", "m", "h", "c2", "c1", "n"]),
    ],
)
async def test_the_critical_come_first_and_those_without_priority_last(
    world: World, order_by: str, expected: list[str]
) -> None:
    alice = await world.user()
    project = await alice.project()
    for title, priority in (
        ("n", TASK_PRIORITY_UNSPECIFIED),
        ("m", TASK_PRIORITY_MEDIUM),
        ("c1", TASK_PRIORITY_CRITICAL),
        ("l", TASK_PRIORITY_LOW),
        ("h", TASK_PRIORITY_HIGH),
        ("c2", TASK_PRIORITY_CRITICAL),
    ):
        await alice.task(project, title=title, priority=priority)
    assert await titles(alice, order_by=order_by) == expected


async def test_filters_let_through_what_they_say(world: World) -> None:
    alice = await world.user()
    project, other = await alice.project(), await alice.project()
    agent = await alice.agent(project)
    here = await room(world, project.id)
    await alice.task(project, title="plain")
    await alice.task(other, title="other")
    await alice.task(project, title="roomy", room_id=here)
    await alice.task(project, title="high", priority=TASK_PRIORITY_HIGH)
    await alice.task(project, title="low", priority=TASK_PRIORITY_LOW)
    await alice.task(
        project, title="agent's", assigned_to=agent.id, assigned_to_type=ASSIGNEE_TYPE_AGENT
    )
    await alice.task(
        project, title="alice's", assigned_to=str(alice.id), assigned_to_type=ASSIGNEE_TYPE_USER
    )
    await completed(alice, project, title="done")
    root = await world.user(superuser=True)
    await root.task(project, title="root's")

    async def found(**filters: Any) -> set[str]:
        return set(await titles(alice, **filters))

    everything = {"plain", "roomy", "high", "low", "agent's", "alice's", "done", "root's"}
    assert await found() == {*everything, "other"}
    assert await found(project_id=project.id) == everything
    assert await found(room_id=here) == {"roomy"}
    assert await found(statuses=[TASK_STATUS_COMPLETED]) == {"done"}
    both = [TASK_STATUS_COMPLETED, TASK_STATUS_PENDING]
    assert await found(statuses=both, project_id=project.id) == everything
    assert await found(priorities=[TASK_PRIORITY_HIGH, TASK_PRIORITY_LOW]) == {"high", "low"}
    unsaid = await found(priorities=[TASK_PRIORITY_UNSPECIFIED, TASK_PRIORITY_HIGH])
    assert unsaid == {*everything, "other"} - {"low"}
    assert await found(assigned_to=agent.id) == {"agent's"}
    assert await found(assigned_to_type=ASSIGNEE_TYPE_USER) == {"alice's"}
    assert await found(created_by=str(root.id)) == {"root's"}
    assert await found(created_by=str(root.id), priorities=[TASK_PRIORITY_LOW]) == set()


async def test_due_after_is_included_and_due_before_is_not(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for title, due in (("past", PAST), ("now", NOW), ("future", FUTURE), ("never", None)):
        await alice.task(project, title=title, due_date=due)
    assert set(await titles(alice, due_after=NOW)) == {"now", "future"}
    assert set(await titles(alice, due_before=NOW)) == {"past"}
    assert set(await titles(alice, due_after=NOW, due_before=FUTURE)) == {"now"}


async def test_overdue_is_what_is_late_and_not_ended(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for title in ("pending", "in_progress", "review", "blocked"):
        await alice.task(project, title=title, due_date=PAST)
    ended = ("completed", "failed", "cancelled")
    for title in ended:
        await alice.task(project, title=title, due_date=PAST)
    await world.execute("UPDATE tasks SET status = title")
    await alice.task(project, title="future", due_date=FUTURE)
    await alice.task(project, title="never")
    late = {"pending", "in_progress", "review", "blocked"}
    assert set(await titles(alice, overdue=True)) == late
    assert set(await titles(alice, overdue=False)) == {*ended, "future", "never"}


async def test_ready_is_what_waits_for_no_other_task(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    one = await completed(alice, project, title="one")
    two = await completed(alice, project, title="two", dependencies=[one.id])
    await alice.task(project, title="upon one", dependencies=[one.id])
    await alice.task(project, title="upon two", dependencies=[two.id])
    await alice.task(project, title="upon both", dependencies=[one.id, two.id])

    async def are(ready: bool) -> set[str]:
        return {*await titles(alice, ready=ready)}

    everything = {"one", "two", "upon one", "upon two", "upon both"}
    assert (await are(True), await are(False)) == (everything, set())
    await move(alice, two, TASK_STATUS_IN_PROGRESS)
    waiting = {"upon two", "upon both"}
    assert (await are(True), await are(False)) == (everything - waiting, waiting)
    # What a task depends on through others does not count.
    await move(alice, one, TASK_STATUS_IN_PROGRESS)
    assert await are(True) == {"one"}
    filters = {"ready": False, "statuses": [TASK_STATUS_IN_PROGRESS]}
    assert await titles(alice, **filters) == ["two"]
    for order_by in ("due_date", "priority desc", "updated_at"):
        assert {*await titles(alice, ready=False, order_by=order_by)} == everything - {"one"}


async def test_depends_on_finds_what_depends_on_a_task_directly(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project, other = await alice.project(), await alice.project()
    one = await completed(alice, project)
    agent = await alice.agent(project)
    assigned: dict[str, Any] = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    names = [f"upon one {number}" for number in range(7)]
    for name in names[:-1]:
        await alice.task(project, title=name, due_date=NOW, dependencies=[one.id])
    last = await alice.task(project, title=names[-1], dependencies=[one.id], **assigned)
    await world.execute("UPDATE tasks SET status = 'completed' WHERE id = $1", last.id)
    await alice.task(project, title="upon the last", dependencies=[last.id])
    upon = {"depends_on": one.id}
    assert await titles(alice, order_by="created_at", **upon) == names
    assert await titles(alice, **upon) == names[::-1]
    for order_by in ("updated_at", "due_date", "due_date desc", "priority", "priority desc"):
        assert sorted(await titles(alice, order_by=order_by, **upon)) == names
    assert await titles(alice, project_id=project.id, **upon) == names[::-1]
    assert await titles(alice, project_id=other.id, **upon) == []
    assert await titles(alice, statuses=[TASK_STATUS_COMPLETED], **upon) == names[-1:]
    assert await titles(alice, **upon, **assigned) == names[-1:]
    assert await titles(await alice.as_agent(agent), **upon) == names[-1:]
    assert await titles(alice, depends_on=str(uuid7())) == []
    assert await titles(bob, **upon) == []
    await world.member(project.id, bob, "viewer")
    assert await titles(bob, **upon) == names[::-1]
    assert (await listed(alice, include_total=True, **upon)).total_size == len(names)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("WRITE", {"Write tests", "rewrite"}),
        ("100%", {"100% done"}),
        ("%", {"100% done"}),
        ("_", {"snake_case"}),
        ("\\", {"back\\slash"}),
        ("äpfel", {"Äpfel"}),
        ("strasse", {"Große Straße"}),
        ("GROẞE", {"Große Straße"}),
        ("οδοσ", {"ΟΔΟΣ"}),
        ("οδος", {"ΟΔΟΣ"}),
        ("ΟΔΟΣ", {"ΟΔΟΣ"}),
        ("nowhere", set()),
    ],
)
async def test_a_part_of_the_title_is_taken_literally_but_for_case(
    world: World, part: str, expected: set[str]
) -> None:
    alice = await world.user()
    project = await alice.project()
    for title in TITLES:
        await alice.task(project, title=title)
    assert set(await titles(alice, title_contains=part)) == expected


async def test_a_total_is_counted_where_it_is_asked_for(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(4):
        await alice.task(project)
    page = await listed(alice, project_id=project.id, page_size=1, include_total=True)
    assert (len(page.tasks), page.total_size) == (1, 4)
    assert not (await listed(alice)).HasField("total_size")


async def test_who_sees_what(world: World) -> None:
    alice, bob, root = await world.user(), await world.user(), await world.user(superuser=True)
    project = await alice.project()
    await alice.task(project)
    await bob.task(await bob.project())
    assert len((await listed(alice)).tasks) == 1
    assert len((await listed(root)).tasks) == 2
    await refused(listed(bob, project_id=project.id), Reason.NOT_PROJECT_OWNER)
    await refused(listed(bob, project_id=project.id, page_size=-1), Reason.NOT_PROJECT_OWNER)
    await refused(listed(alice, project_id=str(uuid7())), Reason.PROJECT_NOT_FOUND)


async def test_a_token_fits_its_own_list_only(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(2):
        await alice.task(project, due_date=NOW)
    asked = {"page_size": 1, "order_by": "due_date", "due_before": FUTURE}
    token = (await listed(alice, **asked)).next_page_token
    for other in ({"order_by": "due_date desc"}, {"due_before": NOW}, {"overdue": True}):
        call = listed(alice, **{**asked, **other}, page_token=token)
        await refused(call, Reason.INVALID_PAGE_TOKEN)
    page = await listed(alice, **asked, page_token=token)
    assert (len(page.tasks), page.next_page_token) == (1, "")


async def test_bad_requests_are_refused(world: World) -> None:
    alice = await world.user()
    bad: dict[str, Any]
    for bad, field in (
        ({"page_size": -1}, "page_size"),
        ({"statuses": [TASK_STATUS_UNSPECIFIED]}, "statuses[0]"),
        ({"priorities": [99]}, "priorities[0]"),
        ({"assigned_to_type": 99}, "assigned_to_type"),
        ({"due_after": {"seconds": 10**12}}, "due_after"),
        ({"due_before": {"seconds": -(10**12)}}, "due_before"),
        ({"room_id": "x"}, "room_id"),
        ({"depends_on": "x"}, "depends_on"),
        ({"title_contains": "\0"}, "title_contains"),
    ):
        found = await refused(listed(alice, **bad), Reason.INVALID_FIELD)
        assert list(found.fields) == [field]
    await refused(listed(alice, order_by="title"), Reason.INVALID_ORDER_BY)


async def test_large_results_end_a_page_and_are_not_fetched_for_nothing(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await world.execute(
        "INSERT INTO tasks (id, project_id, title, result)"
        " SELECT gen_random_uuid(), $1, n::text, jsonb_build_object('t', repeat('x', 1000000))"
        " FROM generate_series(1, 120) n",
        project.id,
    )
    fetched = await world.value("SELECT count(*) FROM tasks")
    found: set[str] = set()
    token = ""
    pages = 0
    while True:
        page = await listed(alice, page_size=1000, page_token=token)
        assert 0 < len(page.tasks) <= 3
        found |= {task.title for task in page.tasks}
        pages += 1
        token = page.next_page_token
        if not token or pages == 5:
            break
    assert len(found) == 3 * pages < fetched


async def test_a_page_that_is_cut_for_nothing_has_a_next_one(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await world.execute(
        "INSERT INTO tasks (id, project_id, title, result)"
        # Long as JSON, where a page is cut, and short on the wire.
        " SELECT gen_random_uuid(), $1, n::text, jsonb_build_object('n',"
        " (SELECT jsonb_agg(0.1234567890123456) FROM generate_series(1, 4000)))"
        " FROM generate_series(1, 70) n",
        project.id,
    )
    first = await listed(alice, page_size=1000)
    assert 0 < len(first.tasks) < 70
    rest = await listed(alice, page_size=1000, page_token=first.next_page_token)
    assert len({task.id for task in [*first.tasks, *rest.tasks]}) == 70
    assert rest.next_page_token == ""


async def test_a_page_of_many_small_tasks_is_whole(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    await world.execute(
        "INSERT INTO tasks (id, project_id, title)"
        " SELECT gen_random_uuid(), $1, n::text FROM generate_series(1, 1100) n",
        project.id,
    )
    first = await listed(alice, page_size=1000)
    rest = await listed(alice, page_size=5000, page_token=first.next_page_token)
    assert (len(first.tasks), len(rest.tasks)) == (1000, 100)
    assert len({task.id for task in [*first.tasks, *rest.tasks]}) == 1100


MANY = """
INSERT INTO tasks (id, project_id, title, assigned_agent_id, created_at)
SELECT gen_random_uuid(), $1, 'Task', $2, now() - n * interval '1 second'
FROM generate_series(1, 10000) AS n
"""


async def test_an_agent_s_own_tasks_come_from_an_index_in_its_order(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agents = [await alice.agent(project) for _ in range(2)]
    for agent in agents:
        await world.execute(MANY, UUID(project.id), UUID(agent.id))
    await world.execute("ANALYZE tasks")
    newest = Order("created_at", descending=True)
    statement = LIST.page_statement(frozenset(), newest, continued=False, within=Reach.OWN)
    agent_id = UUID(agents[0].id)
    caller = {"caller_id": None, "caller_agent_id": agent_id}
    shown = await plan_of(world.database, statement, **caller, row_limit=51)
    # Merged from those with each status; the index of all projects has these, too.
    assert shown.count("idx_tasks_assigned_to on tasks") == 2, shown
    assert "idx_tasks_all" not in shown, shown
