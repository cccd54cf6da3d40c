"""One HTTP request to a server that may be slow, broken or hostile."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from urllib.parse import SplitResult, urlsplit

import h11

READ_BYTES = 64 * 1024
HEADER_BYTES = 16 * 1024
DEFAULT_PORTS = {"http": 80, "https": 443}


class FetchError(Exception):
    """The server answered something else than what was asked for."""


async def get(url: str, limit: int) -> bytes:
    """The body of what `url` answers, of at most `limit` bytes. Its deadline is the caller's.

    It asks the very server that the URL names: it follows no redirect, uses no proxy, and an https
    server has to prove its name to the machine's certificate authorities.
    Raises FetchError, OSError, h11.RemoteProtocolError, UnicodeError (no host has such a name).
    """
    parts = urlsplit(url)
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEADER_BYTES)
    async with _connected(parts) as (reader, writer):
        writer.write(connection.send(_request(parts)) or b"")
        writer.write(connection.send(h11.EndOfMessage()) or b"")
        return await _body(connection, reader, limit)


async def _body(connection: h11.Connection, reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(READ_BYTES))
        elif isinstance(event, h11.Response) and event.status_code != 200:
            raise FetchError(f"it answered {event.status_code}")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit:
                raise FetchError(f"it answered more than {limit} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return bytes(body)
        elif isinstance(event, h11.ConnectionClosed):
            raise FetchError("it answered nothing")


@asynccontextmanager
async def _connected(
    parts: SplitResult,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(
        parts.hostname,
        parts.port or DEFAULT_PORTS[parts.scheme],
        ssl=_tls() if parts.scheme == "https" else None,
    )
    try:
        yield reader, writer
    finally:
        writer.transport.abort()  # a close would wait for what the server has to say to it


def _request(parts: SplitResult) -> h11.Request:
    target = parts.path or "/"
    headers = [
        ("Host", parts.netloc),
        ("Accept", "application/jwk-set+json, application/json"),
        ("Connection", "close"),
    ]
    return h11.Request(
        method="GET", target=f"{target}?{parts.query}" if parts.query else target, headers=headers
    )


@cache
def _tls() -> ssl.SSLContext:
    # Once: it reads some hundred certificates.
    return ssl.create_default_context()
