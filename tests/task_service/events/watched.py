"""A stream of WatchEvents, and what came over it."""

import asyncio
from typing import Any
from uuid import UUID

import grpc

from tandem.agent.v1.project_service_pb2 import Project
from tandem.event.v1.event_service_pb2 import Event, WatchEventsRequest, WatchEventsResponse
from tests.event_log import append
from tests.events.recording import Stream
from tests.world import TIMEOUT_SECONDS, Client, User, World


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
            response = await self.call.read()
        assert response is not grpc.aio.EOF
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
