"""Who gets through to a port with TLS: every handshake that matters, with real certificates."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from agent_service.__main__ import build
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tests.authority import DAY, HERE, Authority, Signed, written
from tests.refusals import outcome
from tests.tls import both, listening, of_port, secure
from tests.world import TIMEOUT_SECONDS, Client, User, World

SERVERS, CLIENTS, OTHERS = Authority("servers"), Authority("clients"), Authority("clients")
GOOD, CLIENT = SERVERS.signs(*HERE), CLIENTS.signs(x509.DNSName("scout.example.org"))
EXPIRED = SERVERS.signs(*HERE, ends_in=-DAY)
ELSEWHERE = SERVERS.signs(x509.DNSName("tasks.example.org"))
FOREIGN = Authority("servers").signs(*HERE)


@dataclass(frozen=True)
class Handshake:
    """What the server proves and demands, and what the client does."""

    server: Signed | None = GOOD
    clients: bytes = CLIENTS.pem
    trusted: bytes = SERVERS.pem
    client: Signed | None = CLIENT
    name: str = ""


LET_THROUGH = {
    "both prove themselves": Handshake(),
    "the server proves itself": Handshake(clients=b"", client=None),
    "a certificate that nobody asks for": Handshake(clients=b""),
    "an expected name": Handshake(server=ELSEWHERE, name="tasks.example.org"),
    "several authorities": Handshake(trusted=FOREIGN.pem + SERVERS.pem),
}
REFUSED = {
    "a server of another authority": Handshake(server=FOREIGN),
    "an expired server": Handshake(server=EXPIRED),
    "a server of another name": Handshake(server=ELSEWHERE),
    "another name than the expected": Handshake(name="tasks.example.org"),
    "no client certificate": Handshake(client=None),
    "a client of another authority": Handshake(client=OTHERS.signs(*HERE)),
    "a client of the servers' authority": Handshake(client=SERVERS.signs(*HERE)),
    "an expired client": Handshake(client=CLIENTS.signs(*HERE, ends_in=-DAY)),
    "a client of the future": Handshake(client=CLIENTS.signs(*HERE, begins_in=DAY)),
    "plaintext on a port with TLS": Handshake(trusted=b""),
    "plaintext on a port without client certificates": Handshake(clients=b"", trusted=b""),
    "TLS on a port without TLS": Handshake(server=None),
}


@pytest.fixture
async def alice(world: World) -> User:
    return await world.user()


async def answer(address: str, handshake: Handshake, alice: User) -> str:
    """What WhoAmI answers: the id of the caller, or the code of the failure."""
    async with secure(address, handshake.trusted, handshake.client, handshake.name) as channel:
        call = Client(both(channel), alice.token).auth.WhoAmI(WhoAmIRequest())
        try:
            return str((await call).caller_id)
        except grpc.aio.AioRpcError as error:
            return error.code().name


def build_for(world: World, handshake: Handshake, folder: Path) -> Any:
    if handshake.server is None:
        return build(world.database, world.settings)
    files = of_port("agent", folder, handshake.server, handshake.clients)
    return build(world.database, replace(world.settings, **files))


@pytest.mark.parametrize("handshake", LET_THROUGH.values(), ids=LET_THROUGH.keys())
async def test_who_can_prove_what_is_asked_gets_through(
    world: World, alice: User, handshake: Handshake, tmp_path: Path
) -> None:
    async with listening(build_for(world, handshake, tmp_path)) as address:
        assert await answer(address, handshake, alice) == str(alice.id)


@pytest.mark.parametrize("handshake", REFUSED.values(), ids=REFUSED.keys())
async def test_who_cannot_reaches_no_method(
    world: World, alice: User, handshake: Handshake, tmp_path: Path
) -> None:
    async with listening(build_for(world, handshake, tmp_path)) as address:
        with capture_logs() as lines:
            assert await answer(address, handshake, alice) == "UNAVAILABLE"
        assert [line for line in lines if line["event"] == "call"] == []


@pytest.fixture
async def address(world: World, tmp_path: Path) -> AsyncIterator[str]:
    """A port that asks for client certificates."""
    async with listening(build_for(world, Handshake(), tmp_path)) as address:
        yield address


def context(folder: Path, version: ssl.TLSVersion, *protocols: str) -> ssl.SSLContext:
    """A client with a good certificate, which speaks one version of TLS."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(cadata=SERVERS.pem.decode())
    made.load_cert_chain(written(folder / "client.pem", CLIENT.pem + CLIENT.key_pem))
    made.set_ciphers("ALL:@SECLEVEL=0")  # OpenSSL itself would not offer the old versions
    made.minimum_version = made.maximum_version = version
    made.set_alpn_protocols(list(protocols))
    return made


def greeted(address: str, client: ssl.SSLContext) -> str:
    """The version of TLS in which the server begins to speak HTTP/2, or "refused"."""
    host, _, port = address.rpartition(":")
    try:
        with (
            socket.create_connection((host, int(port)), TIMEOUT_SECONDS) as connection,
            client.wrap_socket(connection, server_hostname="localhost") as secured,
        ):
            return str(secured.version()) if secured.recv(1) else "refused"
    except (OSError, ValueError):  # ValueError: the connection ended within the handshake
        return "refused"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "protocols", "wanted"),
    [
        (ssl.TLSVersion.TLSv1_3, ("h2",), "TLSv1.3"),
        (ssl.TLSVersion.TLSv1_2, ("h2",), "TLSv1.2"),
        (ssl.TLSVersion.TLSv1_1, ("h2",), "refused"),
        (ssl.TLSVersion.TLSv1, ("h2",), "refused"),
        (ssl.TLSVersion.TLSv1_3, ("http/1.1",), "refused"),
        (ssl.TLSVersion.TLSv1_3, (), "refused"),
    ],
)
async def test_only_new_versions_of_tls_and_http_2_are_spoken(
    address: str, tmp_path: Path, version: ssl.TLSVersion, protocols: tuple[str, ...], wanted: str
) -> None:
    client = context(tmp_path, version, *protocols)
    assert await asyncio.to_thread(greeted, address, client) == wanted


async def test_health_is_asked_by_tls_too(address: str) -> None:
    async with secure(address, SERVERS.pem, CLIENT) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert await outcome(check(b"")) == "OK"
