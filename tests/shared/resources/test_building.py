"""Messages are built in steps, between which other calls go on."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.struct_pb2 import Struct

from shared.resources import building
from shared.resources.batch import build_batch
from shared.resources.building import (
    COUNTED_BYTES,
    LARGE_VALUES,
    MANY_BYTES,
    MANY_VALUES,
    build,
    build_all,
)
from shared.resources.pagination import Listing, Order, Page, Pager, Query
from shared.resources.struct_json import to_struct
from tandem.agent.v1.agent_service_pb2 import Agent, GetAgentRequest, UpdateAgentRequest
from tandem.agent.v1.project_service_pb2 import GetProjectRequest, Project, UpdateProjectRequest
from tandem.task.v1.task_service_pb2 import GetTaskRequest, Task, UpdateTaskRequest
from tests.turns import Turns
from tests.world import World


class Threads(ThreadPoolExecutor):
    """Counts what is done in threads."""

    used = 0

    def submit(self, *arguments: Any, **named: Any) -> Any:
        self.used += 1
        return super().submit(*arguments, **named)


@contextmanager
def counted_threads() -> Iterator[Threads]:
    loop, threads = asyncio.get_running_loop(), Threads(1)
    loop.set_default_executor(threads)
    yield threads
    loop.set_default_executor(ThreadPoolExecutor())
    threads.shutdown()


def zeros(count: int) -> bytes:
    """JSON with so many values and an object and a list around them."""
    return b'{"a":[' + b",".join([b"0"] * count) + b"]}"


def task(row: Any) -> Task:
    return Task(title=row["title"], result=row["result"] and to_struct(row["result"]))


@pytest.fixture(params=[0.0, 1000.0], ids=["long", "short"])
def seconds(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """A turn that is over at once, or never; pauses are short in any case."""
    seconds: float = request.param
    monkeypatch.setattr(building, "TURN_SECONDS", seconds)
    return seconds


async def test_others_have_a_turn_between_rows_that_take_long(seconds: float) -> None:
    turns, seen = Turns(), []
    await asyncio.sleep(0)
    rows = [{"title": f"{number}", "result": None} for number in range(5)]
    async for _built, _size in build_all(rows, task):
        seen.append(turns.taken)
    await turns.end()
    assert len(set(seen)) == (1 if seconds else 5), seen


@pytest.mark.parametrize(
    ("text", "steps", "threads"),
    [
        (zeros(MANY_VALUES - 2), 0, 0),
        (zeros(MANY_VALUES + 1), 2, 0),
        (b'{"a":"' + b"x" * MANY_BYTES + b'"}', 3, 0),
        (b'{"a":"' + b"x" * COUNTED_BYTES + b'"}', 4, 0),
        (zeros(LARGE_VALUES - 2), 2, 0),
        (zeros(LARGE_VALUES + 1), 1, 1),
    ],
    ids=["small", "many values", "many bytes", "more bytes", "no thread", "thread"],
)
async def test_large_json_is_read_in_a_step_of_its_own(
    text: bytes, steps: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "TURN_SECONDS", 0)
    turns = Turns()
    await asyncio.sleep(0)
    before = turns.taken
    with counted_threads() as counted:
        built = await build({"title": "x", "result": text}, task)
    await turns.end()
    assert built == task({"title": "x", "result": text})
    # While a thread works, there are any number.
    assert turns.taken - before == steps or threads
    assert counted.used == threads


@pytest.mark.parametrize(("values", "is_copied_later"), [(10, False), (LARGE_VALUES + 1, True)])
async def test_a_large_message_is_copied_in_another_step_than_it_is_built(
    values: int, is_copied_later: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building, "TURN_SECONDS", 0)
    turns, when = Turns(), 0
    await asyncio.sleep(0)

    def built(row: Any) -> Task:
        nonlocal when
        when = turns.taken
        return task(row)

    await build({"title": "x", "result": zeros(values)}, built)
    assert (turns.taken > when) == is_copied_later
    await turns.end()


class Kept(list[Task]):
    """A field that notes what is appended to it."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self.events = events

    def append(self, message: Task, /) -> None:
        self.events.append("kept")
        super().append(message)


@pytest.mark.parametrize("is_page", [True, False])
async def test_each_message_is_copied_to_the_response_as_soon_as_it_is_built(
    is_page: bool,
) -> None:
    events: list[str] = []
    rows: Any = [{"id": uuid4(), "page_key": 1, "title": "x", "result": None}] * 3

    def built(row: Any) -> Task:
        events.append("built")
        return task(row)

    kept = Kept(events)
    if is_page:
        page = Page("list", 10, Order("title", False), None, include_total=False)
        found = Listing(Query({}, page), rows, None, truncated=False)
        assert await Pager(b"key").fit(found, built, kept) == ""
    else:
        await build_batch(rows, built, kept)
    assert events == ["built", "kept"] * 3


OLD = {
    "tasks": "UPDATE tasks SET result = $1::text::jsonb",
    "agents": "UPDATE agents SET config = $1::text::jsonb",
    "projects": "UPDATE projects SET settings = $1::text::jsonb",
}


async def test_every_call_that_answers_an_older_row_reads_it_in_a_thread(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent, one = await alice.agent(project), await alice.task(project)
    for statement in OLD.values():
        await world.execute(statement, zeros(LARGE_VALUES + 1).decode())
    calls: list[Callable[[], Any]] = [
        lambda: alice.tasks.GetTask(GetTaskRequest(task_id=one.id)),
        lambda: alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)),
        lambda: alice.projects.GetProject(GetProjectRequest(project_id=project.id)),
        lambda: alice.tasks.UpdateTask(UpdateTaskRequest(task=Task(id=one.id, title="x"))),
        lambda: alice.tasks.UpdateTask(
            UpdateTaskRequest(task=Task(id=one.id, title="y"), request_id=str(uuid4()))
        ),
        lambda: alice.agents.UpdateAgent(UpdateAgentRequest(agent=Agent(id=agent.id, name="x"))),
        lambda: alice.projects.UpdateProject(
            UpdateProjectRequest(project=Project(id=project.id, name="x"))
        ),
    ]
    with counted_threads() as threads:
        for number, call in enumerate(calls, start=1):
            found = await call()
            (content,) = (
                value
                for field, value in found.ListFields()
                if field.message_type is Struct.DESCRIPTOR
            )
            assert len(content["a"]) == LARGE_VALUES + 1
            assert threads.used == number
