"""ListEvents: pages of a log by number, filters, and where a log cannot be read on from."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from shared.auth import caller as callers
from shared.errors import Reason
from shared.resources.pagination import PAGE_BYTES
from tandem.agent.v1.project_service_pb2 import Project
from tandem.event.v1 import event_service_pb2 as pb
from task_service.events.queries import BATCH_SIZE, LOOKED_AT
from task_service.events.reading import Query, read_page
from tests.event_log import append
from tests.refusals import refused
from tests.world import Client, User, World

COMPACT = """
WITH moved AS (UPDATE event_heads SET first = $2 WHERE project_id = $1)
DELETE FROM events WHERE project_id = $1 AND sequence < $2
"""


async def log_of(world: World, n: int = 1, **columns: Any) -> tuple[User, Project]:
    """A user, and a project of the user's with `n` events in its log."""
    alice = await world.user()
    project = await alice.project()
    await clear(world, project)
    await add(world, project, n, **columns)
    return alice, project


async def clear(world: World, project: Project, last: int = 0) -> None:
    """Leave in the log what has these numbers, or nothing."""
    log = UUID(project.id), last
    await world.execute("DELETE FROM events WHERE project_id = $1 AND sequence > $2", *log)
    await world.execute("UPDATE event_heads SET last = $2 WHERE project_id = $1", *log)


async def add(world: World, project: Project, n: int = 1, **columns: Any) -> list[int]:
    """Append events to the log of a project; their numbers."""
    return await world.owner.read(lambda c: append(c, UUID(project.id), n, **columns))


async def page(user: Client, project: Project, **asked: Any) -> pb.ListEventsResponse:
    request = pb.ListEventsRequest(project_id=project.id, **asked)
    response: pb.ListEventsResponse = await user.events.ListEvents(request)
    return response


def numbers(response: pb.ListEventsResponse) -> list[int]:
    return [event.sequence for event in response.events]


async def test_events_are_listed_in_the_order_of_their_numbers(world: World) -> None:
    alice, project = await log_of(world, 3)
    await add(world, project, 4)
    first = await page(alice, project, page_size=5)
    assert numbers(first) == [1, 2, 3, 4, 5]
    assert [event.batch for event in first.events] == [1, 1, 1, 4, 4]
    assert (first.first_sequence, first.through_sequence, first.last_sequence) == (1, 5, 7)
    second = await page(alice, project, page_size=5, after_sequence=first.through_sequence)
    assert numbers(second) == [6, 7]
    assert second.through_sequence == second.last_sequence == 7
    assert first.log_id == second.log_id
    third = await page(alice, project, after_sequence=7, log_id=first.log_id)
    assert (numbers(third), third.through_sequence) == ([], 7)


async def test_a_page_has_50_events_if_nothing_else_is_said_and_1000_at_most(world: World) -> None:
    alice, project = await log_of(world, 1001)
    assert numbers(await page(alice, project)) == [*range(1, 51)]
    most = await page(alice, project, page_size=5000)
    assert numbers(most) == [*range(1, 1001)]
    assert most.through_sequence == 1000


async def test_an_event_says_who_changed_what_by_which_call(world: World) -> None:
    user_id, key_id, task_id = uuid4(), uuid4(), uuid4()
    alice, project = await log_of(
        world,
        type="task.completed",
        resource_id=task_id,
        revision=5,
        actor_type="agent",
        actor_id=user_id,
        api_key_id=key_id,
        method="tandem.task.v1.TaskService/UpdateTaskStatus",
        request_id="a request",
        after={"id": task_id, "status": "completed", "title": "Task"},
        before={"status": "pending"},
        changed=["result"],
    )
    event = (await page(alice, project)).events[0]
    assert event.type == pb.EVENT_TYPE_TASK_COMPLETED
    assert event.resource_type == pb.RESOURCE_TYPE_TASK
    assert (event.resource_id, event.revision) == (str(task_id), 5)
    assert event.actor == pb.Actor(
        type=pb.ACTOR_TYPE_AGENT, id=str(user_id), api_key_id=str(key_id)
    )
    assert event.method == "tandem.task.v1.TaskService/UpdateTaskStatus"
    assert event.request_id == "a request"
    assert list(event.changed_fields) == ["status", "result"]
    assert dict(event.before) == {"status": "TASK_STATUS_PENDING"}
    assert event.after.task.title == "Task"
    assert abs(event.at.ToDatetime(UTC) - datetime.now(UTC)) < timedelta(hours=1)


async def test_each_filter_leaves_out_the_rest(world: World) -> None:
    alice, project = await log_of(world)
    one, two, agent_id = uuid4(), uuid4(), uuid4()
    long_ago = datetime(2001, 1, 1, tzinfo=UTC)
    await add(world, project, resource_id=one, actor_id=two, type="task.created")
    await add(world, project, resource_id=agent_id, resource_type="agent", type="agent.created")
    await add(world, project, resource_id=one, at=long_ago)
    stamp = Timestamp(seconds=int(long_ago.timestamp()))
    later = Timestamp(seconds=stamp.seconds + 1)
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"resource_id": str(one)}, [2, 4]),
        ({"actor_id": str(two)}, [2]),
        ({"types": [pb.EVENT_TYPE_TASK_CREATED, pb.EVENT_TYPE_AGENT_CREATED]}, [2, 3]),
        ({"resource_types": [pb.RESOURCE_TYPE_AGENT, pb.RESOURCE_TYPE_ROOM]}, [3]),
        ({"at_after": stamp, "at_before": later}, [4]),
        ({"at_before": stamp}, []),
        ({"at_after": later}, [1, 2, 3]),
        ({"resource_id": str(one), "types": [pb.EVENT_TYPE_TASK_CREATED]}, [2]),
        ({"resource_id": str(two)}, []),
    ]
    for filters, matching in cases:
        found = await page(alice, project, **filters)
        assert numbers(found) == matching, filters
        assert found.through_sequence == 4
        continued = await page(alice, project, after_sequence=2, **filters)
        assert numbers(continued) == [number for number in matching if number > 2], filters


async def test_a_page_may_have_nothing_although_more_follows(world: World) -> None:
    alice, project = await log_of(world, LOOKED_AT + 10)
    rare = uuid4()
    await add(world, project, resource_id=rare, actor_id=rare)
    first = await page(alice, project, actor_id=str(rare))
    assert (numbers(first), first.through_sequence) == ([], LOOKED_AT)
    assert first.last_sequence == LOOKED_AT + 11
    second = await page(alice, project, actor_id=str(rare), after_sequence=LOOKED_AT)
    assert numbers(second) == [LOOKED_AT + 11]
    by_index = await page(alice, project, resource_id=str(rare))
    assert numbers(by_index) == [LOOKED_AT + 11]


async def test_of_one_resource_no_more_events_are_looked_at(world: World) -> None:
    one, rare = uuid4(), uuid4()
    alice, project = await log_of(world, LOOKED_AT, resource_id=one)
    await add(world, project, 5)
    await add(world, project, 3, resource_id=one, actor_id=rare)
    asked: dict[str, Any] = {"resource_id": str(one), "actor_id": str(rare)}
    first = await page(alice, project, **asked)
    assert (numbers(first), first.through_sequence) == ([], LOOKED_AT)
    second = await page(alice, project, **asked, after_sequence=LOOKED_AT)
    assert numbers(second) == [LOOKED_AT + 6, LOOKED_AT + 7, LOOKED_AT + 8]
    assert second.through_sequence == LOOKED_AT + 8


async def test_a_page_ends_before_it_is_larger_than_a_message(world: World) -> None:
    large = {"dependencies": [str(uuid4()) for _ in range(1000)], "status": "pending"}
    alice, project = await log_of(world, 200, after=large)
    seen: list[int] = []
    pages = 0
    while len(seen) < 200:
        found = await page(alice, project, page_size=1000, after_sequence=len(seen))
        assert found.ByteSize() <= PAGE_BYTES
        assert found.through_sequence == numbers(found)[-1]
        seen += numbers(found)
        pages += 1
    assert seen == [*range(1, 201)]
    assert 2 <= pages <= 4


async def test_what_is_compacted_is_refused_and_never_left_out(world: World) -> None:
    alice, project = await log_of(world, 10)
    await world.execute(COMPACT, UUID(project.id), 6)
    found = await refused(page(alice, project, after_sequence=4), Reason.EVENTS_COMPACTED)
    assert found.metadata == {"first_sequence": "6"}
    for after in (0, 5):
        left = await page(alice, project, after_sequence=after)
        assert numbers(left) == [6, 7, 8, 9, 10]
        assert left.first_sequence == 6


async def test_a_log_without_events_says_what_comes_next(world: World) -> None:
    alice, project = await log_of(world, 10)
    await world.execute(COMPACT, UUID(project.id), 11)
    for after in (0, 10):
        empty = await page(alice, project, after_sequence=after)
        assert (empty.first_sequence, empty.through_sequence, empty.last_sequence) == (11, 10, 10)
    await refused(page(alice, project, after_sequence=9), Reason.EVENTS_COMPACTED)


@pytest.mark.parametrize("after", [11, LOOKED_AT, 2**63 - 1])
async def test_a_number_that_is_still_to_come_is_refused(world: World, after: int) -> None:
    alice, project = await log_of(world, 10)
    log_id = (await page(alice, project)).log_id
    found = await refused(page(alice, project, after_sequence=after), Reason.LOG_REWOUND)
    assert found.metadata == {"last_sequence": "10", "log_id": log_id}


async def test_a_number_of_another_log_is_refused(world: World) -> None:
    alice, project = await log_of(world, 10)
    log_id = (await page(alice, project)).log_id
    another = str(uuid4())
    found = await refused(
        page(alice, project, after_sequence=5, log_id=another), Reason.LOG_REWOUND
    )
    assert found.metadata == {"last_sequence": "10", "log_id": log_id}


async def test_no_more_is_read_than_a_page_takes(world: World) -> None:
    alice, project = await log_of(world, 100, after={"title": "\U0001f600" * 19_750})
    caller = callers.User(alice.id, "name", "email", None, is_superuser=False)
    through, read = 0, 0
    while through < 100:
        query = Query({}, through, None, 1000)
        found = await world.database.read(
            lambda c, q=query: read_page(c, caller, UUID(project.id), q)  # type: ignore[misc]
        )
        assert sum(len(row["after"]) for row in found.rows) < PAGE_BYTES + 80_000
        assert [row["sequence"] for row in found.rows] == [*range(through + 1, found.through + 1)]
        through, read = found.through, read + len(found.rows)
    assert read == 100


class Interrupted:
    """A connection, between whose statements something happens once."""

    def __init__(self, connection: Any, happens: Callable[[], Any]) -> None:
        self._connection = connection
        self._happens: Callable[[], Any] | None = happens

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        found = await self._connection.fetch(sql, *arguments)
        if self._happens:
            happens, self._happens = self._happens, None
            await happens()
        return found


@pytest.mark.parametrize(
    "between",
    [
        "UPDATE event_heads SET log_id = gen_random_uuid() WHERE project_id = $1",
        "WITH moved AS (UPDATE event_heads SET first = 400 WHERE project_id = $1)"
        " DELETE FROM events WHERE project_id = $1 AND sequence < 400",
    ],
)
async def test_a_page_ends_where_the_log_is_gone_meanwhile(world: World, between: str) -> None:
    alice, project = await log_of(world, 1000)
    caller = callers.User(alice.id, "name", "email", None, is_superuser=False)

    async def unit_of_work(connection: Any) -> list[int]:
        interrupted: Any = Interrupted(connection, lambda: world.execute(between, UUID(project.id)))
        found = await read_page(interrupted, caller, UUID(project.id), Query({}, 0, None, 1000))
        assert found.through == BATCH_SIZE
        return [row["sequence"] for row in found.rows]

    assert await world.database.read(unit_of_work) == [*range(1, BATCH_SIZE + 1)]
