"""Serves the page of metrics over HTTP, to few clients at a time and to none for long.

Whoever reaches the port needs no token; there is nothing on the page but numbers.
"""

import asyncio

import h11
import structlog

from shared.exposition.page import Page

log = structlog.get_logger()

PATH = b"/metrics"
# From the first byte of the request to the last byte of the answer.
SECONDS = 10.0
CONNECTIONS = 16
HEAD_BYTES = 8 * 1024
ERRORS = (TimeoutError, OSError, h11.ProtocolError)


class Endpoint:
    """A port with the page of metrics, at /metrics."""

    def __init__(self, page: Page, seconds: float = SECONDS) -> None:
        """A connection lasts for `seconds` at most."""
        self._page = page
        self._seconds = seconds
        self._open: dict[asyncio.StreamWriter, None] = {}
        self._server: asyncio.Server

    async def start(self, address: str) -> int:
        """Listen on `address` ("host:port"; port 0: any free one); the port. Raises OSError."""
        host, _, port = address.rpartition(":")
        self._server = await asyncio.start_server(
            self._serve, host.strip("[]"), int(port), limit=HEAD_BYTES
        )
        found: int = self._server.sockets[0].getsockname()[1]
        log.info("metrics", address=address, port=found)
        return found

    async def close(self) -> None:
        """Close the port and every connection."""
        self._server.close()
        for writer in tuple(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request. If there are too many, the oldest connection gives way: it hangs."""
        if len(self._open) >= CONNECTIONS:
            next(iter(self._open)).transport.abort()
        self._open[writer] = None
        try:
            async with asyncio.timeout(self._seconds):
                await self._answer(reader, writer)
            writer.close()
        except ERRORS:
            writer.transport.abort()
        finally:
            self._open.pop(writer, None)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_BYTES)
        try:
            request = await _request(connection, reader)
        except h11.RemoteProtocolError as error:
            status, kind, text = error.error_status_hint, "text/plain", b""
        else:
            status, kind, text = await self._found(request)
            text = b"" if request.method == b"HEAD" else text
        headers = [("content-type", kind), ("content-length", str(len(text)))]
        answer = h11.Response(status_code=status, headers=[*headers, ("connection", "close")])
        for event in (answer, h11.Data(text), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        # So that it waits until the kernel has all of it, not only until little is left.
        writer.transport.set_write_buffer_limits(0)
        await writer.drain()

    async def _found(self, request: h11.Request) -> tuple[int, str, bytes]:
        if request.target.partition(b"?")[0] != PATH:
            return 404, "text/plain", b"The metrics are at /metrics.\n"
        if request.method not in (b"GET", b"HEAD"):
            return 405, "text/plain", b""
        accept = b",".join(value for name, value in request.headers if name == b"accept")
        return 200, *await self._page.text(accept.decode("latin-1"))


async def _request(connection: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    """The head of the request. Raises h11.RemoteProtocolError, OSError."""
    while (event := connection.next_event()) is h11.NEED_DATA:
        connection.receive_data(await reader.read(HEAD_BYTES))
    if isinstance(event, h11.Request):
        return event
    raise ConnectionError("no request came")
