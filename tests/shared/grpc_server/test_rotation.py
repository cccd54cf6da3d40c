"""Certificates are replaced while the services run: no call fails, and the old ones are out."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from structlog.testing import capture_logs
from structlog.typing import EventDict

from agent_service.__main__ import build as build_agents
from shared.grpc_server import certificates
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from task_service.__main__ import build as build_tasks
from tests.authority import HERE, Authority, Signed, written
from tests.task_service.steps import assign
from tests.tls import both, listening, of_client, of_port, secure, serial_at
from tests.waiting import SECONDS, until
from tests.world import Channels, Client, User, World

OLD, NEW = Authority("old"), Authority("new")
EITHER = OLD.pem + NEW.pem
CLIENT = OLD.signs(x509.DNSName("scout.example.org"))
ROTATIONS = 5
KEPT = "new certificates cannot be used; those of before stay"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed files are noticed at once."""
    monkeypatch.setattr("shared.grpc_server.certificates.LOOK_SECONDS", 0.01)


class Looks:
    """Counts how often the files are looked at."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        monkeypatch.setattr(certificates, "read", self._read)

    def _read(self, files: certificates.Files, read: Any = certificates.read) -> certificates.Pem:
        self._count += 1
        pem: certificates.Pem = read(files)
        return pem

    async def pass_by(self, times: int) -> None:
        """Wait until they have been looked at so many times more, each from its beginning on."""
        enough = self._count + times + 1
        await until(lambda: self._count > enough)


@dataclass
class Load:
    """Calls without a pause, of which not one may fail."""

    calls: int = 0
    failures: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def under(self, *callers: Callable[[], Awaitable[Any]]) -> AsyncIterator["Load"]:
        """Each caller calls again and again in the block."""
        tasks = [asyncio.create_task(self._repeat(each)) for each in callers]
        yield self
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def _repeat(self, call: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await call()
            except grpc.aio.AioRpcError as error:
                self.failures.append(f"{error.code().name}: {error.details()}")
            self.calls += 1
            await asyncio.sleep(0.005)

    async def goes_on(self) -> None:
        """Some more calls are made."""
        enough = self.calls + 10
        await until(lambda: self.calls >= enough)


async def test_no_call_fails_while_a_port_gets_new_certificates(
    world: World, tmp_path: Path
) -> None:
    alice, first = await world.user(), OLD.signs(*HERE)
    settings = replace(world.settings, **of_port("agent", tmp_path, first, OLD.pem))
    async with (
        listening(build_agents(world.database, settings)) as address,
        secure(address, OLD.pem, CLIENT) as channel,
    ):

        async def on_one_connection() -> None:
            await Client(both(channel), alice.token).auth.WhoAmI(WhoAmIRequest())

        async def on_a_new_one() -> None:
            async with secure(address, OLD.pem, CLIENT) as own:
                await Client(both(own), alice.token).auth.WhoAmI(WhoAmIRequest())

        async with Load().under(on_one_connection, on_one_connection, on_a_new_one) as load:
            assert await serial_at(address) == first.serial
            for _ in range(ROTATIONS):
                await load.goes_on()
                await shows_next(address, tmp_path)
            await load.goes_on()
        assert load.failures == []


async def shows_next(address: str, folder: Path) -> None:
    """Put another certificate in place, key first, and wait until new connections see it."""
    following = OLD.signs(*HERE)
    written(folder / "agent_tls_key.pem", following.key_pem)
    written(folder / "agent_tls_certificate.pem", following.pem)

    async def is_shown() -> bool:
        return await serial_at(address) == following.serial

    await until(is_shown)


async def test_no_assignment_fails_while_both_ends_get_another_authority(
    world: World, tmp_path: Path
) -> None:
    """As an operator changes it: both are trusted, then both prove themselves anew, then one is."""
    settings = replace(
        world.settings,
        **of_port("agent", tmp_path, OLD.signs(*HERE), OLD.pem),
        **of_client(tmp_path, OLD.pem, CLIENT),
    )
    async with listening(build_agents(world.database, settings)) as address:
        settings = replace(settings, agent_address=address)
        async with (
            listening(build_tasks(world.database, settings)) as plain,
            secure(plain, b"") as to_tasks,
        ):
            alice = await world.user()
            alice = User(alice.id, Channels(world.channels.agents, to_tasks), str(alice.token))
            project = await alice.project()
            agent, task = await alice.agent(project), await alice.task(project)
            async with Load().under(*[lambda: assign(alice, task, agent.id)] * 2) as load:
                for step in (trust_both, renew_both, trust_the_new):
                    with capture_logs() as lines:
                        step(tmp_path)
                        await until(lambda: replaced(lines) >= 2)
                        await load.goes_on()
            assert load.failures == []
            await assign(alice, task, agent.id)
        assert await is_refused(address, NEW, CLIENT, alice)


def trust_both(folder: Path) -> None:
    written(folder / "agent_tls_client_ca.pem", EITHER)
    written(folder / "client_tls_ca.pem", EITHER)


def renew_both(folder: Path) -> None:
    of_port("agent", folder, NEW.signs(*HERE))
    of_client(folder, EITHER, NEW.signs(x509.DNSName("tasks.example.org")))


def trust_the_new(folder: Path) -> None:
    written(folder / "agent_tls_client_ca.pem", NEW.pem)
    written(folder / "client_tls_ca.pem", NEW.pem)


def replaced(lines: Sequence[EventDict]) -> int:
    return [line["event"] for line in lines].count("certificates replaced")


async def is_refused(address: str, trusted: Authority, own: Signed, user: User) -> bool:
    async with secure(address, trusted.pem, own) as channel:
        try:
            await Client(both(channel), user.token).auth.WhoAmI(WhoAmIRequest())
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
    return False


async def test_who_is_trusted_no_more_is_out_even_with_a_session(
    world: World, tmp_path: Path
) -> None:
    """A client that continues a session of TLS shows no certificate again."""
    alice = await world.user()
    settings = replace(world.settings, **of_port("agent", tmp_path, OLD.signs(*HERE), OLD.pem))
    async with listening(build_agents(world.database, settings)) as address:
        client = remembering(tmp_path)
        session = await asyncio.to_thread(greeting, address, client, None)
        assert session
        assert await asyncio.to_thread(greeting, address, client, session)
        assert not await is_refused(address, OLD, CLIENT, alice)
        with capture_logs() as lines:
            written(tmp_path / "agent_tls_client_ca.pem", NEW.pem)
            await until(lambda: replaced(lines) == 1)
        assert await is_refused(address, OLD, CLIENT, alice)
        assert not await asyncio.to_thread(greeting, address, client, session)
        assert not await is_refused(address, OLD, NEW.signs(*HERE), alice)


def remembering(folder: Path) -> ssl.SSLContext:
    """A client of TLS 1.2, whose sessions are there as soon as the handshake is over."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(cadata=OLD.pem.decode())
    made.load_cert_chain(written(folder / "client.pem", CLIENT.pem + CLIENT.key_pem))
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["h2"])
    return made


def greeting(
    address: str, client: ssl.SSLContext, session: ssl.SSLSession | None
) -> ssl.SSLSession | None:
    """The session in which the server begins to speak HTTP/2; None if it does not.

    One that is given has to be the one that is continued.
    """
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), SECONDS) as connection,
            client.wrap_socket(connection, server_hostname="localhost", session=session) as secured,
        ):
            assert secured.recv(1)
            assert secured.session_reused is (session is not None)
            return secured.session
    except OSError:
        return None


@pytest.mark.parametrize(
    ("file", "spoiled"),
    [
        ("certificate", lambda new: new.pem),
        ("certificate", lambda _: b""),
        ("key", lambda new: new.key_pem),
        ("key", lambda new: new.key_pem[:60]),
        ("client_ca", lambda _: (OLD.pem * 2)[:-60]),
    ],
    ids=["another certificate", "none", "another key", "half a key", "half of the CA"],
)
async def test_half_of_what_is_needed_changes_nothing_and_is_said_once(
    world: World,
    tmp_path: Path,
    file: str,
    spoiled: Callable[[Signed], bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    alice, first, new = await world.user(), OLD.signs(*HERE), OLD.signs(*HERE)
    settings = replace(world.settings, **of_port("agent", tmp_path, first, OLD.pem))
    looks = Looks(monkeypatch)
    async with listening(build_agents(world.database, settings)) as address:
        with capture_logs() as lines:
            written(tmp_path / f"agent_tls_{file}.pem", spoiled(new))
            await looks.pass_by(5)
            assert await serial_at(address) == first.serial
            assert not await is_refused(address, OLD, CLIENT, alice)
            of_port("agent", tmp_path, new, OLD.pem)
            await until(lambda: replaced(lines) == 1)
            assert await serial_at(address) == new.serial
            assert not await is_refused(address, OLD, CLIENT, alice)
    said = [line for line in lines if line["event"] == KEPT]
    assert len({line["why"] for line in said}) == len(said) > 0
    assert all(str(line["why"]).startswith("TANDEM_AGENT_TLS_") for line in said)
