"""What stands between the task service and the real agent service: watched, slow, or broken."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from shared.errors import Reason, Refusal
from shared.grpc_server.status import DETAILS_KEY, to_status


@dataclass
class Relay(grpc.GenericRpcHandler):
    """Passes calls on to `agents`, and keeps their metadata and deadlines.

    A call waits for `gate`, if there is one, before it is passed on.
    `before_answer` happens when an answer has come and is not passed back yet.
    """

    agents: grpc.aio.Channel
    address: str = ""
    gate: asyncio.Event | None = None
    before_answer: Callable[[], Awaitable[object]] | None = None
    calls: list[dict[str, Any]] = field(default_factory=list)
    deadlines: list[float | None] = field(default_factory=list)
    """By the clock of time.monotonic."""

    @classmethod
    @asynccontextmanager
    async def before(cls, agents: grpc.aio.Channel) -> AsyncIterator["Relay"]:
        """Listen on a free port."""
        relay = cls(agents)
        server = grpc.aio.server(handlers=(relay,))
        relay.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        try:
            yield relay
        finally:
            await server.stop(None)

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Every method, in bytes."""

        async def handle(request: bytes, context: Any) -> bytes:
            metadata = tuple((k, v) for k, v in context.invocation_metadata() if k != "user-agent")
            self.calls.append(dict(metadata))
            left = context.time_remaining()
            self.deadlines.append(None if left is None else time.monotonic() + left)
            if self.gate:
                await self.gate.wait()
            method: Any = self.agents.unary_unary(details.method)
            try:
                answer: bytes = await method(request, metadata=metadata)
            except grpc.aio.AioRpcError as error:
                trailers = tuple(error.trailing_metadata())
                await context.abort(error.code(), error.details(), trailers)
            if self.before_answer:
                await self.before_answer()
            return answer

        return grpc.unary_unary_rpc_method_handler(handle)


@dataclass
class Broken(grpc.GenericRpcHandler):
    """Refuses every call, with the details of our own services if there is a reason."""

    code: grpc.StatusCode
    message: str
    reason: Reason | None = None

    def service(self, _details: grpc.HandlerCallDetails) -> Any:
        """Every method, in bytes."""

        async def handle(_request: bytes, context: Any) -> None:
            refusal = Refusal(self.reason, self.message) if self.reason else None
            status = to_status(refusal).SerializeToString() if refusal else b""
            await context.abort(self.code, self.message, ((DETAILS_KEY, status),))

        return grpc.unary_unary_rpc_method_handler(handle)
