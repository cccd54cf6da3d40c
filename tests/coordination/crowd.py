"""Those who share the tasks of a project while processes are killed, and what they were told."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from tandem.agent.v1.agent_service_pb2 import Agent, UpdateAgentRequest
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import Tandem, TandemError
from tests.events.crowd import Change
from tests.events.estate import CHANCE

Choice: TypeAlias = Callable[[], Awaitable[None]]
# What a call may be refused for, because others were there first.
BEATEN = {
    "LEASE_LOST",
    "TASK_NOT_FOUND",
    "INVALID_STATUS_TRANSITION",
    "DEPENDENCY_CYCLE",
    "DEPENDENCY_NOT_FOUND",
    "DEPENDENCY_NOT_COMPLETED",
    "ASSIGNEE_INACTIVE",
    "INPUT_ANSWERED",
    "INPUT_NOT_FOUND",
    "NOT_CLAIMABLE",
    "REVISION_MISMATCH",
}
LOCK_KEYS = ("crane", "forge")
CAPABILITIES = ("search", "paint")
LOST = "LEASE_LOST"


class Lease(NamedTuple):
    """A lease as it was handed out."""

    task_id: str
    fence: int


@dataclass
class Told:
    """What the crowd was told, by all of its members."""

    changes: list[Change] = field(default_factory=list)
    handed_out: list[Lease] = field(default_factory=list)
    completed: list[Lease] = field(default_factory=list)
    lost: list[Lease] = field(default_factory=list)
    asked: list[tuple[str, str]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    task_ids: list[str] = field(default_factory=list)

    def twice(self) -> list[Lease]:
        """Leases that were handed out to more than one call."""
        return [lease for lease, count in Counter(self.handed_out).items() if count > 1]


class Member:
    """One who makes one call for each turn."""

    def __init__(self, tandem: Tandem, project_id: str, told: Told) -> None:
        self.tandem = tandem
        self.project_id = project_id
        self.told = told
        self.calls = 0

    async def act(self, turns: asyncio.Semaphore) -> None:
        """For as long as the task runs."""
        while True:
            await turns.acquire()
            await CHANCE.choice(self.choices())()
            self.calls += 1

    def choices(self) -> list[Choice]:
        """What may be done now; what is there twice is done twice as often."""
        raise NotImplementedError

    async def call(self, method: Any, request: Any) -> Any | None:
        """The answer; None if others were faster. Raises TandemError for any other reason."""
        request_id = str(uuid4())
        try:
            answer = await method(request, metadata=(("x-request-id", request_id),))
        except TandemError as error:
            if error.reason_name not in BEATEN:
                raise
            self.told.refused[error.reason_name] += 1
            if error.reason_name == LOST:
                self.told.lost.append(Lease(request.task_id, request.fencing_token))
            return None
        for task in changed(answer):
            self.told.changes.append(Change(request_id, task.id, task.revision))
        return answer


def changed(answer: Any) -> list[pb.Task]:
    """The tasks of an answer, as the call has left them."""
    match answer:
        case pb.Task():
            return [answer]
        case pb.ClaimTasksResponse():
            return [claimed.task for claimed in answer.tasks]
        case pb.BatchCreateTasksResponse():
            return list(answer.tasks)
        case pb.SplitTaskResponse():
            return [answer.task, *answer.parts]
    return []


class Worker(Member):
    """Claims tasks for an agent, and ends the leases in every way; some it forgets."""

    def __init__(self, tandem: Tandem, agent: Agent, told: Told) -> None:
        super().__init__(tandem, agent.project_id, told)
        self.agent = agent
        self.held: list[Lease] = []

    def choices(self) -> list[Choice]:
        if not self.held:
            return [self.claim]
        ends: list[Choice] = [
            *[self.complete] * 3,
            self.fail,
            self.release,
            self.forget,
            self.split,
            self.ask,
        ]
        return [self.claim, self.heartbeat, self.heartbeat, *ends]

    async def claim(self) -> None:
        request = pb.ClaimTasksRequest(
            project_id=self.project_id,
            agent_id=self.agent.id,
            max_tasks=CHANCE.randint(1, 3),
            lease_duration=Duration(seconds=600),
        )
        if answer := await self.call(self.tandem.tasks.ClaimTasks, request):
            leases = [Lease(each.task.id, each.lease.fencing_token) for each in answer.tasks]
            self.told.handed_out += leases
            self.held += leases

    async def heartbeat(self) -> None:
        progress = Struct()
        progress["step"] = self.calls
        request = pb.HeartbeatTasksRequest(
            project_id=self.project_id,
            agent_id=self.agent.id,
            heartbeats=[
                pb.Heartbeat(task_id=lease.task_id, fencing_token=lease.fence, progress=progress)
                for lease in {lease.task_id: lease for lease in self.held}.values()
            ],
        )
        answer = await self.call(self.tandem.tasks.HeartbeatTasks, request)
        assert answer is not None
        for state in answer.leases:
            if state.WhichOneof("state") == "lost":
                lease = Lease(state.task_id, state.fencing_token)
                self.told.lost.append(lease)
                self.held.remove(lease)

    async def complete(self) -> None:
        result = Struct()
        result["by"] = self.agent.id
        lease = self._one()
        if await self._end(
            self.tandem.tasks.CompleteTask, pb.CompleteTaskRequest, lease, result=result
        ):
            self.told.completed.append(lease)

    async def fail(self) -> None:
        error = Struct()
        error["message"] = "It did not work."
        again: dict[str, Any] = {"retryable": True, "retry_after": Duration()}
        how = again if CHANCE.random() < 0.8 else {}
        await self._end(
            self.tandem.tasks.FailTask, pb.FailTaskRequest, self._one(), error=error, **how
        )

    async def release(self) -> None:
        await self._end(self.tandem.tasks.ReleaseTask, pb.ReleaseTaskRequest, self._one())

    async def forget(self) -> None:
        """Its lease expires at some time."""
        self._one()

    async def ask(self) -> None:
        question, lease = pb.Input(key=str(uuid4()), prompt="Which one?"), self._one()
        if await self._end(
            self.tandem.tasks.RequestInput, pb.RequestInputRequest, lease, input=question
        ):
            self.told.asked.append((lease.task_id, question.key))

    async def split(self) -> None:
        parts = [pb.NewTask(task=pb.Task(title=f"Part {n}")) for n in range(CHANCE.randint(1, 2))]
        answer = await self._end(
            self.tandem.tasks.SplitTask, pb.SplitTaskRequest, self._one(), tasks=parts
        )
        if answer:
            self.told.task_ids += (task.id for task in answer.parts)

    def _one(self) -> Lease:
        return self.held.pop(CHANCE.randrange(len(self.held)))

    async def _end(self, method: Any, request: Any, lease: Lease, **fields: Any) -> Any:
        asked = request(task_id=lease.task_id, fencing_token=lease.fence, **fields)
        return await self.call(method, asked)


class Manager(Member):
    """Creates tasks that wait for others, and does to them whatever an owner may."""

    def __init__(self, tandem: Tandem, agents: list[Agent], told: Told) -> None:
        super().__init__(tandem, agents[0].project_id, told)
        self.agents = agents

    def choices(self) -> list[Choice]:
        always: list[Choice] = [*[self.create] * 4, *[self.create_many] * 2]
        if not self.told.task_ids:
            return always
        edges: list[Choice] = [self.add_edge, self.add_edge, self.remove_edge]
        ends: list[Choice] = [self.cancel, self.retry, self.retry, self.reopen, self.delete]
        moves: list[Choice] = [self.assign, self.unassign, self.hurry, self.hurry]
        if self.told.asked:
            moves += [self.answer] * 3
        return [*always, *edges, *ends, *moves, self.deactivate]

    async def create(self) -> None:
        request = pb.CreateTaskRequest(task=self._new())
        if task := await self.call(self.tandem.tasks.CreateTask, request):
            self.told.task_ids.append(task.id)

    async def create_many(self) -> None:
        """A diamond: two that wait for one, and one that waits for the two."""
        refs = {"top": (), "left": ("top",), "right": ("top",), "end": ("left", "right")}
        tasks = [
            pb.NewTask(task=self._new(), ref=ref, depends_on_refs=above)
            for ref, above in refs.items()
        ]
        request = pb.BatchCreateTasksRequest(project_id=self.project_id, tasks=tasks)
        if answer := await self.call(self.tandem.tasks.BatchCreateTasks, request):
            self.told.task_ids += (task.id for task in answer.tasks)

    async def add_edge(self) -> None:
        request = pb.AddDependencyRequest(task_id=self._any(), depends_on_id=self._any())
        if request.task_id != request.depends_on_id:
            await self.call(self.tandem.tasks.AddDependency, request)

    async def remove_edge(self) -> None:
        request = pb.RemoveDependencyRequest(task_id=self._any(), depends_on_id=self._any())
        with suppress(TandemError):
            task = await self.tandem.tasks.GetTask(pb.GetTaskRequest(task_id=request.task_id))
            if task.dependencies:
                request.depends_on_id = CHANCE.choice(task.dependencies)
        await self.call(self.tandem.tasks.RemoveDependency, request)

    async def cancel(self) -> None:
        grace = Duration(seconds=CHANCE.choice((0, 600)))
        request = pb.CancelTaskRequest(task_id=self._any(), grace=grace, reason="Not needed.")
        await self.call(self.tandem.tasks.CancelTask, request)

    async def retry(self) -> None:
        request = pb.RetryTaskRequest(task_id=self._any())
        await self.call(self.tandem.tasks.RetryTask, request)

    async def reopen(self) -> None:
        request = pb.UpdateTaskStatusRequest(
            task_id=self._any(), status=CHANCE.choice((pb.TASK_STATUS_PENDING, IN_PROGRESS))
        )
        await self.call(self.tandem.tasks.UpdateTaskStatus, request)

    async def delete(self) -> None:
        task_id = self._any()
        if CHANCE.random() < 0.5:
            request = pb.DeleteTaskRequest(task_id=task_id, force=True)
            if await self.call(self.tandem.tasks.DeleteTask, request) is not None:
                self.told.task_ids.remove(task_id)
                self.told.deleted.append(task_id)

    async def assign(self) -> None:
        request = pb.AssignTaskRequest(
            task_id=self._any(),
            assigned_to=CHANCE.choice(self.agents).id,
            assigned_to_type=pb.ASSIGNEE_TYPE_AGENT,
        )
        await self.call(self.tandem.tasks.AssignTask, request)

    async def unassign(self) -> None:
        request = pb.UnassignTaskRequest(task_id=self._any())
        await self.call(self.tandem.tasks.UnassignTask, request)

    async def answer(self) -> None:
        """What an agent has asked for."""
        task_id, key = self.told.asked.pop()
        answer = Struct()
        answer["choice"] = "this one"
        request = pb.AnswerInputRequest(task_id=task_id, key=key, answer=answer)
        await self.call(self.tandem.tasks.AnswerInput, request)

    async def hurry(self) -> None:
        """Whatever was to be tried again later can be claimed now."""
        now = Timestamp(seconds=1)
        request = pb.UpdateTaskRequest(
            task=pb.Task(id=self._any(), ready_at=now), update_mask=FieldMask(paths=["ready_at"])
        )
        await self.call(self.tandem.tasks.UpdateTask, request)

    async def deactivate(self) -> None:
        """For the moment."""
        for is_active in (False, True):
            agent = Agent(id=CHANCE.choice(self.agents[:1]).id, is_active=is_active)
            request = UpdateAgentRequest(agent=agent, update_mask=FieldMask(paths=["is_active"]))
            await self.call(self.tandem.agents.UpdateAgent, request)

    def _any(self) -> str:
        """One of the latest tasks."""
        return CHANCE.choice(self.told.task_ids[-30:])

    def _new(self) -> pb.Task:
        task = pb.Task(
            project_id=self.project_id,
            title=f"Task {uuid4()}",
            priority=CHANCE.choice((pb.TASK_PRIORITY_HIGH, pb.TASK_PRIORITY_LOW)),
            dependency_policy=pb.DEPENDENCY_POLICY_WAIT,
            on_dependency_failure=CHANCE.choice(pb.OnDependencyFailure.values()),
            max_attempts=CHANCE.choice((1, 3, 1000)),
        )
        if self.told.task_ids and CHANCE.random() < 0.5:
            task.dependencies.append(self._any())
        if CHANCE.random() < 0.3:
            task.lock_key = CHANCE.choice(LOCK_KEYS)
        if CHANCE.random() < 0.5:
            task.required_capabilities.append(CHANCE.choice(CAPABILITIES))
        return task


IN_PROGRESS = pb.TASK_STATUS_IN_PROGRESS
