"""A stream of WatchEvents, and what came over it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import grpc

from tandem.agent.v1.project_service_pb2 import Project
from tandem.event.v1.event_service_pb2 import Event, WatchEventsRequest, WatchEventsResponse
from tests import http2
from tests.event_log import append
from tests.events.recording import Stream
from tests.world import TIMEOUT_SECONDS, Client, User, World

WATCH_EVENTS = "/tandem.event.v1.EventService/WatchEvents"
WINDOW = 65_535  # of HTTP/2, if a client says nothing else
HEAD = 5  # of a message of gRPC


class Watched:
    """A stream, for as long as a test reads it."""

    def __init__(self, client: Client, project_id: str, **asked: Any) -> None:
        request = WatchEventsRequest(project_id=project_id, **asked)
        self.stream = Stream(request)
        self.call = client.events.WatchEvents(request)

    @property
    def responses(self) -> list[WatchEventsResponse]:
        """All that came."""
        return self.stream.responses

    @property
    def events(self) -> list[Event]:
        """The events that came."""
        return [event for response in self.responses for event in response.events]

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events that came."""
        return [event.sequence for event in self.events]

    @property
    def through(self) -> int:
        """The latest bookmark."""
        return self.responses[-1].through_sequence

    async def read(self) -> WatchEventsResponse:
        """The next response."""
        async with asyncio.timeout(TIMEOUT_SECONDS):
            response: Any = await self.call.read()
        assert isinstance(response, WatchEventsResponse), "the stream has ended"
        self.responses.append(response)
        return response

    async def until(self, through: int) -> "Watched":
        """Read on until there is a bookmark of at least this number."""
        while not self.responses or self.through < through:
            await self.read()
        return self

    async def end(self) -> None:
        """Read on to the end of the stream, which is raised."""
        try:
            while True:
                await self.read()
        except grpc.aio.AioRpcError as error:
            self.stream.end = error.code().name
            raise

    def leave(self) -> None:
        """End the stream."""
        self.call.cancel()


class Unread:
    """A stream by hand, of which no more is read than a window of 64 KiB, until the rest is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._data = b""
        self._trailers = b""

    @classmethod
    @asynccontextmanager
    async def opened(cls, world: World, user: User, **asked: Any) -> AsyncIterator["Unread"]:
        """A stream on a connection of its own."""
        port = int(world.settings.task_address.rpartition(":")[2])
        bearer = {"authorization": f"Bearer {user.token}".encode()}
        request = WatchEventsRequest(**asked).SerializeToString()
        async with http2.connected(port) as (reader, writer):
            await http2.settled(reader, writer)
            writer.write(http2.call(WATCH_EVENTS, bearer, request))
            yield cls(reader, writer)

    async def is_full(self) -> None:
        """Read until the window is used up: the server has to wait."""
        while len(self._data) < WINDOW:
            await self._frame()

    def widen(self) -> None:
        """Let the server send the rest."""
        for stream in (0, 1):
            self._writer.write(http2.widen(stream, 1 << 30))

    async def until(self, through: int) -> None:
        """Read on until there is a bookmark of at least this number."""
        while not self.responses or self.responses[-1].through_sequence < through:
            await self._frame()

    async def end(self) -> int:
        """Read on, to the end of the stream; its status."""
        while not self._trailers:
            await self._frame()
        found = re.search(rb"grpc-status.(\d+)", self._trailers)
        assert found, self._trailers
        return int(found[1])

    @property
    def responses(self) -> list[WatchEventsResponse]:
        """All that came as a whole."""
        found, data = [], self._data
        while len(data) >= HEAD and len(data) >= HEAD + int.from_bytes(data[1:HEAD], "big"):
            end = HEAD + int.from_bytes(data[1:HEAD], "big")
            found.append(WatchEventsResponse.FromString(data[HEAD:end]))
            data = data[end:]
        return found

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events that came."""
        return [event.sequence for response in self.responses for event in response.events]

    async def _frame(self) -> None:
        kind, flags, _, payload = await http2.frame(self._reader)
        assert kind not in (http2.RST_STREAM, http2.GOAWAY), payload
        if kind == http2.DATA:
            self._data += payload
        elif kind == http2.HEADERS and flags & http2.END_STREAM:
            self._trailers = payload


async def log_of(world: World, n: int = 0, **columns: Any) -> tuple[User, Project]:
    """A user, and a project of the user's with nothing but `n` events in its log."""
    alice = await world.user()
    project = await alice.project()
    await world.execute("DELETE FROM events WHERE project_id = $1", UUID(project.id))
    await world.execute(
        "UPDATE event_heads SET last = 0, first = 1 WHERE project_id = $1", UUID(project.id)
    )
    if n:
        await add(world, project, n, **columns)
    return alice, project


async def add(world: World, project: Project, n: int = 1, **columns: Any) -> list[int]:
    """Append events, as one transaction, to the log of a project; their numbers."""
    return await world.owner.read(lambda c: append(c, UUID(project.id), n, **columns))


def task_named(title: str) -> dict[str, Any]:
    """What the log keeps of a task."""
    ids = {"id": str(uuid4()), "project_id": str(uuid4())}
    return {**ids, "title": title, "status": "pending", "dependencies": [], "revision": 1}
