"""Batches are read in steps, and what is wrong in one task is named with its index."""

import asyncio
from typing import Any

import pytest

from shared.errors import Reason
from shared.resources import building
from tandem.task.v1.task_service_pb2 import BatchCreateTasksRequest, NewTask, Task
from task_service.graph.messages import batch
from tests.refusals import refused
from tests.turns import Turns
from tests.world import World

ID = "00000000-0000-0000-0000-000000000000"


def number_of(tasks: int) -> list[NewTask]:
    return [NewTask(task=Task(title=f"Task {number}")) for number in range(tasks)]


async def test_others_have_a_turn_between_the_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "TURN_SECONDS", 0.0)
    turns = Turns()
    await asyncio.sleep(0)
    before = turns.taken
    await batch(BatchCreateTasksRequest(project_id=ID, tasks=number_of(20)))
    assert turns.taken - before >= 20
    await turns.end()


deep: Any = {"a": []}
for _ in range(30):
    deep = {"a": deep}


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (NewTask(task=Task(title="Task"), ref="x" * 101), "tasks[17].ref"),
        (NewTask(task=Task(title="Task"), parent_ref="\0"), "tasks[17].parent_ref"),
        (
            NewTask(task=Task(title="Task"), depends_on_refs=["a", ""]),
            "tasks[17].depends_on_refs[1]",
        ),
        (NewTask(task=Task(title="Task"), depends_on_refs=["a", "a"]), "tasks[17].depends_on_refs"),
        (NewTask(task=Task(title="Task", result=deep)), "tasks[17].task.result"),
        (NewTask(task=Task(title="\0")), "tasks[17].task.title"),
        (NewTask(), "tasks[17].task.title"),
    ],
)
async def test_what_is_wrong_in_one_is_named_with_its_index(
    world: World, wrong: NewTask, path: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    request = BatchCreateTasksRequest(project_id=project.id, tasks=[*number_of(17), wrong])
    found = await refused(alice.tasks.BatchCreateTasks(request), Reason.INVALID_FIELD)
    assert list(found.fields) == [path]
    assert found.message.startswith(f"{path} ")
    assert await world.value("SELECT count(*) FROM tasks") == 0


@pytest.mark.parametrize("number", [0, 1001])
async def test_how_many_there_are_is_looked_at_first(world: World, number: int) -> None:
    alice = await world.user()
    project = await alice.project()
    request = BatchCreateTasksRequest(project_id=project.id, tasks=[NewTask()] * number)
    found = await refused(alice.tasks.BatchCreateTasks(request), Reason.INVALID_FIELD)
    assert list(found.fields) == ["tasks"]
