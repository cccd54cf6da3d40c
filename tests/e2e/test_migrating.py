"""What the services answer while a migration runs, and that they recover from it."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from migrations import run
from migrations.history import NEWEST
from migrations.transaction import MigrationError
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest, GetAgentRequest
from tandem.agent.v1.project_service_pb2 import Project
from tests.locks import under_way
from tests.refusals import outcome
from tests.world import User, World

ANSWERS = {"OK", "CONFLICT", "DATABASE_UNAVAILABLE"}
WORKERS = 4
ROUNDS = 3

# The next revision, of which the services know nothing: it adds columns and replaces all indexes.
REVISION = f'''
from alembic import op

revision = "999_of_this_test"
down_revision = "{NEWEST}"

INDEXES = """
SELECT indexrelid::regclass, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid IN ('agents'::regclass, 'projects'::regclass)
  AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)
"""


def upgrade():
    op.execute("ALTER TABLE agents ADD later text DEFAULT 'x'")
    op.execute("ALTER TABLE projects ADD later text DEFAULT 'x'")
    replace_indexes()


def downgrade():
    op.execute("ALTER TABLE agents DROP later")
    op.execute("ALTER TABLE projects DROP later")
    replace_indexes()


def replace_indexes():
    for name, definition in op.get_bind().exec_driver_sql(INDEXES).all():
        op.execute(f"DROP INDEX {{name}}")
        op.execute(definition)
'''  # noqa: S608


@pytest.fixture(autouse=True)
def next_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = shutil.copytree(run.SCRIPTS, tmp_path / "migrations")
    (copy / "versions" / "999_of_this_test.py").write_text(REVISION)
    monkeypatch.setattr(run, "SCRIPTS", copy)


async def test_services_at_work_lose_nothing_by_a_migration(fresh_world: World) -> None:
    alice = await fresh_world.user()
    project = await alice.project()
    answers: list[list[str]] = [[] for _ in range(WORKERS)]
    migration = asyncio.create_task(migrate_there_and_back(fresh_world.url, answers))
    await asyncio.gather(*(work(alice, project, own, migration) for own in answers))
    await migration
    together = [answer for own in answers for answer in own]
    assert set(together) <= ANSWERS
    assert {own[-1] for own in answers} == {"OK"}
    assert await fresh_world.value("SELECT count(*) FROM agents") == together.count("OK")


async def work(
    alice: User, project: Project, answers: list[str], migration: "asyncio.Task[None]"
) -> None:
    """Create agents until the migration is over, and one more."""
    over = False
    while not over:
        over = migration.done()
        agent = Agent(project_id=project.id, name=f"agent {id(answers)} {len(answers)}")
        answers.append(await outcome(alice.agents.CreateAgent(CreateAgentRequest(agent=agent))))


async def migrate_there_and_back(url: str, answers: list[list[str]]) -> None:
    """Several times, and until each worker has succeeded several times meanwhile."""
    rounds = 0
    while rounds < ROUNDS or min(own.count("OK") for own in answers) <= 10:
        await migrate(run.upgrade, url, "head")
        await migrate(run.downgrade, url, NEWEST)
        rounds += 1


async def migrate(how: Callable[[str, str], None], url: str, revision: str) -> None:
    """If a call and a migrator deadlock, PostgreSQL may end the migrator: then once more."""
    for _ in range(5):
        try:
            return await asyncio.to_thread(how, url, revision)
        except MigrationError as error:
            if "deadlock" not in str(error):
                raise
    raise AssertionError("a deadlock each time")


async def test_a_migrator_that_cannot_lock_a_table_gives_up(fresh_world: World) -> None:
    alice = await fresh_world.user()
    agent = await alice.agent(await alice.project())
    get = GetAgentRequest(agent_id=agent.id)
    lock = "LOCK TABLE agents IN ACCESS SHARE MODE"
    async with under_way(fresh_world.url, lock) as blocked, asyncio.timeout(60):
        migrator = asyncio.create_task(asyncio.to_thread(run.upgrade, fresh_world.url))
        await blocked.wait()
        assert await outcome(alice.agents.GetAgent(get)) == "CONFLICT"
        with pytest.raises(MigrationError, match="kept a table locked"):
            await migrator
        assert await outcome(alice.agents.GetAgent(get)) == "OK"
    assert await fresh_world.value("SELECT version_num FROM alembic_version") == NEWEST
