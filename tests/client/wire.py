"""What stands between a client and a service: TCP that can be cut, and TLS."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc

from tests.issuer import private_pem
from tests.shared.auth.test_http_get import HERE, TLS_KEY, certificate
from tests.task_service.relay import Relay


class Wire:
    """A TCP connection per client, on which answers may be held back, and which may be cut."""

    def __init__(self, service: str) -> None:
        self._service = service
        self._answers = asyncio.Event()
        self._answers.set()
        self._ends: list[asyncio.StreamWriter] = []
        self.connections = 0
        self.address = ""

    @classmethod
    @asynccontextmanager
    async def before(cls, service: str) -> AsyncIterator["Wire"]:
        """Listen on a free port, and connect each client to the service at that address."""
        wire = cls(service)
        server = await asyncio.start_server(wire._connect, "127.0.0.1", 0)
        wire.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield wire
        finally:
            server.close()
            wire.cut()

    def hold(self) -> None:
        """Let no answer through from now on."""
        self._answers.clear()

    def cut(self) -> None:
        """Close all connections, with what was held back. New ones are as good as the first."""
        for end in self._ends:
            end.transport.abort()
        self._ends.clear()
        self._answers.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self._service.rpartition(":")
        answers, requests = await asyncio.open_connection(host, int(port))
        self.connections += 1
        self._ends += [writer, requests]
        await asyncio.gather(self._pass(reader, requests), self._pass_answers(answers, writer))

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(64 * 1024):
                target.write(data)
        target.close()

    async def _pass_answers(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter
    ) -> None:
        with suppress(ConnectionError):
            while data := await source.read(64 * 1024):
                await self._answers.wait()
                target.write(data)
        target.close()


@asynccontextmanager
async def behind_tls(service: grpc.aio.Channel) -> AsyncIterator[tuple[str, bytes]]:
    """The service over TLS: its address, and the certificate that it proves itself by."""
    certificates = certificate(HERE)
    key = private_pem(TLS_KEY).encode()
    server = grpc.aio.server(handlers=(Relay(service),))
    credentials = grpc.ssl_server_credentials([(key, certificates)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        yield f"127.0.0.1:{port}", certificates
    finally:
        await server.stop(None)
