"""Services and clients that speak TLS, with the files of an operator."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from cryptography.x509 import load_der_x509_certificate

from shared.grpc_server.server import Server
from tests.authority import Signed, written
from tests.waiting import SECONDS
from tests.world import Channels

# So that each channel makes a connection, and a handshake, of its own.
OWN_CONNECTION = ("grpc.use_local_subchannel_pool", 1)


def of_port(which: str, folder: Path, own: Signed, clients: bytes = b"") -> dict[str, Any]:
    """The settings of a port ("agent" or "task"), and their files; `clients` are authorities."""
    files = {"certificate": own.pem, "key": own.key_pem, "client_ca": clients}
    return _written(f"{which}_tls", folder, files)


def of_client(folder: Path, trusted: bytes, own: Signed | None = None) -> dict[str, Any]:
    """The settings of a client, and their files; `trusted` are authorities of servers."""
    proof = {"certificate": own.pem, "key": own.key_pem} if own else {}
    return _written("client_tls", folder, {"ca": trusted, **proof})


def _written(prefix: str, folder: Path, files: dict[str, bytes]) -> dict[str, Any]:
    return {
        f"{prefix}_{word}": written(folder / f"{prefix}_{word}.pem", content)
        for word, content in files.items()
        if content
    }


def secure(
    address: str, trusted: bytes, own: Signed | None = None, name: str = ""
) -> grpc.aio.Channel:
    """A channel that trusts these authorities, and proves itself; `name` is expected of the server.

    Without `trusted` it does not encrypt.
    """
    if not trusted:
        return grpc.aio.insecure_channel(address, [OWN_CONNECTION])
    proof = (own.key_pem, own.pem) if own else (None, None)
    expected = [("grpc.ssl_target_name_override", name)] if name else []
    credentials = grpc.ssl_channel_credentials(trusted, *proof)
    return grpc.aio.secure_channel(address, credentials, [OWN_CONNECTION, *expected])


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    """The address of a server, which stops with the block."""
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        yield address
    finally:
        await server.stop()


def both(channel: grpc.aio.Channel) -> Channels:
    """The ways of a client that calls one service only."""
    return Channels(channel, channel)


async def serial_at(address: str) -> int:
    """The serial number of the certificate that a new connection is shown."""
    return await asyncio.to_thread(_serial, address)


def _serial(address: str) -> int:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    client.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host, int(port)), SECONDS) as connection,
        client.wrap_socket(connection) as secured,
    ):
        shown = secured.getpeercert(binary_form=True)
    assert shown
    return load_der_x509_certificate(shown).serial_number
