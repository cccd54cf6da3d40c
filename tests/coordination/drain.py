"""The work of a project is done to its end: what cannot be is lost, unless it waits."""

import asyncio
from typing import Any
from uuid import uuid4

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from tandem.agent.v1.agent_service_pb2 import Agent, UpdateAgentRequest
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import Tandem, TandemError
from tests.coordination.crowd import BEATEN, Lease, Told
from tests.waiting import until

LIVE = [
    pb.TASK_STATUS_PENDING,
    pb.TASK_STATUS_IN_PROGRESS,
    pb.TASK_STATUS_REVIEW,
    pb.TASK_STATUS_BLOCKED,
]
WAITING = (pb.TASK_STATUS_REASON_DEPENDENCIES, pb.TASK_STATUS_REASON_DEPENDENCY_FAILED)
CANCELLED = pb.TASK_STATUS_CANCELLED


class Drain:
    """The agents, who claim and complete, and the owner, who clears what is in their way."""

    def __init__(self, owner: Tandem, project_id: str, agents: list[Agent], told: Told) -> None:
        self._owner = owner
        self._project_id = project_id
        self._agents = agents
        self._told = told

    async def all(self) -> None:
        """Until nothing more can be done. Leases that were forgotten come back by themselves."""
        for agent in self._agents:
            active = Agent(id=agent.id, is_active=True)
            mask = FieldMask(paths=["is_active"])
            await self._owner.agents.UpdateAgent(UpdateAgentRequest(agent=active, update_mask=mask))
        await until(self._has_no_lease)
        while await self._step():
            pass

    async def left(self) -> list[pb.Task]:
        """The tasks that have not ended, and wait for none that may still end."""
        return [
            task
            for task in await self._live()
            if not (task.status == pb.TASK_STATUS_BLOCKED and task.open_dependencies)
        ]

    async def _has_no_lease(self) -> bool:
        return not any(task.leased for task in await self._live())

    async def _step(self) -> int:
        """How many tasks have been moved on."""
        moved = 0
        for task in await self._live():
            moved += await self._clear(task)
        claimed = await asyncio.gather(*map(self._work, self._agents))
        return moved + sum(claimed)

    async def _clear(self, task: pb.Task) -> int:
        """Let a task be claimable if only the owner can; 1 if that was not so."""
        if task.status == pb.TASK_STATUS_PENDING:
            if task.ready_at.seconds != 1:
                await self._hurry(task)
            return 0
        if task.status == pb.TASK_STATUS_BLOCKED and task.status_reason in WAITING:
            return 0
        status = CANCELLED if task.open_dependencies else pb.TASK_STATUS_PENDING
        request = pb.UpdateTaskStatusRequest(task_id=task.id, status=status)
        return await self._try(self._owner.tasks.UpdateTaskStatus, request)

    async def _hurry(self, task: pb.Task) -> None:
        at_once = pb.Task(id=task.id, ready_at=Timestamp(seconds=1))
        request = pb.UpdateTaskRequest(task=at_once, update_mask=FieldMask(paths=["ready_at"]))
        await self._try(self._owner.tasks.UpdateTask, request)

    async def _work(self, agent: Agent) -> int:
        request = pb.ClaimTasksRequest(
            project_id=self._project_id,
            agent_id=agent.id,
            max_tasks=100,
            lease_duration=Duration(seconds=600),
        )
        claimed = (await self._owner.tasks.ClaimTasks(request)).tasks
        for each in claimed:
            lease = Lease(each.task.id, each.lease.fencing_token)
            self._told.handed_out.append(lease)
            done = pb.CompleteTaskRequest(task_id=lease.task_id, fencing_token=lease.fence)
            await self._owner.tasks.CompleteTask(done)
            self._told.completed.append(lease)
        return len(claimed)

    async def _live(self) -> list[pb.Task]:
        request = pb.ListTasksRequest(
            project_id=self._project_id, statuses=LIVE, page_size=1000, order_by="created_at"
        )
        return [task async for task in self._owner.pages(self._owner.tasks.ListTasks, request)]

    async def _try(self, method: Any, request: Any) -> int:
        try:
            await method(request, metadata=(("x-request-id", str(uuid4())),))
        except TandemError as error:
            if error.reason_name not in BEATEN:
                raise
            return 0
        return 1
