"""Those who write and those who watch while processes are killed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import uuid4

from google.protobuf.field_mask_pb2 import FieldMask

from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest, DeleteAgentRequest
from tandem.event.v1.event_service_pb2 import (
    EVENT_TYPE_TASK_DELETED,
    ListEventsRequest,
    WatchEventsRequest,
)
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import Batch, SnapshotBegins, SnapshotComplete, SnapshotPart, Tandem
from tests.events.estate import CHANCE
from tests.events.recording import Recording, record


class Change(NamedTuple):
    """A change that was acknowledged: the id of the call, and the resource as it was answered."""

    request_id: str
    resource_id: str
    revision: int | None
    is_news: bool = True


class Writer:
    """Changes tasks and agents of a project, one call after the other."""

    def __init__(self, tandem: Tandem, project_id: str) -> None:
        self._tandem = tandem
        self._project_id = project_id
        self._tasks: list[pb.Task] = []
        self._agents: list[Agent] = []
        self.changes: list[Change] = []
        self.calls = 0

    async def write(self, turns: asyncio.Semaphore) -> None:
        """One call for each turn, for as long as the task runs."""
        while True:
            await turns.acquire()
            await CHANCE.choice(self._choices())()
            self.calls += 1

    def _choices(self) -> list[Callable[[], Awaitable[None]]]:
        always: list[Callable[[], Awaitable[None]]] = [self._create_task, self._create_task]
        if len(self._agents) < 2:
            always.append(self._create_agent)
        if self._tasks:
            always += [self._rename, self._rename, self._say_nothing_new, self._start]
            always += [self._delete_task, self._assign, self._assign]
        if len(self._agents) > 1:
            always.append(self._delete_agent)
        return always

    async def _call(
        self, method: Any, request: Any, resource_id: str = "", *, is_news: bool = True
    ) -> Any:
        request_id = str(uuid4())
        answer = await method(request, metadata=(("x-request-id", request_id),))
        resource_id, revision = resource_id or answer.id, getattr(answer, "revision", None)
        self.changes.append(Change(request_id, resource_id, revision, is_news))
        return answer

    async def _create_task(self) -> None:
        task = pb.Task(project_id=self._project_id, title=f"Task {uuid4()}")
        request = pb.CreateTaskRequest(task=task)
        self._tasks.append(await self._call(self._tandem.tasks.CreateTask, request))

    async def _update(self, title: str, *, is_news: bool = True) -> None:
        number = CHANCE.randrange(len(self._tasks))
        task = pb.Task(id=self._tasks[number].id, title=title or self._tasks[number].title)
        request = pb.UpdateTaskRequest(task=task, update_mask=FieldMask(paths=["title"]))
        answer = await self._call(self._tandem.tasks.UpdateTask, request, is_news=is_news)
        self._tasks[number] = answer

    async def _rename(self) -> None:
        await self._update(f"Task {uuid4()}")

    async def _say_nothing_new(self) -> None:
        await self._update("", is_news=False)

    async def _start(self) -> None:
        pending = [task for task in self._tasks if task.status == pb.TASK_STATUS_PENDING]
        if pending:
            task = CHANCE.choice(pending)
            request = pb.UpdateTaskStatusRequest(task_id=task.id, status=pb.TASK_STATUS_IN_PROGRESS)
            answer = await self._call(self._tandem.tasks.UpdateTaskStatus, request)
            self._tasks[self._tasks.index(task)] = answer

    async def _delete_task(self) -> None:
        task = self._tasks.pop(CHANCE.randrange(len(self._tasks)))
        request = pb.DeleteTaskRequest(task_id=task.id)
        await self._call(self._tandem.tasks.DeleteTask, request, task.id)

    async def _create_agent(self) -> None:
        agent = Agent(project_id=self._project_id, name=f"Agent {uuid4()}")
        request = CreateAgentRequest(agent=agent)
        answer = await self._call(self._tandem.agents.CreateAgent, request)
        self._agents.append(answer)

    async def _assign(self) -> None:
        free = [task for task in self._tasks if not task.assigned_to]
        if free and self._agents:
            task = CHANCE.choice(free)
            request = pb.AssignTaskRequest(
                task_id=task.id,
                assigned_to=CHANCE.choice(self._agents).id,
                assigned_to_type=pb.ASSIGNEE_TYPE_AGENT,
            )
            answer = await self._call(self._tandem.tasks.AssignTask, request)
            self._tasks[self._tasks.index(task)] = answer

    async def _delete_agent(self) -> None:
        """One transaction with as many events as the agent has tasks, and one."""
        agent = self._agents.pop()
        request = DeleteAgentRequest(agent_id=agent.id)
        await self._call(self._tandem.agents.DeleteAgent, request, agent.id)
        for number, task in enumerate(self._tasks):
            if task.assigned_to == agent.id:
                get = pb.GetTaskRequest(task_id=task.id)
                self._tasks[number] = await self._tandem.tasks.GetTask(get)


@dataclass
class Watcher:
    """One who watches: what was sent, which numbers the client gave, and the last bookmark."""

    tandem: Tandem
    request: WatchEventsRequest
    matches: Callable[[Any], bool] = lambda _event: True
    pause: float = 0.0
    name: str = ""
    recordings: list[Recording] = field(default_factory=list)
    given: list[int] = field(default_factory=list)
    through: int = -1

    async def watch(self) -> None:
        """For as long as the task runs."""
        self._record()
        async for batch in self.tandem.watch(self.request):
            self._take(batch)
            await asyncio.sleep(self.pause)

    async def watch_shortly(self) -> None:
        """Again and again, for a few transactions each."""
        while True:
            self._record()
            left = CHANCE.randint(1, 5)
            async for batch in self.tandem.watch(self.request):
                self._take(batch)
                self.request.after_sequence = batch.through_sequence
                self.request.log_id = batch.log_id
                left -= 1
                if not left:
                    break

    def _record(self) -> None:
        self.recordings.append(Recording(matches=self.matches, name=self.name))
        record(self.tandem, self.recordings[-1])

    def _take(self, batch: Batch) -> None:
        self.given += [event.sequence for event in batch.events]
        self.through = batch.through_sequence


@dataclass
class Mirror(Watcher):
    """One who keeps what a snapshot says of tasks up to date by the events: revisions by id."""

    revisions: dict[str, int] = field(default_factory=dict)
    snapshots: int = 0

    async def watch(self) -> None:
        self._record()
        async for item in self.tandem.watch(self.request, snapshots=True):
            match item:
                case SnapshotBegins():
                    self.revisions = {}
                case SnapshotPart():
                    tasks = [resource.task for resource in item.resources]
                    self.revisions.update({task.id: task.revision for task in tasks})
                case SnapshotComplete():
                    self.through, self.snapshots = item.through_sequence, self.snapshots + 1
                case Batch():
                    self._follow(item)
            await asyncio.sleep(self.pause)

    def _follow(self, batch: Batch) -> None:
        self._take(batch)
        for event in batch.events:
            if event.type == EVENT_TYPE_TASK_DELETED:
                self.revisions.pop(event.resource_id, None)
            elif event.revision > self.revisions.get(event.resource_id, 0):
                self.revisions[event.resource_id] = event.revision


class Lister(Watcher):
    """One who lists what is new, again and again."""

    async def watch(self) -> None:
        request = ListEventsRequest(project_id=self.request.project_id, page_size=7)
        while True:
            page = await self.tandem.events.ListEvents(request)
            self.given += [event.sequence for event in page.events]
            self.through = request.after_sequence = page.through_sequence
            request.log_id = page.log_id
            await asyncio.sleep(0.1 if page.through_sequence == page.last_sequence else 0.0)
