"""HTTP/2 by hand, for clients that no gRPC library would be."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from tests.world import TIMEOUT_SECONDS

DATA, HEADERS, SETTINGS = 0, 1, 4
END_STREAM, END_HEADERS = 1, 4
# SETTINGS_INITIAL_WINDOW_SIZE = 0: nothing that the server writes on a stream may be sent.
READS_NOTHING = (4).to_bytes(2, "big") + (0).to_bytes(4, "big")


@asynccontextmanager
async def posted(
    port: int,
    path: str,
    headers: Mapping[str, bytes],
    message: bytes = b"",
    settings: bytes = b"",
) -> AsyncIterator[asyncio.StreamReader]:
    """A gRPC call on a connection of its own: what comes back on it."""
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
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(SETTINGS, 0, 0, settings))
    writer.write(_frame(HEADERS, END_HEADERS, 1, block) + _frame(DATA, END_STREAM, 1, body))
    try:
        yield reader
    finally:
        writer.close()


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
