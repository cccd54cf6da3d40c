"""A project whose agents take its tasks."""

from dataclasses import dataclass
from typing import Any

from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1.task_service_pb2 import ClaimedTask, ClaimTasksRequest
from tests.waiting import SECONDS
from tests.world import Client, User, World


@dataclass(frozen=True)
class Worker:
    """An agent, and a client that calls as it."""

    agent: Agent
    client: Client

    async def claim(self, *, deadline: float = SECONDS, **fields: Any) -> list[ClaimedTask]:
        """What it gets; one task, unless the request says more."""
        fields = {"project_id": self.agent.project_id, "agent_id": self.agent.id, **fields}
        request = ClaimTasksRequest(**fields)
        response = await self.client.tasks.ClaimTasks(request, timeout=deadline)
        return list(response.tasks)


@dataclass(frozen=True)
class Team:
    """The owner of a project, and the project."""

    owner: User
    project: Project

    async def worker(self, **fields: Any) -> Worker:
        """Another agent of it."""
        agent = await self.owner.agent(self.project, **fields)
        return Worker(agent, await self.owner.as_agent(agent))

    @classmethod
    async def formed(cls, world: World) -> "Team":
        """One without tasks or agents."""
        owner = await world.user()
        return cls(owner, await owner.project())
