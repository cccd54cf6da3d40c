"""Everything is killed while agents share tasks: none is worked on twice, and none is lost.

TANDEM_TEST_KILLS says how many kills there are: `make faults` makes it a run of minutes.
"""

import asyncio
import os
import sys
from collections import Counter
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem_client import ApiKey, Tandem
from tests.coordination.crowd import CAPABILITIES, Manager, Member, Told, Worker
from tests.coordination.drain import Drain
from tests.coordination.invariants import broken
from tests.e2e.supervised import Surroundings
from tests.events.estate import AWAY, CHANCE, Estate
from tests.events.replay import differences, replay, todays
from tests.waiting import until

# Most of them cost little: the end of a connection can come at any point of any statement.
KINDS = (*["terminate"] * 6, "backend", *["terminate"] * 6, "service", *["terminate"] * 14)
KINDS = (*KINDS, "drain", "postmaster")
LONG_KINDS = ("terminate", "backend", "service", "terminate", "drain", "backend", "postmaster")
KILLS = int(os.environ.get("TANDEM_TEST_KILLS", len(KINDS)))
KINDS = KINDS if len(KINDS) == KILLS else LONG_KINDS
CALLS_PER_KILL = 20
AGENTS, MANAGERS, MOST_LEASES = 4, 2, 5
# Time goes by for some of what waits for it: so much that the sweep has to act.
LATER = """
WITH expired AS (UPDATE task_leases SET expires_at = now() - interval '1 second'
    WHERE task_id IN (SELECT task_id FROM task_leases ORDER BY random() LIMIT $1)),
over AS (UPDATE tasks SET cancel_deadline = now() - interval '1 second'
    WHERE id IN (SELECT id FROM tasks WHERE cancel_deadline > now() ORDER BY random() LIMIT $1)),
free AS (UPDATE tasks SET preferred_until = now() - interval '1 second'
    WHERE id IN (SELECT id FROM tasks WHERE preferred_until > now() ORDER BY random() LIMIT $1))
UPDATE agent_presence SET last_seen_at = now() - interval '1 hour'
WHERE agent_id = (SELECT agent_id FROM agent_presence ORDER BY random() LIMIT 1)
"""
CHANGES = "SELECT resource_id::text || ' ' || revision FROM events WHERE project_id = $1"
# A claim sets its agent online in a transaction of its own.
BATCHES = """
SELECT request_id FROM events
WHERE project_id = $1 AND request_id IS NOT NULL AND resource_type = 'task'
GROUP BY request_id HAVING count(DISTINCT batch) > 1
"""
DELETED = "SELECT resource_id::text FROM events WHERE project_id = $1 AND type = 'task.deleted'"
OUTCOMES = "SELECT task_id::text, fence, outcome FROM task_attempts WHERE project_id = $1"
EVENTS = "SELECT * FROM events WHERE project_id = $1 ORDER BY sequence"


@pytest.mark.long
@pytest.mark.timeout(600 + 20 * KILLS)
async def test_no_kill_gives_a_task_to_two_agents_or_loses_one(tandem: Surroundings) -> None:
    async with Estate.on(tandem.data_dir) as estate:
        run = await Run.prepared(estate)
        try:
            await run.all()
            await run.check()
            await run.drain()
            await run.check()
        finally:
            sys.stderr.write(f"\n{run.summary()}\n")


class Run:
    """Those who share the tasks of one project, and what is done to them."""

    def __init__(self, estate: Estate, project_id: str, owner: Tandem, agents: list[Agent]) -> None:
        self.estate = estate
        self.project_id, self.id = project_id, UUID(project_id)
        self.owner, self.agents = owner, agents
        self.told = Told()
        self.members: list[Member] = []
        self.samples = self.lost = 0

    @classmethod
    async def prepared(cls, estate: Estate) -> "Run":
        """A project whose agents may claim: each by its key, or an admin of the project for it."""
        token = await estate.user()
        owner = estate.tandem(token)
        new = CreateProjectRequest(project=Project(slug="shared", name="Shared"))
        project = await owner.projects.CreateProject(new)
        agents = [await _agent(owner, project.id, number) for number in range(AGENTS)]
        run = cls(estate, project.id, owner, agents)
        for number, agent in enumerate(agents):
            credentials = ApiKey(await _key(owner, agent)) if number % 2 else token
            client = estate.tandem(credentials, ("tasks", "other_tasks")[number // 2])
            run.members.append(Worker(client, agent, run.told))
        clients = [estate.tandem(token, first) for first in ("tasks", "other_tasks")]
        run.members += (Manager(client, agents, run.told) for client in clients[:MANAGERS])
        return run

    async def all(self) -> None:
        """Kill as often as asked for."""
        turns = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as group:
            acting = [group.create_task(member.act(turns)) for member in self.members]
            for number in range(KILLS):
                before = self.calls()
                for _ in range(CALLS_PER_KILL):
                    turns.release()
                await until(partial(self.have_called, before + CHANCE.randint(1, CALLS_PER_KILL)))
                await self.estate.kill(KINDS[number % len(KINDS)])
                await self.estate.ask(LATER, CHANCE.randint(0, 2))
                await self.sample()
            await until(partial(self.have_called, KILLS * CALLS_PER_KILL))
            for task in acting:
                task.cancel()

    def calls(self) -> int:
        """How many calls have been made."""
        return sum(member.calls for member in self.members)

    def have_called(self, count: int) -> bool:
        """Whether so many calls have been made."""
        return self.calls() >= count

    async def sample(self) -> None:
        """What holds at any time, holds now."""
        assert await self.broken() == []
        self.samples += 1

    async def broken(self) -> list[str]:
        """What does not hold, once the database answers."""
        while True:
            try:
                async with self.estate.database() as connection:
                    return await broken(connection, self.project_id)
            except AWAY:
                await asyncio.sleep(0.05)

    async def check(self) -> None:
        """What was told is true, and the log says what the rows are."""
        assert self.told.twice() == []
        assert await self.broken() == []
        async with self.estate.database() as connection:
            log = await connection.fetch(EVENTS, self.id)
            found = await todays(connection, self.project_id)
            assert list(differences(replay(log), found)) == []
            changes = {row[0] for row in await connection.fetch(CHANGES, self.id)}
            deleted = {row[0] for row in await connection.fetch(DELETED, self.id)}
            assert await connection.fetch(BATCHES, self.id) == []
            rows = await connection.fetch(OUTCOMES, self.id)
        told = {f"{each.resource_id} {each.revision}" for each in self.told.changes}
        assert told - changes == set()
        assert set(self.told.deleted) - deleted == set()
        self.check_leases({(row[0], row[1]): row[2] for row in rows}, deleted)

    def check_leases(self, outcomes: dict[tuple[str, int], str | None], deleted: set[str]) -> None:
        """Leases were handed out that there are, and are lost or used as was told."""
        handed_out = {lease for lease in self.told.handed_out if lease.task_id not in deleted}
        assert handed_out - outcomes.keys() == set()
        for lease, count in Counter(self.told.completed).items():
            assert count == 1
            assert lease.task_id in deleted or outcomes[lease] == "completed", lease
        for lease in self.told.lost:
            assert lease.task_id in deleted or outcomes[lease] not in (None, "completed"), lease

    async def drain(self) -> None:
        """All that can be done is done: what is left over then is lost."""
        drain = Drain(self.owner, self.project_id, self.agents, self.told)
        await self.estate.ask(LATER, 1_000_000)
        await drain.all()
        self.lost = len(left := await drain.left())
        assert left == []

    def summary(self) -> str:
        """The figures of the run."""
        kills = ", ".join(f"{name} {count}" for name, count in self.estate.kills.items())
        refused = ", ".join(f"{name} {count}" for name, count in self.told.refused.items())
        return (
            f"{sum(self.estate.kills.values())} kills ({kills}), {self.calls()} calls, "
            f"{len(self.told.handed_out)} hand-outs, {len(self.told.twice())} doubles, "
            f"{len(self.told.completed)} completions, {len(self.told.lost)} leases lost and told, "
            f"{self.lost} tasks lost, {self.samples} samples, refused: {refused}"
        )


async def _agent(owner: Tandem, project_id: str, number: int) -> Agent:
    agent = Agent(
        project_id=project_id,
        name=f"Agent {number}",
        capabilities=CAPABILITIES,
        max_leases=MOST_LEASES,
    )
    created: Agent = await owner.agents.CreateAgent(CreateAgentRequest(agent=agent))
    return created


async def _key(owner: Tandem, agent: Agent) -> str:
    key = auth.ApiKey(agent_id=agent.id, scopes=[auth.API_KEY_SCOPE_CLAIM_TASKS])
    answer: Any = await owner.auth.CreateApiKey(auth.CreateApiKeyRequest(api_key=key))
    return str(answer.secret)
