"""SplitTask."""

from typing import Any
from uuid import UUID

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ON_DEPENDENCY_FAILURE_FAIL,
    ClaimTasksRequest,
    NewTask,
    SplitTaskRequest,
    SplitTaskResponse,
    Task,
)
from tests.refusals import refused
from tests.task_service.dependents.waits import events_of, moved, now, state, waiting
from tests.task_service.graph.test_batch import new
from tests.task_service.steps import completed
from tests.task_service.tasks.test_edges import add
from tests.world import Client, World

ROW = "SELECT preferred_until {} FROM tasks WHERE id = $1"


class Stage:
    """A project with an agent, which may claim tasks."""

    def __init__(self, alice: Client, project: Any, agent: Any, worker: Client) -> None:
        self.alice, self.project, self.agent, self.worker = alice, project, agent, worker

    @classmethod
    async def set(cls, world: World) -> "Stage":
        alice = await world.user()
        project = await alice.project()
        agent = await alice.agent(project)
        return cls(alice, project, agent, await alice.as_agent(agent))

    async def claimed(self, *tasks: Task) -> int:
        """The fencing token of a task that the agent holds."""
        request = ClaimTasksRequest(
            project_id=self.project.id,
            agent_id=self.agent.id,
            task_ids=[task.id for task in tasks],
        )
        (claimed,) = (await self.alice.tasks.ClaimTasks(request)).tasks
        fence: int = claimed.lease.fencing_token
        return fence

    async def split(
        self, client: Client, task: Task, fence: int, *parts: NewTask
    ) -> SplitTaskResponse:
        request = SplitTaskRequest(task_id=task.id, fencing_token=fence, tasks=parts)
        found: SplitTaskResponse = await client.tasks.SplitTask(request)
        return found


async def test_a_task_waits_for_its_parts(world: World) -> None:
    stage = await Stage.set(world)
    done = await completed(stage.alice, stage.project)
    task = await stage.alice.task(stage.project, dependencies=[done.id])
    fence = await stage.claimed(task)
    answer = await stage.split(stage.alice, task, fence, new("a"), new("b", "a", parent_ref="a"))
    a, b = answer.parts
    assert answer.task == await now(stage.alice, task)
    assert [a, b] == [await now(stage.alice, part) for part in (a, b)]
    assert (a.parent_id, b.parent_id) == (task.id, a.id)
    assert list(answer.task.dependencies) == [done.id, a.id, b.id]
    assert await state(stage.alice, task) == ("BLOCKED", "DEPENDENCIES", 2)
    assert (answer.task.leased, answer.task.attempt) == (False, 0)
    assert await world.value("SELECT count(*) FROM task_leases") == 0
    outcome = "SELECT outcome FROM task_attempts WHERE task_id = $1"
    assert await world.value(outcome, UUID(task.id)) == "split"
    assert await world.value(ROW.format("= 'infinity'"), UUID(task.id)) is True
    await moved(stage.alice, a, "completed")
    await moved(stage.alice, b, "completed")
    assert await state(stage.alice, task) == ("PENDING", "", 0)
    assert await world.value(ROW.format("- now() > '9 min'"), UUID(task.id)) is True
    assert (await now(stage.alice, task)).assigned_to == stage.agent.id
    assert (await events_of(world, task))[-2:] == ["task.updated", "task.unblocked"]
    assert await stage.claimed(task) > fence


async def test_an_agent_that_was_assigned_the_task_keeps_it(world: World) -> None:
    stage = await Stage.set(world)
    task = await stage.alice.task(
        stage.project, assigned_to=stage.agent.id, assigned_to_type="ASSIGNEE_TYPE_AGENT"
    )
    fence = await stage.claimed(task)
    (part,) = (await stage.split(stage.alice, task, fence, new())).parts
    await moved(stage.alice, part, "completed")
    assert await world.value(ROW.format(""), UUID(task.id)) is None
    assert (await now(stage.alice, task)).assigned_to == stage.agent.id


async def test_only_who_holds_a_task_splits_it(world: World) -> None:
    stage = await Stage.set(world)
    task = await stage.alice.task(stage.project)
    count = "SELECT count(*) FROM tasks"
    await refused(stage.split(stage.alice, task, 1, new()), Reason.LEASE_LOST)
    fence = await stage.claimed(task)
    await refused(stage.split(stage.alice, task, fence + 1, new()), Reason.LEASE_LOST)
    neighbour = await stage.alice.as_agent(await stage.alice.agent(stage.project))
    found = await refused(stage.split(neighbour, task, fence, new()), Reason.LEASE_LOST)
    assert found.metadata == {"task_id": task.id}
    assert await world.value(count) == 1
    (part,) = (await stage.split(stage.worker, task, fence, new())).parts
    assert part.created_by_agent_id == stage.agent.id
    found = await refused(stage.split(stage.worker, task, fence, new()), Reason.LEASE_LOST)
    assert found.metadata["outcome"] == "ATTEMPT_OUTCOME_SPLIT"
    assert await world.value(count) == 2


async def test_a_part_cannot_wait_for_what_it_is_a_part_of(world: World) -> None:
    stage = await Stage.set(world)
    task = await stage.alice.task(stage.project)
    above = await waiting(stage.alice, stage.project, task)
    fence = await stage.claimed(task)
    for upon in (task, above):
        fields: dict[str, Any] = {"dependencies": [upon.id], "dependency_policy": 2}
        call = stage.split(stage.alice, task, fence, new("a", **fields))
        await refused(call, Reason.DEPENDENCY_CYCLE)
    other = await stage.alice.task(await stage.alice.project())
    for wrong in ({"parent_id": above.id}, {"project_id": other.project_id}):
        call = stage.split(stage.alice, task, fence, new("a", **wrong))
        found = await refused(call, Reason.INVALID_FIELD)
        assert list(found.fields) == [f"tasks[0].task.{next(iter(wrong))}"]
    assert (await now(stage.alice, task)).leased


async def test_a_task_fails_with_its_parts_if_it_is_to(world: World) -> None:
    stage = await Stage.set(world)
    task = await stage.alice.task(stage.project, on_dependency_failure=ON_DEPENDENCY_FAILURE_FAIL)
    above = await waiting(stage.alice, stage.project, task)
    fence = await stage.claimed(task)
    (part,) = (await stage.split(stage.alice, task, fence, new())).parts
    await moved(stage.alice, part, "failed")
    assert await state(stage.alice, task) == ("FAILED", "DEPENDENCY_FAILED", 1)
    assert await state(stage.alice, above) == ("BLOCKED", "DEPENDENCY_FAILED", 1)
    # It was only preferred.
    assert (await now(stage.alice, task)).assigned_to == ""
    assert await add(stage.alice, above, part)
