"""A task service that the test plays for the asynchronous client, and a clock that it moves.

grpcio-testing knows no asyncio, so this is a server on a real socket: each call waits until the
test has taken and answered it. Time passes only by Clock.wait.
"""

import asyncio
import heapq
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import grpc

from shared.errors import Reason, Refusal
from shared.grpc_server.status import DETAILS_KEY, GRPC_CODES, to_status
from tandem.task.v1 import task_service_pb2 as pb
from tandem_client import Retries, Tandem
from tandem_client.calls import Calls
from tandem_client.client import _Interceptor
from tandem_client.runtime import ASYNCIO
from tandem_client.tokens import GivenTokens
from tests.waiting import SECONDS

METHODS = pb.DESCRIPTOR.services_by_name["TaskService"].methods_by_name


class Clock:
    """Seconds since the test began."""

    def __init__(self) -> None:
        self.now = 0.0
        self._number = count()
        self.asleep: list[tuple[float, int, asyncio.Future[None]]] = []

    def time(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self.asleep, (self.now + seconds, next(self._number), woken))
        await woken

    async def wait(self, seconds: float) -> None:
        """Let time pass, and each who sleeps wake in time."""
        end = self.now + seconds
        while self.asleep and self.asleep[0][0] <= end:
            self.now, _, woken = heapq.heappop(self.asleep)
            if not woken.done():
                woken.set_result(None)
                await settle()
        self.now = end
        await settle()


async def settle() -> None:
    """Let everything go on that can without time, or an answer."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class Call:
    """A call as it reached the service, to be answered by the test."""

    request: Any
    _answer: "asyncio.Future[Any]"
    cancelled: asyncio.Event

    def answer(self, response: Any) -> None:
        """End it with OK."""
        self._answer.set_result(response)

    def refuse(self, reason: Reason, **refusal: Any) -> None:
        """End it as the services do."""
        self._answer.set_exception(Refusal(reason, "It was refused.", **refusal))

    def fail(self) -> None:
        """End it as an outage does."""
        self._answer.set_exception(ConnectionError())


class Service(grpc.GenericRpcHandler):
    """What the test answers."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._calls: dict[str, asyncio.Queue[Call]] = defaultdict(asyncio.Queue)
        self._open: set[asyncio.Future[Any]] = set()
        self._is_over = False

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        """Every method, by its name."""
        name = details.method.rpartition("/")[2]
        method = METHODS[name]

        async def respond(request: Any, context: Any) -> Any:
            return await self._respond(name, request, context)

        return grpc.unary_unary_rpc_method_handler(
            respond,
            request_deserializer=getattr(pb, method.input_type.name).FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    async def _respond(self, name: str, request: Any, context: Any) -> Any:
        call = Call(request, asyncio.get_running_loop().create_future(), asyncio.Event())
        self._calls[name].put_nowait(call)
        self._open.add(call._answer)
        if self._is_over:
            self.end()
        try:
            return await call._answer
        except asyncio.CancelledError:
            call.cancelled.set()
            raise
        except ConnectionError:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "It failed.")
        except Refusal as refusal:
            status = to_status(refusal)
            context.set_trailing_metadata(((DETAILS_KEY, status.SerializeToString()),))
            await context.abort(GRPC_CODES[refusal.reason.code], status.message)

    async def take(self, name: str) -> Call:
        """Wait for a call of a method."""
        async with asyncio.timeout(SECONDS):
            return await self._calls[name].get()

    def end(self) -> None:
        """Refuse whatever is not answered, and comes from now on."""
        self._is_over = True
        for answer in self._open:
            if not answer.done():
                answer.set_exception(Refusal(Reason.LEASE_LOST, "The test is over."))

    def pending(self, name: str) -> int:
        """How many calls have come and were not taken."""
        return self._calls[name].qsize()


@asynccontextmanager
async def serving(**retries: Any) -> AsyncIterator[tuple[Service, Tandem]]:
    """The service, and a client of it on its clock."""
    service, server = Service(), grpc.aio.server()
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    runtime = replace(ASYNCIO, now=service.clock.time, sleep=service.clock.sleep)
    policy = Retries(**{"jitter": lambda: 1.0, "attempts": 1, **retries})
    calls = Calls(runtime, GivenTokens(), policy, SECONDS)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}", interceptors=[_Interceptor(calls)])
    try:
        async with Tandem(calls, channel, channel) as tandem:
            yield service, tandem
    finally:
        await server.stop(None)
