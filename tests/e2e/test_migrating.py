"""What the services answer while a migration runs, and that they recover from it."""

import asyncio
from collections.abc import Callable

import pytest

from migrations import run
from migrations.history import NEWEST
from migrations.transaction import MigrationError
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest, GetAgentRequest
from tandem.agent.v1.project_service_pb2 import Project
from tests.locks import under_way
from tests.refusals import outcome
from tests.world import User, World

# From here on, revisions add indexes only, so that the services can do with any of them.
SERVED = "008_add_request_ids"
ANSWERS = {"OK", "CONFLICT", "DATABASE_UNAVAILABLE"}
WORKERS = 4


async def test_services_at_work_lose_nothing_by_a_migration(
    world: World, database_url: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    migration = asyncio.create_task(migrate_there_and_back(database_url))
    works = await asyncio.gather(*(work(alice, project, n, migration) for n in range(WORKERS)))
    await migration
    answers = [answer for work in works for answer in work]
    assert set(answers) <= ANSWERS
    assert answers.count("OK") > 10 * WORKERS
    assert {work[-1] for work in works} == {"OK"}
    assert await world.value("SELECT count(*) FROM agents") == answers.count("OK")


async def work(
    alice: User, project: Project, number: int, migration: "asyncio.Task[None]"
) -> list[str]:
    """Create agents until the migration is over, and one more; what became of each."""
    answers: list[str] = []
    over = False
    while not over:
        over = migration.done()
        agent = Agent(project_id=project.id, name=f"agent {number} {len(answers)}")
        answers.append(await outcome(alice.agents.CreateAgent(CreateAgentRequest(agent=agent))))
    return answers


async def migrate_there_and_back(url: str) -> None:
    for _ in range(3):
        await migrate(run.downgrade, url, SERVED)
        await migrate(run.upgrade, url, "head")


async def migrate(how: Callable[[str, str], None], url: str, revision: str) -> None:
    """Where services and migrator wait for each other, PostgreSQL may end either: once more."""
    for _ in range(5):
        try:
            return await asyncio.to_thread(how, url, revision)
        except MigrationError as error:
            if "deadlock" not in str(error):
                raise
    raise AssertionError("a deadlock each time")


async def test_a_migrator_that_cannot_have_a_table_gives_up(
    world: World, database_url: str
) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    get = GetAgentRequest(agent_id=agent.id)
    held = "LOCK TABLE agents IN ACCESS SHARE MODE"
    async with under_way(database_url, held) as blocked, asyncio.timeout(20):
        migration = asyncio.to_thread(run.downgrade, database_url, SERVED)
        migrator = asyncio.create_task(migration)
        await blocked.wait()
        assert await outcome(alice.agents.GetAgent(get)) == "CONFLICT"
        with pytest.raises(MigrationError, match="kept a table locked"):
            await migrator
        assert await outcome(alice.agents.GetAgent(get)) == "OK"
    assert await world.value("SELECT version_num FROM alembic_version") == NEWEST
