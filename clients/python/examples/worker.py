"""Three agents share dependent tasks, while one of them is killed again and again.

Each agent is a process that runs this file with `work`. It is killed by SIGKILL every 5 seconds, in
turn, and started again: its tasks come back when their leases expire, and nothing is lost or done
twice. At the end the log of events is counted:

    TOKEN=… python worker.py              # 200 tasks, a kill every 5 seconds
    TOKEN=… TASKS=30 python worker.py

TANDEM_AGENT_ADDRESS and TANDEM_TASK_ADDRESS are where the services listen, if not on this machine.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

from tandem.agent.v1 import agent_service_pb2 as agents
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.event.v1 import event_service_pb2 as events
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import ApiKey, Credentials, Tandem, Token, Work, connect

NAMES = ("Ada", "Grace", "Edsger")
TASKS = int(os.environ.get("TASKS", "200"))
KILL_EVERY = float(os.environ.get("KILL_EVERY", "5"))
KILLS = int(os.environ.get("KILLS", "1000"))
# How long a task takes at most, and how long it is missing when its agent was killed.
WORK_SECONDS = float(os.environ.get("WORK_SECONDS", "3"))
LEASE_SECONDS = 5.0
STATUSES = {
    pb.TASK_STATUS_COMPLETED: "completed",
    pb.TASK_STATUS_IN_PROGRESS: "in progress",
    pb.TASK_STATUS_PENDING: "ready",
    pb.TASK_STATUS_BLOCKED: "waiting",
}
CLAIMED, COMPLETED = events.EVENT_TYPE_TASK_CLAIMED, events.EVENT_TYPE_TASK_COMPLETED


def connected(credentials: Credentials) -> Tandem:
    return connect(
        agent_address=os.environ.get("TANDEM_AGENT_ADDRESS", "127.0.0.1:50051"),
        task_address=os.environ.get("TANDEM_TASK_ADDRESS", "127.0.0.1:50052"),
        credentials=credentials,
    )


async def handle(work: Work) -> dict[str, Any]:
    """What an agent does with a task. The token would guard what it writes elsewhere."""
    await asyncio.sleep(random.uniform(0, WORK_SECONDS))  # noqa: S311
    return {"fencing_token": work.fencing_token, "attempt": work.task.attempt}


async def work() -> None:
    """An agent: works until it is killed, or gets a SIGTERM."""
    async with (
        connected(ApiKey(os.environ["TANDEM_API_KEY"])) as tandem,
        tandem.worker(concurrency=3, lease=LEASE_SECONDS) as worker,
    ):
        await worker.run(handle)


async def create_tasks(tandem: Tandem, project_id: str) -> None:
    """Tasks of which each, but the first ones, waits for one or two before it."""
    chance, tasks = random.Random(1), []  # noqa: S311
    for number in range(TASKS):
        before = range(max(0, number - 40), number)
        refs = chance.sample(before, min(chance.randint(1, 2), len(before))) if number > 20 else ()
        task = pb.Task(title=f"Task {number + 1}", dependency_policy=pb.DEPENDENCY_POLICY_WAIT)
        # A kill costs an attempt of each task that the agent held.
        task.max_attempts = 1000
        tasks.append(pb.NewTask(ref=str(number), task=task, depends_on_refs=map(str, refs)))
    request = pb.BatchCreateTasksRequest(project_id=project_id, tasks=tasks)
    await tandem.tasks.BatchCreateTasks(request)


async def set_up(tandem: Tandem) -> tuple[str, dict[str, str]]:
    """A project with tasks: its id, and the API key of each agent by name."""
    wanted = projects.Project(slug=f"workers-{uuid4().hex[:8]}", name="Workers")
    project = await tandem.projects.CreateProject(projects.CreateProjectRequest(project=wanted))
    keys = {}
    for name in NAMES:
        agent = agents.Agent(project_id=project.id, name=name)
        agent = await tandem.agents.CreateAgent(agents.CreateAgentRequest(agent=agent))
        request = auth.CreateApiKeyRequest(api_key=auth.ApiKey(agent_id=agent.id))
        keys[name] = (await tandem.auth.CreateApiKey(request)).secret
    await create_tasks(tandem, project.id)
    print(f"project {project.slug}")  # noqa: T201
    return project.id, keys


class Agents:
    """The processes of the agents."""

    def __init__(self, keys: dict[str, str]) -> None:
        self._keys = keys
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self.kills = 0

    async def start(self, name: str) -> None:
        self._processes[name] = await asyncio.create_subprocess_exec(
            *(sys.executable, __file__, "work"),
            env={**os.environ, "TANDEM_API_KEY": self._keys[name]},
        )

    async def kill(self) -> None:
        """Kill the next one, and start it again, if that was not done often enough."""
        if self.kills == KILLS:
            return
        name = NAMES[self.kills % len(NAMES)]
        self.kills += 1
        process = self._processes[name]
        process.kill()
        await process.wait()
        print(f"          {name} is killed, and starts again")  # noqa: T201
        await self.start(name)

    async def stop(self) -> None:
        """Let all of them end in peace."""
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*(process.wait() for process in self._processes.values()))


async def until_done(tandem: Tandem, project_id: str, often: Callable[[], Awaitable[None]]) -> None:
    """Print how far it is, until no task is left."""
    started, killed_at = asyncio.get_running_loop().time(), 0.0
    while True:
        request = pb.CountTasksRequest(project_id=project_id)
        counts = (await tandem.tasks.CountTasks(request)).counts
        by_status = {count.status: count.count for count in counts}
        seconds = asyncio.get_running_loop().time() - started
        shown = ", ".join(f"{by_status.get(status, 0)} {word}" for status, word in STATUSES.items())
        print(f"{seconds:7.1f} s  {shown}")  # noqa: T201
        if by_status.get(pb.TASK_STATUS_COMPLETED) == TASKS:
            return
        if seconds - killed_at >= KILL_EVERY:
            killed_at = seconds
            await often()
        await asyncio.sleep(min(1.0, KILL_EVERY))


async def report(tandem: Tandem, project_id: str, kills: int) -> None:
    """Count in the log what has happened, with nothing left out and nothing twice."""
    request = events.ListEventsRequest(project_id=project_id, types=[CLAIMED, COMPLETED])
    claims: Counter[str] = Counter()
    completions: Counter[str] = Counter()
    async for event in tandem.pages(tandem.events.ListEvents, request):
        (claims if event.type == CLAIMED else completions)[event.resource_id] += 1
    doubles = sum(count - 1 for count in completions.values())
    print(f"kills {kills}, hand-outs {claims.total()}, completions {completions.total()}")  # noqa: T201
    print(f"doubles {doubles}, lost {TASKS - len(completions)}")  # noqa: T201


async def main() -> None:
    async with connected(Token(os.environ["TOKEN"])) as tandem:
        project_id, keys = await set_up(tandem)
        processes = Agents(keys)
        try:
            for name in NAMES:
                await processes.start(name)
            await until_done(tandem, project_id, processes.kill)
        finally:
            await processes.stop()
        await report(tandem, project_id, processes.kills)


if __name__ == "__main__":
    asyncio.run(work() if sys.argv[1:] == ["work"] else main())
