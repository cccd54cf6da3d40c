"""Calls in any order leave what a model of leases and dependencies says, with generic plans forced.

TANDEM_TEST_STEPS says how many calls there are: `make faults` makes it a run of minutes.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from datetime import UTC, datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID, uuid4

import hypothesis
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.database.transaction import Database
from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1 import task_service_pb2 as pb
from task_service.sweep.rules import sweep
from task_service.tasks.lifecycle import MOVES
from tests import as_service
from tests.coordination.invariants import broken
from tests.coordination.model import LOST, Model, Task
from tests.refusals import outcome
from tests.world import User, World

T = TypeVar("T")
STEPS_PER_EXAMPLE = 50
STEPS = int(os.environ.get("TANDEM_TEST_STEPS", "400"))
MOST_LEASES = 3
SILENCE = 90.0
GENERIC = "?plan_cache_mode=force_generic_plan"
LATER = datetime(2200, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
ROWS = """
SELECT id::text, status, status_reason, assigned_agent_id::text, attempt, fence,
    open_dependencies, leased, cancel_requested_at IS NOT NULL
FROM tasks WHERE project_id = $1
"""
OUTCOMES = """
SELECT task_id::text, fence, COALESCE(outcome, 'under way') FROM task_attempts
WHERE project_id = $1
"""
EXPIRE = "UPDATE task_leases SET expires_at = now() - interval '1 second' WHERE task_id = $1"
ANY = st.integers(0, 1000)
PRIORITIES = {
    pb.TASK_PRIORITY_CRITICAL: 1,
    pb.TASK_PRIORITY_UNSPECIFIED: 3,
    pb.TASK_PRIORITY_LOW: 4,
}
ON_FAILURE = {
    pb.ON_DEPENDENCY_FAILURE_UNSPECIFIED: "keep_blocked",
    pb.ON_DEPENDENCY_FAILURE_CANCEL: "cancel",
    pb.ON_DEPENDENCY_FAILURE_FAIL: "fail",
    pb.ON_DEPENDENCY_FAILURE_IGNORE: "ignore",
}
STATUSES = {name: pb.TaskStatus.Value(f"TASK_STATUS_{name.upper()}") for name in MOVES}


@pytest.fixture
async def planned(world: World, shared_database_url: str) -> AsyncIterator[World]:
    """The same world, whose services plan each statement without knowing the parameters."""
    url = as_service.url_for(shared_database_url) + GENERIC
    database = await Database.connect(url, size=4)
    async with World.built(database, world.settings, world.owner) as planned:
        yield planned
    await database.close()


@pytest.mark.long
async def test_any_calls_leave_what_the_model_says(planned: World) -> None:
    plan = await planned.database.read(lambda c: c.fetchval("SHOW plan_cache_mode"))
    assert plan == "force_generic_plan"
    Machine.world, Machine.loop = planned, asyncio.get_running_loop()
    settings = hypothesis.settings(
        max_examples=max(1, STEPS // STEPS_PER_EXAMPLE),
        stateful_step_count=STEPS_PER_EXAMPLE,
        derandomize=True,
        # Each step of a failure that is made smaller costs as much as the first time.
        phases=[hypothesis.Phase.generate],
        database=None,
    )
    await asyncio.to_thread(run_state_machine_as_test, Machine, settings=settings)


class Machine(RuleBasedStateMachine):
    """The owner of a project makes calls for itself and for two agents, one after the other."""

    world: ClassVar[World]
    loop: ClassVar[asyncio.AbstractEventLoop]

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What a call answers, whose loop is another thread's."""
        return asyncio.run_coroutine_threadsafe(call, self.loop).result()

    @initialize()
    def begin(self) -> None:
        self.model = Model()
        self.owner: User = self.run(self.world.user())
        self.project: Project = self.run(self.owner.project())
        self.agents: list[Agent] = [
            self.run(self.owner.agent(self.project, capabilities=able, max_leases=MOST_LEASES))
            for able in (["search"], [])
        ]

    def any(self, number: int) -> Task:
        """One of the tasks."""
        return list(self.model.tasks.values())[number % len(self.model.tasks)]

    def held(self, number: int) -> Task:
        """One of the tasks, one with a lease if there is one."""
        held = [task for task in self.model.tasks.values() if task.is_leased]
        return held[number % len(held)] if held else self.any(number)

    def lease(self, number: int, stale: int) -> tuple[Task, int]:
        """A task with a lease, if there is one, and its fence, or the one before."""
        again = [task for task in self.model.tasks.values() if task.is_leased and task.fence > 1]
        if stale and again:
            task = again[number % len(again)]
            return task, task.fence - 1
        task = self.held(number)
        return task, max(1, task.fence)

    def call(self, name: str, request: Any) -> str:
        """OK, or the reason of the refusal."""
        return self.run(self._outcome(name, request))

    async def _outcome(self, name: str, request: Any) -> str:
        return await outcome(getattr(self.owner.tasks, name)(request))

    def leases(self, agent: Agent) -> int:
        """How many leases an agent has."""
        return sum(t.is_leased and t.assigned == agent.id for t in self.model.tasks.values())

    @rule(
        above=st.lists(ANY, max_size=3),
        on_failure=st.sampled_from(sorted(ON_FAILURE)),
        priority=st.sampled_from(sorted(PRIORITIES)),
        max_attempts=st.sampled_from((1, 2, 3)),
        lock_key=st.sampled_from((None, None, "crane")),
        requires=st.sampled_from(("", "", "search")),
    )
    def create(
        self,
        above: list[int],
        on_failure: int,
        priority: int,
        max_attempts: int,
        lock_key: str | None,
        requires: str,
    ) -> None:
        depends_on = {self.any(number).id for number in above} if self.model.tasks else set()
        fields = {"lock_key": lock_key} if lock_key else {}
        created = self.run(
            self.owner.task(
                self.project,
                dependency_policy=pb.DEPENDENCY_POLICY_WAIT,
                on_dependency_failure=on_failure,
                dependencies=sorted(depends_on),
                priority=priority,
                max_attempts=max_attempts,
                required_capabilities=[requires] if requires else [],
                **fields,
            )
        )
        task = Task(
            created.id,
            ON_FAILURE[pb.OnDependencyFailure.ValueType(on_failure)],
            max_attempts,
            PRIORITIES[pb.TaskPriority.ValueType(priority)],
            lock_key,
            requires,
            depends_on,
        )
        self.model.create(task)

    @precondition(lambda self: self.model.tasks)
    @rule(agent=st.sampled_from((0, 1)), number=st.integers(1, 3))
    def claim(self, agent: int, number: int) -> None:
        who = self.agents[agent]
        request = pb.ClaimTasksRequest(
            project_id=self.project.id, agent_id=who.id, max_tasks=number
        )
        answer = self.run(self._claim(request))
        could = self.model.claimable(who.id, set(who.capabilities))
        room = MOST_LEASES - self.leases(who)
        keys = {task.lock_key for task in could if task.lock_key}
        free = sum(not task.lock_key for task in could) + len(keys)
        assert bool(answer) == bool(free and room > 0)
        assert len(answer) <= min(number, free, room)
        if not keys:
            assert len(answer) == min(number, free, room)
        if number == 1 and answer:
            assert self.model.tasks[answer[0].task.id].rank == min(task.rank for task in could)
        for claimed in answer:
            task = self.model.tasks[claimed.task.id]
            assert task in could
            self.model.claim(task, who.id)
            assert claimed.lease.fencing_token == task.fence
            self._check_previous(task, claimed.previous)

    async def _claim(self, request: pb.ClaimTasksRequest) -> list[pb.ClaimedTask]:
        return list((await self.owner.tasks.ClaimTasks(request)).tasks)

    def _check_previous(self, task: Task, previous: Any) -> None:
        """The latest five, the latest first, with their outcomes."""
        words = {n: f"ATTEMPT_OUTCOME_{word.upper()}" for n, word in task.outcomes.items()}
        expected = [(n, words[n]) for n in range(task.fence - 1, 0, -1)][:5]
        found = [(a.fencing_token, pb.AttemptOutcome.Name(a.outcome)) for a in previous]
        assert found == expected

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, stale=st.sampled_from((0, 0, 0, 1)))
    def complete(self, number: int, stale: int) -> None:
        task, fence = self.lease(number, stale)
        request = pb.CompleteTaskRequest(task_id=task.id, fencing_token=fence)
        if self._under_lease(task, fence, "completed", self.call("CompleteTask", request)):
            self.model.complete(task)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, stale=st.sampled_from((0, 0, 0, 1)), retryable=st.booleans())
    def fail(self, number: int, stale: int, retryable: bool) -> None:
        task, fence = self.lease(number, stale)
        request = pb.FailTaskRequest(task_id=task.id, fencing_token=fence, retryable=retryable)
        if retryable:
            request.retry_after.SetInParent()
        if self._under_lease(task, fence, "failed", self.call("FailTask", request)):
            self.model.fail(task, retryable=retryable)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, stale=st.sampled_from((0, 0, 0, 1)))
    def release(self, number: int, stale: int) -> None:
        task, fence = self.lease(number, stale)
        request = pb.ReleaseTaskRequest(task_id=task.id, fencing_token=fence)
        if self._under_lease(task, fence, "released", self.call("ReleaseTask", request)):
            self.model.release(task)

    def _under_lease(self, task: Task, fence: int, word: str, found: str) -> bool:
        """Whether the call has ended the lease now. It is refused if and only if that is lost."""
        is_held = task.is_leased and task.fence == fence
        is_repeated = task.outcomes.get(fence) == word
        assert found == ("OK" if is_held or is_repeated else "LEASE_LOST")
        self.cancel_what_is_due(task)
        return is_held

    def cancel_what_is_due(self, task: Task) -> None:
        """A task that is to be cancelled, and whose lease may have ended, is at the next look."""
        if task.is_to_be_cancelled:
            self.run(self._sweep())

    @precondition(lambda self: any(task.is_leased for task in self.model.tasks.values()))
    @rule(number=ANY, stale=st.sampled_from((0, 0, 0, 1)))
    def ask(self, number: int, stale: int) -> None:
        (task, fence), key = self.lease(number, stale), str(uuid4())
        question = pb.Input(key=key, prompt="Which?")
        request = pb.RequestInputRequest(task_id=task.id, fencing_token=fence, input=question)
        # What was given back is not asked for: it is no call that is repeated.
        if self._under_lease(task, fence, "asked", self.call("RequestInput", request)):
            self.model.ask(task, key)

    @precondition(lambda self: any(task.asked for task in self.model.tasks.values()))
    @rule(number=ANY, which=ANY)
    def answer(self, number: int, which: int) -> None:
        asked = [(task, key) for task in self.model.tasks.values() for key in task.asked]
        blocked = [(task, key) for task, key in asked if task.reason == "input"]
        some = blocked or asked
        task, key = some[(number + which) % len(some)]
        request = pb.AnswerInputRequest(task_id=task.id, key=key)
        request.answer["it"] = "this one"
        found = self.call("AnswerInput", request)
        if task.asked[key]:
            assert found == "OK"
        elif key != [*task.asked][-1]:
            assert found == "INPUT_NOT_FOUND"
        elif task.reason != "input":
            assert found == "INVALID_STATUS_TRANSITION"
        else:
            assert found == "OK"
            self.model.answer(task, key)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, at_once=st.booleans(), is_held=st.booleans())
    def cancel(self, number: int, at_once: bool, is_held: bool) -> None:
        task = self.held(number) if is_held else self.any(number)
        grace = Duration(seconds=0 if at_once else 600)
        found = self.call("CancelTask", pb.CancelTaskRequest(task_id=task.id, grace=grace))
        if task.status in ("completed", "failed"):
            assert found == "INVALID_STATUS_TRANSITION"
            return
        assert found == "OK"
        if task.status != "cancelled":
            self.model.cancel(task, at_once=at_once)

    @precondition(lambda self: any(task.status in LOST for task in self.model.tasks.values()))
    @rule(number=ANY)
    def retry(self, number: int) -> None:
        ended = [task for task in self.model.tasks.values() if task.status in LOST]
        task = [*ended, *self.model.tasks.values()][number % (len(ended) + 1)]
        found = self.call("RetryTask", pb.RetryTaskRequest(task_id=task.id))
        if task.status not in LOST:
            assert found == "INVALID_STATUS_TRANSITION"
            return
        assert found == "OK"
        self.model.retry(task)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, stale=st.booleans())
    def heartbeat(self, number: int, stale: bool) -> None:
        task, fence = self.lease(number, stale)
        request = pb.HeartbeatTasksRequest(
            project_id=self.project.id,
            agent_id=task.assigned or self.agents[0].id,
            heartbeats=[pb.Heartbeat(task_id=task.id, fencing_token=fence)],
        )
        (state,) = self.run(self._heartbeat(request))
        if task.is_leased and task.fence == fence:
            expected = "cancel_requested" if task.is_to_be_cancelled else "held"
        else:
            expected = "lost"
        assert state.WhichOneof("state") == expected

    async def _heartbeat(self, request: pb.HeartbeatTasksRequest) -> list[pb.LeaseState]:
        return list((await self.owner.tasks.HeartbeatTasks(request)).leases)

    @precondition(lambda self: any(task.is_leased for task in self.model.tasks.values()))
    @rule(number=ANY)
    def expire(self, number: int) -> None:
        task = self.held(number)
        self.run(self.world.execute(EXPIRE, UUID(task.id)))
        self.run(self._sweep())
        self.model.expire(task)

    async def _sweep(self) -> None:
        await sweep(self.world.database, SILENCE)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, status=st.sampled_from(sorted(STATUSES)))
    def move(self, number: int, status: str) -> None:
        task = self.any(number)
        request = pb.UpdateTaskStatusRequest(task_id=task.id, status=STATUSES[status])
        found = self.call("UpdateTaskStatus", request)
        if status not in MOVES[task.status]:
            assert found == "INVALID_STATUS_TRANSITION"
        elif status in ("pending", "in_progress") and task.open:
            assert found == "DEPENDENCY_NOT_COMPLETED"
        else:
            assert found == "OK"
            self.cancel_what_is_due(task)
            self.model.override(task, status)
            self.model.leave(task, status, "external" if status == "blocked" else None)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, agent=st.sampled_from((0, 1)))
    def assign(self, number: int, agent: int) -> None:
        task, who = self.any(number), self.agents[agent].id
        request = pb.AssignTaskRequest(
            task_id=task.id, assigned_to=who, assigned_to_type=pb.ASSIGNEE_TYPE_AGENT
        )
        assert self.call("AssignTask", request) == "OK"
        self.cancel_what_is_due(task)
        self.model.assign(task, who)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY)
    def unassign(self, number: int) -> None:
        task = self.any(number)
        assert self.call("UnassignTask", pb.UnassignTaskRequest(task_id=task.id)) == "OK"
        self.cancel_what_is_due(task)
        self.model.assign(task, None)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY)
    def delete(self, number: int) -> None:
        task = self.any(number)
        assert self.call("DeleteTask", pb.DeleteTaskRequest(task_id=task.id, force=True)) == "OK"
        self.model.delete(task)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, upon=ANY)
    def depend(self, number: int, upon: int) -> None:
        task, on = self.any(number), self.any(upon)
        request = pb.AddDependencyRequest(task_id=task.id, depends_on_id=on.id)
        found = self.call("AddDependency", request)
        if on.id in task.depends_on:
            assert found == "OK"
        elif self.model.would_be_cycle(task, on):
            assert found == "DEPENDENCY_CYCLE"
        else:
            assert found == "OK"
            self.model.depend(task, on)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, upon=ANY)
    def no_longer_depend(self, number: int, upon: int) -> None:
        task = self.any(number)
        above = sorted(task.depends_on)
        on = self.model.tasks[above[upon % len(above)]] if above else self.any(upon)
        request = pb.RemoveDependencyRequest(task_id=task.id, depends_on_id=on.id)
        assert self.call("RemoveDependency", request) == "OK"
        if on.id in task.depends_on:
            self.model.no_longer_depend(task, on)

    @precondition(lambda self: self.model.tasks)
    @rule(number=ANY, is_later=st.booleans())
    def hurry_or_wait(self, number: int, is_later: bool) -> None:
        task = self.any(number)
        changed = pb.Task(id=task.id)
        changed.ready_at.FromDatetime(LATER if is_later else LONG_AGO)
        mask = FieldMask(paths=["ready_at"])
        assert self.call("UpdateTask", pb.UpdateTaskRequest(task=changed, update_mask=mask)) == "OK"
        task.is_later = is_later

    @invariant()
    def the_rows_are_those_of_the_model(self) -> None:
        if not hasattr(self, "model"):
            return
        rows = self.run(self._rows(ROWS))
        found = {row[0]: tuple(row)[1:] for row in rows}
        assert found == {task.id: task.shown() for task in self.model.tasks.values()}

    async def _rows(self, statement: str) -> list[Any]:
        project_id = UUID(self.project.id)
        return await self.world.owner.read(lambda c: c.fetch(statement, project_id))

    def teardown(self) -> None:
        if not hasattr(self, "project"):
            return
        rows = self.run(self._rows(OUTCOMES))
        expected = {
            (task.id, fence, word)
            for task in self.model.tasks.values()
            for fence, word in task.outcomes.items()
        }
        assert {tuple(row) for row in rows} == expected
        assert self.run(self._broken()) == []

    async def _broken(self) -> list[str]:
        return await self.world.owner.read(lambda c: broken(c, self.project.id))
