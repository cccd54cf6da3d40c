"""The database fails under a running service, and comes back."""

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import grpc
import psutil
import pytest

from local.embedded_postgres import Server, start
from local.embedded_postgres.processes import ends_within
from migrations.run import upgrade
from shared.database.pool import Connection
from shared.database.transaction import Database
from shared.errors import Reason
from shared.settings import SecretStr, Settings
from tandem.agent.v1.agent_service_pb2 import Agent, GetAgentRequest, UpdateAgentRequest
from tests.locks import CUT_OFF, under_way
from tests.refusals import Refused, refused
from tests.waiting import SECONDS, until
from tests.world import SECRET, User, World

END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


async def outage(call: object) -> Refused:
    found = await refused(call, Reason.DATABASE_UNAVAILABLE)  # type: ignore[arg-type]
    assert found.message == "The database does not answer; try again."
    assert found.details["RetryInfo"].retry_delay.seconds == 1
    return found


async def until_served(alice: User, agent: Agent) -> Agent:
    """What GetAgent answers as soon as it answers again; no other refusal comes before."""
    found: list[Agent] = []

    async def served() -> bool:
        try:
            found.append(await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)))
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017
        return bool(found)

    await until(served)
    return found[0]


async def test_connections_that_are_cut_are_replaced(fresh_world: World) -> None:
    alice = await fresh_world.user()
    agent = await alice.agent(await alice.project())
    connection = await asyncpg.connect(fresh_world.url)
    for _ in range(3):
        get = [alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) for _ in range(20)]
        await connection.execute(END_OTHERS)
        for call in get:
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call
        assert await until_served(alice, agent) == agent
    await connection.close()


def is_lost(connection: Connection) -> bool:
    """Whether the pool has seen the end of it."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:
        return True


async def test_connections_that_are_cut_while_idle_refuse_nobody(
    database: Database, database_url: str
) -> None:
    """After the database was restarted, no call sees a closed connection."""
    opened: list[Connection] = []
    all_are = asyncio.Barrier(10)

    async def open_one(connection: Connection) -> None:
        opened.append(connection)
        await all_are.wait()

    await asyncio.gather(*(database.read(open_one) for _ in range(10)))
    connection = await asyncpg.connect(database_url)
    assert len(await connection.fetch(END_OTHERS)) == 10
    await connection.close()
    await until(lambda: all(map(is_lost, opened)))
    for _ in range(10):
        assert await database.read(lambda c: c.fetchval("SELECT 1")) == 1


async def test_a_connection_that_is_cut_in_mid_change_changes_nothing(
    fresh_world: World,
) -> None:
    alice = await fresh_world.user()
    agent = await alice.agent(await alice.project())
    connection = await asyncpg.connect(fresh_world.url)
    request = UpdateAgentRequest(agent=Agent(id=agent.id, nickname="N"))
    async with under_way(fresh_world.url, "LOCK TABLE agents") as blocked:
        call = asyncio.ensure_future(alice.agents.UpdateAgent(request))
        await blocked.wait()
        # Not all: were the one that holds the lock ended first, the change could still be made.
        await connection.execute(CUT_OFF)
        await outage(call)
    await connection.close()
    assert await until_served(alice, agent) == agent
    assert (await alice.agents.UpdateAgent(request)).revision == 2


@pytest.fixture
def postmaster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server of this test's own, which it may kill."""
    folder = tmp_path_factory.mktemp("killed")
    server = start(folder)
    upgrade(server.url)
    yield server, folder
    start(folder).stop(at_once=True)
    if server.home.folder.exists():
        shutil.rmtree(server.home.folder)


def kill_whole(server: Server) -> None:
    """A backend that outlives its postmaster for a moment would answer once more."""
    processes = [server.process, *server.process.children()]
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # a backend ends by itself, too
            process.kill()
    for process in processes:
        assert ends_within(process, SECONDS)


async def test_a_postmaster_is_killed_and_comes_back(postmaster: tuple[Server, Path]) -> None:
    server, folder = postmaster
    settings = Settings(database_url=SecretStr(server.url), jwt_secret=SECRET)
    database = await Database.connect(server.url, size=3)
    async with World.built(database, settings) as world:
        alice = await world.user()
        agent = await alice.agent(await alice.project())
        kill_whole(server)
        for _ in range(3):
            await outage(alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)))
        await outage(alice.project())
        await asyncio.to_thread(start, folder)
        assert await until_served(alice, agent) == agent
        await alice.project()
    await database.close()
