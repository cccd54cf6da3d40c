"""HTTP/2 by hand, for clients that no gRPC library would be."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.world import TIMEOUT_SECONDS

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
ACK, END_STREAM, END_HEADERS = 1, 1, 4
REFUSED_STREAM, CANCEL = 7, 8


def first_window(size: int) -> bytes:
    """The setting that lets the server send so many bytes of an answer, until told more."""
    return (4).to_bytes(2, "big") + size.to_bytes(4, "big")


READS_NOTHING = first_window(0)


@asynccontextmanager
async def connected(
    port: int, settings: bytes = b""
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, settings))
    try:
        yield reader, writer
    finally:
        writer.close()


@asynccontextmanager
async def posted(
    port: int,
    path: str,
    headers: Mapping[str, bytes],
    message: bytes = b"",
    settings: bytes = b"",
) -> AsyncIterator[asyncio.StreamReader]:
    """A gRPC call on a connection of its own: what comes back on it."""
    async with connected(port, settings) as (reader, writer):
        writer.write(call(path, headers, message))
        yield reader


def call(path: str, headers: Mapping[str, bytes], message: bytes = b"", stream: int = 1) -> bytes:
    """The frames of a gRPC call; `stream` is odd, and greater than that of the call before."""
    head = {
        ":method": b"POST",
        ":scheme": b"http",
        ":path": path.encode(),
        ":authority": b"localhost",
        "content-type": b"application/grpc",
        "te": b"trailers",
    }
    block = b"".join(_text(n.encode(), v) for n, v in {**head, **headers}.items())
    body = b"\0" + len(message).to_bytes(4, "big") + message
    return _frame(HEADERS, END_HEADERS, stream, block) + _frame(DATA, END_STREAM, stream, body)


def cancel(stream: int) -> bytes:
    """The frame with which a client gives up a call."""
    return _frame(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big"))


async def settled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Agree to the settings of the server; until then, it takes few streams of a connection."""
    while (await frame(reader))[:2] != (SETTINGS, 0):
        pass
    writer.write(_frame(SETTINGS, ACK, 0, b""))


def widen(stream: int, size: int) -> bytes:
    """The frame that lets the server send so many bytes more; stream 0: on the connection."""
    return _frame(WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))


def ping() -> bytes:
    """A ping, which the server has to return."""
    return _frame(PING, 0, 0, b"12345678")


def pong(payload: bytes) -> bytes:
    """The answer to a ping."""
    return _frame(PING, ACK, 0, payload)


async def frame(reader: asyncio.StreamReader) -> tuple[int, int, int, bytes]:
    """The next frame that comes back: its kind, flags, stream and payload."""
    head = await asyncio.wait_for(reader.readexactly(9), TIMEOUT_SECONDS)
    payload = await reader.readexactly(int.from_bytes(head[:3], "big"))
    return head[3], head[4], int.from_bytes(head[5:], "big"), payload


async def read_until(reader: asyncio.StreamReader, part: bytes) -> bytes:
    """What comes back until a part of it has come."""
    answered = b""
    while part not in answered:
        more = await asyncio.wait_for(reader.read(4096), TIMEOUT_SECONDS)
        assert more, answered
        answered += more
    return answered


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    return head + payload


def _text(name: bytes, value: bytes) -> bytes:
    """A header that is not indexed (RFC 7541, 6.2.2)."""
    return b"\0" + b"".join(_length(len(text)) + text for text in (name, value))


def _length(number: int) -> bytes:
    """An integer with a prefix of seven bits (RFC 7541, 5.1)."""
    if number < 127:
        return bytes([number])
    encoded, number = b"\x7f", number - 127
    while number > 127:
        encoded, number = encoded + bytes([number % 128 + 128]), number // 128
    return encoded + bytes([number])
