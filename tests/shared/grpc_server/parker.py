"""A server with a method that parks, as long as a test wants."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc

from shared.auth.authenticator import Authenticator
from shared.auth.issuers import issuers
from shared.auth.verifier import Verifier
from shared.grpc_server.interceptor import Context
from shared.grpc_server.parking import ParkingLot, parked, parks
from shared.grpc_server.server import Server, Service
from tandem.task.v1 import task_service_pb2 as pb
from task_service.access import ACCESS
from tests.world import Channels, Client, User, World, running

SERVICE = "tandem.task.v1.TaskService"


class Parker:
    """WaitTask parks until `gate` is set, `rounds` times, then works until `work` is."""

    def __init__(self) -> None:
        self.gate, self.work = asyncio.Event(), asyncio.Event()
        self.rounds = 1
        self.at_work = 0

    @parks
    async def WaitTask(self, request: pb.WaitTaskRequest, context: Context) -> pb.Task:  # noqa: ARG002
        for _ in range(self.rounds):
            async with parked():
                await self.gate.wait()
        return await self._working(request)

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.Task:  # noqa: ARG002
        return await self._working(request)

    def register(self, _servicer: object, server: Any) -> None:
        """As the generated code does, which knows only servicers with every method."""
        requests: dict[str, Any] = {"WaitTask": pb.WaitTaskRequest, "GetTask": pb.GetTaskRequest}
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                getattr(self, name), request.FromString, pb.Task.SerializeToString
            )
            for name, request in requests.items()
        }
        handler = grpc.method_handlers_generic_handler(SERVICE, handlers)
        server.add_generic_rpc_handlers((handler,))

    async def _working(self, request: Any) -> pb.Task:
        self.at_work += 1
        try:
            await self.work.wait()
        finally:
            self.at_work -= 1
        return pb.Task(id=request.task_id)


class Park:
    """The server, and clients of it."""

    def __init__(self, server: Server, parker: Parker, channels: Channels) -> None:
        self.server = server
        self.parker = parker
        self._channels = channels

    @property
    def lot(self) -> ParkingLot:
        return self.server._interceptor._parking

    @property
    def places(self) -> Any:
        return self.server._interceptor._places

    @property
    def parked(self) -> int:
        """How many calls are parked now."""
        return len(self.lot._parked) - sum(map(len, self.lot.queue.values()))

    @property
    def queued(self) -> int:
        """How many wait for their turns."""
        return sum(map(len, self.lot.queue.values()))

    def client(self, user: User) -> Client:
        return Client(self._channels, user.token)


@asynccontextmanager
async def opened(world: World, connections: int = 1) -> AsyncIterator[Park]:
    parker = Parker()
    authenticator = Authenticator(world.database, Verifier(issuers(world.settings)))
    service = Service(SERVICE, parker, parker.register)
    server = Server([service], authenticator, ACCESS, connections)
    async with running(server) as (channel, _), AsyncExitStack() as stack:
        stack.callback(parker.gate.set)
        stack.callback(parker.work.set)
        yield Park(server, parker, Channels(channel, channel))
