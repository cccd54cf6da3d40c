"""Two calls about one task meet: what is left is what is left if one comes after the other.

The first has every lock that it takes, and waits for the head of the log; then comes the second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest, UpdateAgentRequest
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1 import task_service_pb2 as pb
from task_service.sweep.rules import sweep
from tests.coordination.invariants import broken
from tests.locks import WAITING
from tests.refusals import outcome
from tests.task_service.steps import assign, move, unassign
from tests.waiting import until
from tests.world import User, World

HEAD = "SELECT FROM event_heads WHERE project_id = $1 FOR UPDATE"
SILENCE = 90.0
EXPIRE = "UPDATE task_leases SET expires_at = now() - interval '1 second' WHERE task_id = $1"
ROW = """
SELECT t.status, t.status_reason, t.leased, t.fence, t.attempt, t.releases,
    t.assigned_agent_id IS NULL AS unassigned, t.cancel_requested_at IS NULL AS goes_on,
    (SELECT array_agg(a.outcome ORDER BY a.fence) FROM task_attempts a WHERE a.task_id = t.id)
FROM tasks t WHERE t.id = $1
"""


@dataclass
class Case:
    """A task, the agent that holds it or may, and another agent."""

    world: World
    owner: User
    project: Project
    task: pb.Task
    agent: Agent
    other: Agent

    @classmethod
    async def held(cls, world: World, owner: User, project: Project) -> "Case":
        """The agent holds the task by a lease that has expired, though no sweep has seen it."""
        case = await cls.free(world, owner, project)
        await case.claim()
        await world.execute(EXPIRE, UUID(case.task.id))
        return case

    @classmethod
    async def free(cls, world: World, owner: User, project: Project) -> "Case":
        """The task can be claimed."""
        agent, other = await owner.agent(project), await owner.agent(project)
        return cls(world, owner, project, await owner.task(project), agent, other)

    @property
    def lease(self) -> dict[str, Any]:
        return {"task_id": self.task.id, "fencing_token": 1}

    async def claim(self) -> None:
        await self._claim(self.agent)

    async def claim_by_other(self) -> None:
        await self._claim(self.other)

    async def _claim(self, agent: Agent) -> None:
        request = pb.ClaimTasksRequest(
            project_id=self.project.id, agent_id=agent.id, task_ids=[self.task.id]
        )
        await self.owner.tasks.ClaimTasks(request)

    async def heartbeat(self) -> None:
        ids = {"project_id": self.project.id, "agent_id": self.agent.id}
        beat = pb.HeartbeatTasksRequest(**ids, heartbeats=[pb.Heartbeat(**self.lease)])
        await self.owner.tasks.HeartbeatTasks(beat)

    async def complete(self) -> None:
        await self.owner.tasks.CompleteTask(pb.CompleteTaskRequest(**self.lease))

    async def fail(self) -> None:
        await self.owner.tasks.FailTask(pb.FailTaskRequest(**self.lease))

    async def release(self) -> None:
        await self.owner.tasks.ReleaseTask(pb.ReleaseTaskRequest(**self.lease))

    async def ask(self) -> None:
        question = pb.Input(key="which", prompt="Which?")
        await self.owner.tasks.RequestInput(pb.RequestInputRequest(**self.lease, input=question))

    async def split(self) -> None:
        parts = [pb.NewTask(task=pb.Task(title="Part"))]
        await self.owner.tasks.SplitTask(pb.SplitTaskRequest(**self.lease, tasks=parts))

    async def sweep(self) -> None:
        await sweep(self.world.database, SILENCE)

    async def assign_to_other(self) -> None:
        await assign(self.owner, self.task, self.other.id)

    async def unassign(self) -> None:
        await unassign(self.owner, self.task)

    async def delete(self) -> None:
        await self.owner.tasks.DeleteTask(pb.DeleteTaskRequest(task_id=self.task.id))

    async def deactivate(self) -> None:
        agent, mask = Agent(id=self.agent.id, is_active=False), FieldMask(paths=["is_active"])
        request = UpdateAgentRequest(agent=agent, update_mask=mask)
        await self.owner.agents.UpdateAgent(request)

    async def delete_agent(self) -> None:
        await self.owner.agents.DeleteAgent(DeleteAgentRequest(agent_id=self.agent.id))

    async def cancel(self) -> None:
        now = Duration()
        await self.owner.tasks.CancelTask(pb.CancelTaskRequest(task_id=self.task.id, grace=now))

    async def ask_to_stop(self) -> None:
        await self.owner.tasks.CancelTask(pb.CancelTaskRequest(task_id=self.task.id))

    async def move_on(self) -> None:
        await move(self.owner, self.task, pb.TASK_STATUS_REVIEW)

    async def block(self) -> None:
        await move(self.owner, self.task, pb.TASK_STATUS_BLOCKED)

    async def left(self) -> Any:
        """What is left of the task when everything that is due was done."""
        await self.sweep()
        row = await self.world.owner.read(lambda c: c.fetchrow(ROW, UUID(self.task.id)))
        return row and tuple(row)


Step: TypeAlias = Callable[[Case], Awaitable[None]]
# Under the lease, by time, and by others.
UNDER_LEASE = (Case.complete, Case.fail, Case.release, Case.split, Case.heartbeat)
OF_OTHERS = (
    Case.sweep,
    Case.assign_to_other,
    Case.unassign,
    Case.delete,
    Case.deactivate,
    Case.delete_agent,
    Case.cancel,
    Case.ask_to_stop,
    Case.move_on,
)
TO_FREE = (
    Case.assign_to_other,
    Case.delete,
    Case.deactivate,
    Case.delete_agent,
    Case.cancel,
    Case.block,
    Case.claim_by_other,
    Case.claim,
)


async def in_turn(case: Case, first: Step, second: Step) -> tuple[str, str]:
    """The outcomes of two calls, of which the second begins when the first has its locks."""
    connection = await asyncpg.connect(case.world.url)
    try:
        async with connection.transaction():
            await connection.execute(HEAD, UUID(case.project.id))
            one = asyncio.ensure_future(outcome(first(case)))
            await until(partial(_waiting_or_done, case.world, 1, one))
            two = asyncio.ensure_future(outcome(second(case)))
            await until(partial(_waiting_or_done, case.world, 1 + (not one.done()), two))
        return await one, await two
    finally:
        await connection.close()


async def _waiting_or_done(world: World, number: int, call: "asyncio.Future[str]") -> bool:
    return call.done() or await world.value(WAITING) >= number


async def one_after_the_other(case: Case, first: Step, second: Step) -> tuple[str, str]:
    """The outcomes of two calls that do not meet."""
    return await outcome(first(case)), await outcome(second(case))


async def _met(
    world: World, first: Step, second: Step, make: Callable[..., Awaitable[Case]]
) -> tuple[Any, Any, list[str]]:
    """What two calls leave that meet, what they leave otherwise, and what does not hold."""
    owner = await world.user()
    project = await owner.project()
    together = await make(world, owner, project)
    found = await in_turn(together, first, second), await together.left()
    apart = await make(world, owner, project)
    expected = await one_after_the_other(apart, first, second), await apart.left()
    assert "INTERNAL" not in expected[0]
    return found, expected, await world.owner.read(lambda c: broken(c, project.id))


@pytest.mark.parametrize("under_lease", UNDER_LEASE)
async def test_work_under_a_lease_meets_what_ends_it(world: World, under_lease: Step) -> None:
    for other in (*OF_OTHERS, *UNDER_LEASE):
        for first, second in ((under_lease, other), (other, under_lease)):
            found, expected, bad = await _met(world, first, second, Case.held)
            if (first, second) == (Case.delete_agent, Case.heartbeat):
                assert found[0][1] == "OK"  # and lost: it has read of the agent before it waits
                found = expected[0], found[1]
            assert (found, bad) == (expected, []), (first, second)


@pytest.mark.parametrize("other", TO_FREE)
async def test_a_claim_meets_a_change_of_the_task_or_the_agent(world: World, other: Step) -> None:
    found, expected, bad = await _met(world, Case.claim, other, Case.free)
    assert (found, bad) == (expected, [])
    found, expected, bad = await _met(world, other, Case.claim, Case.free)
    # What another call has locked is left to it.
    skipped = (("OK", "NOT_CLAIMABLE"), found[1])
    assert found in (expected, skipped)
    assert bad == []


async def test_a_call_that_is_repeated_while_the_first_runs_gets_the_same_hand_out(
    world: World,
) -> None:
    owner = await world.user()
    case = await Case.free(world, owner, await owner.project())
    request = pb.ClaimTasksRequest(
        project_id=case.project.id, agent_id=case.agent.id, request_id=str(uuid4())
    )
    await owner.task(case.project)
    answers: list[pb.ClaimTasksResponse] = []

    async def claim(_case: Case) -> None:
        answers.append(await owner.tasks.ClaimTasks(request))

    assert await in_turn(case, claim, claim) == ("OK", "OK")
    assert answers[0] == answers[1]
    assert [each.task.id for each in answers[0].tasks] == [case.task.id]
    assert await world.value("SELECT count(*) FROM task_leases") == 1
