"""Services whose issuer is down, slow or back again, as their callers see it."""

import signal
import time
from collections.abc import Iterator

import grpc
import orjson
import pytest

from shared.errors import Reason
from shared.settings import Settings
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tests.issuer import Issuer, issuing, published, token
from tests.processes import Process, service
from tests.refusals import refused
from tests.waiting import SECONDS, until
from tests.world import Channels, Client, World

WHO = WhoAmIRequest()
KEY = published("RS256", "a")


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with issuing() as issuer:
        yield issuer


async def caller(world: World) -> Client:
    """A user of the issuer's."""
    user = await world.user()
    return Client(world.channels, token("RS256", "a", sub=str(user.id)))


def listening(process: Process) -> int:
    """Where it listens, as soon as it does, whatever it says before."""
    assert process.stderr
    while (said := orjson.loads(process.stderr.readline()))["event"] != "listening":
        pass
    port: int = said["port"]
    return port


async def served(client: Client) -> bool:
    """Whether the caller is let in."""
    try:
        await client.auth.WhoAmI(WHO)
    except grpc.aio.AioRpcError:
        return False
    return True


async def test_services_start_without_their_issuer(world: World) -> None:
    with issuing() as gone:
        gone.stop()
    async with World.built(world.database, Settings(jwt_jwks_url=gone.url)) as theirs:
        alice = await caller(theirs)
        found = await refused(alice.auth.WhoAmI(WHO), Reason.ISSUER_UNAVAILABLE)
        assert found.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        with issuing(gone.port) as back:
            back.publish(KEY)
            await until(lambda: served(alice))


async def test_who_waits_for_an_issuer_has_a_deadline(world: World, issuer: Issuer) -> None:
    issuer.answer = issuer.hang
    async with World.built(world.database, Settings(jwt_jwks_url=issuer.url)) as theirs:
        alice = await caller(theirs)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await alice.auth.WhoAmI(WHO, timeout=0.5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        # The service gives up long before the deadline of this call.
        await refused(alice.auth.WhoAmI(WHO), Reason.ISSUER_UNAVAILABLE)
        issuer.publish(KEY)
        await until(lambda: served(alice))


@pytest.mark.parametrize("module", ["agent_service", "task_service"])
def test_a_process_ends_although_its_issuer_hangs(
    module: str, database_url: str, issuer: Issuer
) -> None:
    issuer.answer = issuer.hang
    process = service(
        module,
        TANDEM_DATABASE_URL=database_url,
        TANDEM_JWT_SECRET="",
        TANDEM_JWT_JWKS_URL=issuer.url,
    )
    listening(process)
    before = issuer.fetches
    while issuer.fetches == before:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0
    # The last fetch has not come to the end of its time: that is logged.
    assert said.count("cannot fetch") == issuer.fetches - 1


async def test_a_process_serves_what_its_issuer_publishes(world: World, issuer: Issuer) -> None:
    issuer.publish(KEY)
    process = service(
        "agent_service",
        TANDEM_DATABASE_URL=world.url,
        TANDEM_JWT_SECRET="",
        TANDEM_JWT_JWKS_URL=issuer.url,
    )
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{listening(process)}") as channel:
            alice = await world.user()
            channels = Channels(channel, channel)
            assert await served(Client(channels, token("RS256", "a", sub=str(alice.id))))
            issuer.publish(KEY, published("EdDSA", "b"))
            assert await served(Client(channels, token("EdDSA", "b", sub=str(alice.id))))
            made_up = Client(channels, token("EdDSA", "c", sub=str(alice.id)))
            await refused(made_up.auth.WhoAmI(WHO), Reason.TOKEN_INVALID)
            assert issuer.fetches == 2
    finally:
        process.terminate()
        process.communicate(timeout=SECONDS)
