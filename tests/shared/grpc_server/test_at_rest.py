"""After calls that ended in every way, at random moments, nothing of them is counted any more."""

import asyncio
from contextlib import suppress
from random import Random
from typing import Any
from uuid import uuid4

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest
from grpc_health.v1.health_pb2_grpc import HealthStub
from structlog.testing import capture_logs

from agent_service.__main__ import build
from agent_service.agents.rules import AgentRules
from shared.grpc_server.server import Server
from tandem.agent.v1.agent_service_pb2 import GetAgentRequest
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tests.http2 import READS_NOTHING, call, cancel, connected, first_window, settled
from tests.locks import under_way
from tests.log_lines import owners
from tests.refusals import outcome
from tests.shared.grpc_server.door import WHO_AM_I, Door, opened
from tests.waiting import until
from tests.world import Channels, Client, User, World

WATCH_HEALTH = "/grpc.health.v1.Health/Watch"
CALLS = 120
MOMENT_SECONDS = 0.05
HOUR_SECONDS = 3600.0
GONE = 100
LOCKED = "LOCK TABLE projects IN EXCLUSIVE MODE"


def counted(server: Server) -> dict[str, Any]:
    """All that the admission counts."""
    edge = server._interceptor
    streams = edge._streams
    shares = {"places": edge._places, "probes": edge._probes, "streams": streams._of_hosts}
    return {
        **{name: (share.free, dict(share.held)) for name, share in shares.items()},
        "crowd": vars(edge.crowd) | {"_calm": 0},
        "callers": dict(edge._callers),
        "strangers": dict(edge._strangers),
        "connections": dict(streams._of_connections),
        "tasks": set(streams._tasks),
    }


class Mixture:
    """Calls of every kind, by two users and by strangers; each method ends in its own way."""

    def __init__(self, door: Door, alice: User, bob: User, random: Random) -> None:
        self._door = door
        self._users = alice, bob
        self._random = random

    async def join(self) -> None:
        """Connect the users."""
        self._alice, self._bob = [await self._door.client(user) for user in self._users]

    async def moment(self) -> None:
        """Let some time pass, or no more than what others do in between."""
        await asyncio.sleep(self._random.choice((0, self._random.random() * MOMENT_SECONDS)))

    async def served(self) -> None:
        await ended(self._bob.auth.WhoAmI(WhoAmIRequest()))

    async def checked(self) -> None:
        stub: Any = HealthStub(self._alice.channels.agents)
        await ended(stub.Check(HealthCheckRequest()))

    async def watched(self) -> None:
        stub: Any = HealthStub(self._bob.channels.agents)
        watch = stub.Watch(HealthCheckRequest())
        await ended(watch.read())
        await self._given_up(watch.read(), watch)

    async def locked(self) -> None:
        await ended(self._alice.project())

    async def given_up(self) -> None:
        request = CreateProjectRequest(project=Project(slug=f"p-{uuid4().hex}", name="Project"))
        await self._given_up(self._alice.projects.CreateProject(request))

    async def out_of_time(self) -> None:
        client = self._random.choice((self._alice, self._bob))
        deadline = self._random.random() * MOMENT_SECONDS
        await ended(client.auth.WhoAmI(WhoAmIRequest(), timeout=deadline))

    async def unknown(self) -> None:
        stranger = Client(self._alice.channels, self._random.choice((None, "made up")))
        await ended(stranger.auth.WhoAmI(WhoAmIRequest()))

    async def faulty(self) -> None:
        await ended(self._bob.agents.GetAgent(GetAgentRequest(agent_id=str(uuid4()))))

    async def silent(self) -> None:
        user = self._random.choice((None, *self._users))
        await self._given_up(await self._door.silent(WHO_AM_I, user))

    async def lost(self) -> None:
        """A connection that reads nothing, or a byte, and is gone while calls are under way."""
        bearer = {"authorization": f"Bearer {self._users[0].token}".encode()}
        window = first_window(self._random.choice((0, 1, 1000)))
        async with connected(self._door.port, window) as (_, writer):
            for stream in range(1, 16, 2):
                writer.write(call(WHO_AM_I, bearer, stream=stream))
                if self._random.random() < 0.3:
                    writer.write(cancel(stream))
            await self.moment()

    async def _given_up(self, call: Any, stream: Any = None) -> None:
        waiting = asyncio.ensure_future(ended(call))
        await self.moment()
        (stream or call).cancel()
        await waiting


async def ended(call: Any) -> None:
    """Await the end of a call, whatever that is."""
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await call


KINDS = [
    Mixture.served,
    Mixture.checked,
    Mixture.watched,
    Mixture.locked,
    Mixture.given_up,
    Mixture.out_of_time,
    Mixture.unknown,
    Mixture.faulty,
    Mixture.silent,
    Mixture.lost,
]


async def fault(*_: object) -> None:
    raise RuntimeError


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_calls_end_with_nothing_of_them_remains(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(AgentRules, "get", fault)
    for name in ("MESSAGE_SECONDS", "ANSWER_SECONDS"):  # or the sweep would mend what is wrong
        monkeypatch.setattr(f"shared.grpc_server.interceptor.{name}", HOUR_SECONDS)
    random = Random(seed)  # noqa: S311
    alice, bob = [await world.user() for _ in range(2)]
    async with opened(world) as door:
        before = counted(door.server)
        mixture = Mixture(door, alice, bob, random)
        await mixture.join()

        async def one(kind: Any) -> None:
            await mixture.moment()
            await kind(mixture)

        async with under_way(world.url, LOCKED) as blocked:
            calls = [asyncio.create_task(one(random.choice(KINDS))) for _ in range(CALLS)]
            await blocked.wait()
            await asyncio.sleep(MOMENT_SECONDS)
        await asyncio.gather(*calls)
        await until(lambda: counted(door.server) == before)
        await mixture.served()


async def test_a_server_can_be_stopped_and_started_again_in_one_process(world: World) -> None:
    alice = await world.user()
    await until(lambda: not owners())
    others = asyncio.all_tasks()
    port = 0
    for _ in range(3):
        server = build(world.database, world.settings)
        port = await server.start(f"127.0.0.1:{port}")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            client = Client(Channels(channel, channel), alice.token)
            assert await outcome(client.auth.WhoAmI(WhoAmIRequest())) == "OK"
            await server.stop()
        await until(lambda: not asyncio.all_tasks() - others)


@pytest.mark.parametrize("method", [WHO_AM_I, WATCH_HEALTH])
async def test_a_client_that_is_gone_when_it_is_turned_away_is_no_fault(
    world: World, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    server = build(world.database, world.settings)
    port = await server.start("127.0.0.1:0")
    server._interceptor._ending = True
    with capture_logs() as lines:
        async with connected(port, READS_NOTHING) as (reader, writer):
            await settled(reader, writer)
            for stream in range(1, 2 * GONE, 2):
                writer.write(call(method, {}, stream=stream) + cancel(stream))
            await writer.drain()
        await until(lambda: bool(lines) and not owners())
    await server.stop()
    assert {line.get("code") for line in lines} <= {"UNAVAILABLE", "CANCELLED"}
    assert caplog.records == []
