"""What agents held that are gone comes back, by whichever process of the task service is there."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from uuid import UUID

import pytest

from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import Tandem
from tests.coordination.invariants import broken
from tests.e2e.supervised import Surroundings
from tests.events.estate import Estate
from tests.waiting import until

# An agent that never comes to an end with its tasks.
AGENT = """
import asyncio, os
from tandem_client import ApiKey, connect

async def handle(work):
    await asyncio.Event().wait()

async def work():
    addresses = {name: os.environ[name.upper()] for name in ("agent_address", "task_address")}
    async with connect(credentials=ApiKey(os.environ["KEY"]), **addresses) as tandem:
        async with tandem.worker(concurrency=3, lease=5.0) as worker:
            await worker.run(handle)

asyncio.run(work())
"""
# Five times as many as one look finds.
LEASES, AGENTS, AT_ONCE, CALLS = 5_000, 5, 100, 4
HELD = """
WITH held AS (
    INSERT INTO tasks (id, project_id, title, status, leased, fence, attempt, started_at,
        assigned_agent_id)
    SELECT gen_random_uuid(), $1, 'Task ' || n, 'in_progress', true, 1, 1,
        now() - interval '2 hours', ($2::uuid[])[1 + n % cardinality($2)]
    FROM generate_series(1, $3) n
    RETURNING id, assigned_agent_id
), attempts AS (
    INSERT INTO task_attempts (project_id, task_id, fence, attempt, agent_id, started_at)
    SELECT $1, id, 1, 1, assigned_agent_id, now() - interval '2 hours' FROM held
)
INSERT INTO task_leases (project_id, task_id, agent_id, fence, pooled, agent_slot, expires_at,
    seconds)
SELECT $1, id, assigned_agent_id, 1, true,
    row_number() OVER (PARTITION BY assigned_agent_id), now() - interval '1 hour', 60
FROM held
"""
OVER = "UPDATE task_leases SET expires_at = now() - interval '1 second' WHERE project_id = $1"
HELD_NOW = "SELECT count(*) FROM task_leases WHERE project_id = $1"
BACK = """
SELECT count(*) FROM tasks t JOIN task_attempts a ON a.project_id = t.project_id
    AND a.task_id = t.id AND a.fence = t.fence
WHERE t.project_id = $1 AND t.status = 'pending' AND t.status_reason = 'lease_expired'
    AND t.assigned_agent_id IS NULL AND a.outcome = 'expired'
"""
EXPIRED = """
SELECT count(*), count(DISTINCT resource_id), count(DISTINCT batch), max(sequence)
FROM events WHERE project_id = $1 AND type = 'task.lease_expired'
"""
LARGEST = """
SELECT max(n) FROM (
    SELECT count(*) AS n FROM events WHERE project_id = $1 AND type = 'task.lease_expired'
    GROUP BY batch
) batches
"""
CREATED = """
SELECT count(*) FROM events WHERE project_id = $1 AND type = 'task.created' AND sequence < $2
"""
HEAD = "SELECT FROM event_heads WHERE project_id = $1 FOR UPDATE"
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = 'tasks'
"""
SERVICES = ("tasks", "other_tasks")


class Site:
    """A project on an estate, and its owner."""

    def __init__(self, estate: Estate, owner: Tandem, project_id: str) -> None:
        self.estate, self.owner = estate, owner
        self.project_id, self.id = project_id, UUID(project_id)

    @classmethod
    async def new(cls, estate: Estate, owner: Tandem, name: str) -> "Site":
        """A new project."""
        new = CreateProjectRequest(project=Project(slug=name, name=name))
        return cls(estate, owner, (await owner.projects.CreateProject(new)).id)

    async def agents(self, number: int) -> list[Agent]:
        """New agents, each of which may hold all that one can."""
        agents = (
            Agent(project_id=self.project_id, name=f"Agent {n}", max_leases=1000)
            for n in range(number)
        )
        requests = [CreateAgentRequest(agent=agent) for agent in agents]
        return [await self.owner.agents.CreateAgent(request) for request in requests]

    async def key(self, agent: Agent) -> str:
        """A new API key of an agent."""
        request = auth.CreateApiKeyRequest(api_key=auth.ApiKey(agent_id=agent.id))
        answer: Any = await self.owner.auth.CreateApiKey(request)
        return str(answer.secret)

    async def task(self) -> pb.Task:
        """A new task."""
        new = pb.Task(project_id=self.project_id, title="Task")
        task: pb.Task = await self.owner.tasks.CreateTask(pb.CreateTaskRequest(task=new))
        return task

    async def count(self, statement: str) -> Any:
        """What a statement about the project counts."""
        return await self.estate.ask(statement, *([self.id] if "$1" in statement else ()))

    async def until(self, statement: str, number: int) -> None:
        """Wait until it counts so many. To look seldom leaves the machine to what is tested."""

        async def does() -> bool:
            await asyncio.sleep(0.2)
            return bool(await self.count(statement) == number)

        await until(does)


async def stop(estate: Estate, *names: str) -> None:
    """SIGKILL of services, which stay away."""
    for name in names:
        estate.processes[name].kill()
        await asyncio.to_thread(estate.processes[name].wait)


@contextmanager
def working(site: Site, key: str) -> Iterator["subprocess.Popen[bytes]"]:
    """The process of an agent."""
    estate = site.estate
    addresses = {"AGENT_ADDRESS": estate.address("agents"), "TASK_ADDRESS": estate.address("tasks")}
    process = subprocess.Popen(
        [sys.executable, "-c", AGENT], env={**os.environ, **addresses, "KEY": key}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@asynccontextmanager
async def log_held(site: Site) -> AsyncIterator[None]:
    """Nothing can be written to the log of the project until the end of the block."""
    async with site.estate.database() as connection, connection.transaction():
        await connection.execute(HEAD, site.id)
        yield


@pytest.mark.long
async def test_what_agents_held_that_are_gone_comes_back(tandem: Surroundings) -> None:
    async with Estate.on(tandem.data_dir) as estate, estate.tandem(await estate.user()) as owner:
        await from_a_killed_agent_by_another_service(await Site.new(estate, owner, "one"))
        await estate.start("tasks")
        await after_an_hour_without_services(await Site.new(estate, owner, "other"))


async def from_a_killed_agent_by_another_service(site: Site) -> None:
    """The service that gave it the tasks is killed, too."""
    [agent] = await site.agents(1)
    for _ in range(3):
        await site.task()
    with working(site, await site.key(agent)) as process:
        await site.until(HELD_NOW, 3)
        process.kill()
        process.wait()
    await stop(site.estate, "tasks")
    await site.estate.ask(OVER, site.id)
    await site.until(BACK, 3)
    async with site.estate.database() as connection:
        number, of_tasks, *_ = await connection.fetchrow(EXPIRED, site.id)
        assert await broken(connection, site.project_id) == []
    assert (number, of_tasks) == (3, 3)


async def after_an_hour_without_services(site: Site) -> None:
    """A bounded part at once, so that calls are served in between."""
    agents = [UUID(agent.id) for agent in await site.agents(AGENTS)]
    await stop(site.estate, *SERVICES)
    await site.estate.ask(HELD, site.id, agents, LEASES)
    async with log_held(site):
        await asyncio.gather(*map(site.estate.start, SERVICES))
        calls = [asyncio.ensure_future(site.task()) for _ in range(CALLS)]
        await site.until(WAITING, len(SERVICES) + CALLS)
        listed = await site.owner.tasks.ListTasks(pb.ListTasksRequest(project_id=site.project_id))
        assert len(listed.tasks) > 0, "nothing is in the way of those who only read"
    await asyncio.gather(*calls)
    await site.until(HELD_NOW, 0)
    assert await site.count(BACK) == LEASES
    async with site.estate.database() as connection:
        number, of_tasks, batches, last = await connection.fetchrow(EXPIRED, site.id)
        before_the_last = await connection.fetchval(CREATED, site.id, last)
    assert (number, of_tasks) == (LEASES, LEASES), "each comes back once"
    assert await site.count(LARGEST) <= AT_ONCE
    assert batches >= LEASES / AT_ONCE
    assert before_the_last >= CALLS
