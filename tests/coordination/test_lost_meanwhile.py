"""A task comes to wait while a dependency is lost or retried: it says and becomes what follows.

The order of the two is a matter of chance; what is left is not.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

import pytest
from google.protobuf.duration_pb2 import Duration

from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1 import task_service_pb2 as pb
from tests.coordination.invariants import broken
from tests.coordination.test_interleavings import (
    EXPIRE,
    ROW,
    Case,
    Step,
    in_turn,
    one_after_the_other,
)
from tests.task_service.dependents.waits import moved, waiting
from tests.world import User, World

# What becomes of a task if what it waits for is lost, and of the one that waits for it.
KEEP = pb.ON_DEPENDENCY_FAILURE_KEEP_BLOCKED
ENDS = {
    KEEP: [("blocked", "dependency_failed")],
    pb.ON_DEPENDENCY_FAILURE_CANCEL: [("cancelled", "dependency_failed")] * 2,
}
Make: TypeAlias = Callable[[World, User, Project, Any], Awaitable["Waits"]]


@dataclass
class Waits(Case):
    """A task that waits for `upon` or may, and one that waits for the task, if it is to end."""

    upon: pb.Task
    below: pb.Task | None

    @classmethod
    async def free_to_be_claimed(
        cls, world: World, owner: User, project: Project, policy: Any
    ) -> "Waits":
        """Its dependency is completed."""
        upon = await owner.task(project)
        task = await waiting(owner, project, upon, on_dependency_failure=policy)
        below = None
        if policy != KEEP:  # else a statement could do it alone
            below = await waiting(owner, project, task, on_dependency_failure=policy)
        await moved(owner, upon, "completed")
        agent, other = await owner.agent(project), await owner.agent(project)
        return cls(world, owner, project, task, agent, other, upon, below)

    @classmethod
    async def begun(cls, world: World, owner: User, project: Project, policy: Any) -> "Waits":
        """An agent has begun with it when its dependency was reopened."""
        case = await cls.free_to_be_claimed(world, owner, project, policy)
        await case.claim()
        await case.reopen()
        return case

    @classmethod
    async def expired(cls, world: World, owner: User, project: Project, policy: Any) -> "Waits":
        """The same, and the lease has expired."""
        case = await cls.begun(world, owner, project, policy)
        await world.execute(EXPIRE, UUID(case.task.id))
        return case

    @classmethod
    async def asked(cls, world: World, owner: User, project: Project, policy: Any) -> "Waits":
        """The same, and the agent has asked for input."""
        case = await cls.begun(world, owner, project, policy)
        await case.ask()
        return case

    @classmethod
    async def cancelled(cls, world: World, owner: User, project: Project, policy: Any) -> "Waits":
        """It was cancelled, and its dependency is not completed."""
        case = await cls.free_to_be_claimed(world, owner, project, policy)
        await case.reopen()
        await case.cancel()
        return case

    @classmethod
    async def moved_on(cls, world: World, owner: User, project: Project, policy: Any) -> "Waits":
        """An assignee works on it without a lease, and its dependency was reopened."""
        case = await cls.free_to_be_claimed(world, owner, project, policy)
        await case.assign(case.agent)
        await moved(owner, case.task, "in_progress")
        await case.reopen()
        return case

    async def assign(self, agent: Any) -> None:
        request = pb.AssignTaskRequest(
            task_id=self.task.id, assigned_to=agent.id, assigned_to_type=pb.ASSIGNEE_TYPE_AGENT
        )
        await self.owner.tasks.AssignTask(request)

    async def reopen(self) -> None:
        await moved(self.owner, self.upon, "in_progress")

    async def lose(self) -> None:
        await moved(self.owner, self.upon, "failed")

    async def cancel_upon(self) -> None:
        now = Duration()
        await self.owner.tasks.CancelTask(pb.CancelTaskRequest(task_id=self.upon.id, grace=now))

    async def retry_upon(self) -> None:
        await self.owner.tasks.RetryTask(pb.RetryTaskRequest(task_id=self.upon.id))

    async def fail_for_now(self) -> None:
        request = pb.FailTaskRequest(**self.lease, retryable=True)
        await self.owner.tasks.FailTask(request)

    async def answer(self) -> None:
        request = pb.AnswerInputRequest(task_id=self.task.id, key="which")
        request.answer["it"] = "this"
        await self.owner.tasks.AnswerInput(request)

    async def retry(self) -> None:
        await self.owner.tasks.RetryTask(pb.RetryTaskRequest(task_id=self.task.id))

    async def left(self) -> Any:
        """What is left of both."""
        rows, below = [await super().left()], self.below
        if below is None:
            return rows
        found = await self.world.owner.read(lambda c: c.fetchrow(ROW, UUID(below.id)))
        return [*rows, found and tuple(found)]


COMES_TO_WAIT: list[tuple[Make, Any]] = [
    (Waits.begun, Case.release),
    (Waits.begun, Waits.fail_for_now),
    (Waits.begun, Case.split),
    (Waits.begun, Case.assign_to_other),
    (Waits.begun, Case.unassign),
    (Waits.begun, Case.deactivate),
    (Waits.begun, Case.delete_agent),
    (Waits.moved_on, Case.deactivate),
    (Waits.moved_on, Case.delete_agent),
    (Waits.expired, Case.sweep),
    (Waits.asked, Waits.answer),
    (Waits.cancelled, Waits.retry),
]


async def _met(
    world: World, make: Make, policy: Any, first: Any, second: Any, *before: Any
) -> tuple[Any, Any, list[str]]:
    """What two calls leave that meet, what they leave otherwise, and what does not hold."""
    owner = await world.user()
    project = await owner.project()
    found = []
    for meet in (in_turn, one_after_the_other):
        case = await make(world, owner, project, policy)
        for step in before:
            await step(case)
        found.append((await meet(case, first, second), await case.left()))
    bad = await world.owner.read(lambda c: broken(c, project.id))
    return found[0], found[1], bad


@pytest.mark.parametrize("policy", ENDS)
@pytest.mark.parametrize(("make", "step"), COMES_TO_WAIT)
async def test_a_task_comes_to_wait_while_its_dependency_is_lost(
    world: World, make: Make, step: Step, policy: Any
) -> None:
    for first, second in ((step, Waits.cancel_upon), (Waits.lose, step)):
        found, expected, bad = await _met(world, make, policy, first, second)
        assert (found, bad) == (expected, []), (first, second)
        states = [row[:2] for row in found[1]]
        assert states == ENDS[policy], (first, second)


@pytest.mark.parametrize("policy", ENDS)
@pytest.mark.parametrize(("make", "step"), COMES_TO_WAIT)
async def test_a_task_comes_to_wait_while_its_dependency_is_retried(
    world: World, make: Make, step: Step, policy: Any
) -> None:
    for first, second in ((step, Waits.retry_upon), (Waits.retry_upon, step)):
        found, expected, bad = await _met(world, make, policy, first, second, Waits.lose)
        assert (found, bad) == (expected, []), (first, second)


async def test_a_task_that_is_retried_after_what_it_was_lost_with_only_waits(world: World) -> None:
    owner = await world.user()
    project = await owner.project()
    policy = pb.ON_DEPENDENCY_FAILURE_CANCEL
    case = await Waits.free_to_be_claimed(world, owner, project, policy)
    for step in (Waits.reopen, Waits.lose, Waits.retry_upon, Waits.retry):
        await step(case)
    assert (await case.left())[0][:2] == ("blocked", "dependencies")
    assert await world.owner.read(lambda c: broken(c, project.id)) == []


@pytest.mark.parametrize("policy", ENDS)
async def test_what_was_lost_meanwhile_counts_when_the_answer_comes(
    world: World, policy: Any
) -> None:
    owner = await world.user()
    project = await owner.project()
    case = await Waits.begun(world, owner, project, policy)
    for step in (Waits.lose, Waits.ask, Waits.answer):
        await step(case)
    assert [row[:2] for row in await case.left()] == ENDS[policy]
    assert await world.owner.read(lambda c: broken(c, project.id)) == []
