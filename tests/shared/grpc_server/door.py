"""A server of its own, whose door is narrow, and clients in front of it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import grpc

from agent_service.__main__ import build
from shared.grpc_server.server import Server
from tests.http2 import READS_NOTHING, posted
from tests.world import TIMEOUT_SECONDS, Channels, Client, User, World, running

WHO_AM_I = "/tandem.agent.v1.AuthService/WhoAmI"
# So that each channel has a connection of its own.
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


class Door:
    """A server with a small pool, and clients on connections of their own."""

    def __init__(self, server: Server, address: str, stack: AsyncExitStack) -> None:
        self.server = server
        self.address = address
        self.port = int(address.rpartition(":")[2])
        self._stack = stack

    async def channel(self) -> grpc.aio.Channel:
        channel = grpc.aio.insecure_channel(self.address, OWN_CONNECTION)
        return await self._stack.enter_async_context(channel)

    async def client(self, user: User) -> Client:
        channel = await self.channel()
        return Client(Channels(channel, channel), user.token)

    async def silent(self, method: str, user: User | None = None) -> Any:
        """A call on a connection of its own that has not sent its message."""
        metadata = (("authorization", f"Bearer {user.token}"),) if user else ()
        open_call: Any = (await self.channel()).stream_unary(method)
        call = open_call(metadata=metadata, timeout=TIMEOUT_SECONDS)
        await call.wait_for_connection()
        return call

    def unread(self, user: User) -> Any:
        """A call whose answer is not read, on a connection of its own."""
        bearer = {"authorization": f"Bearer {user.token}".encode()}
        return posted(self.port, WHO_AM_I, bearer, settings=READS_NOTHING)


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[Door]:
    server = build(world.database, replace(world.settings, pool_size=1))
    async with running(server) as (_, address), AsyncExitStack() as stack:
        yield Door(server, address, stack)
