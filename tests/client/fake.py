"""The services as grpcio-testing fakes them: the test answers each call, and moves the clock.

The client is the one for threads, because grpcio-testing knows no asyncio. It decides by the code
of the asynchronous one, which test_services.py runs against the real services.
"""

import copy
import math
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import grpc
import grpc_testing

from shared.errors import Reason, Refusal
from shared.grpc_server.status import DETAILS_KEY, GRPC_CODES, to_status
from tandem.agent.v1 import agent_service_pb2, auth_service_pb2
from tandem.event.v1 import event_service_pb2
from tandem.task.v1 import task_service_pb2
from tandem_client.retries import Retries
from tandem_client.runtime import ThreadLock, threads
from tandem_client.sync import Tandem
from tandem_client.tokens import Credentials

T = TypeVar("T")
PATIENCE_SECONDS = 30.0
TIMEOUT_SECONDS = 100.0
START = 1000.0
SERVICES = {
    service.name: service
    for module in (agent_service_pb2, auth_service_pb2, event_service_pb2, task_service_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
}
REQUEST_ID = "the request"


@dataclass
class Call:
    """A call as it reached a service, to be ended by the test."""

    metadata: dict[str, Any]
    request: Any
    timeout: float
    _rpc: Any

    def answer(self, response: Any) -> None:
        """End it with OK."""
        self._rpc.terminate(response, (), grpc.StatusCode.OK, "")

    def refuse(self, reason: Reason, **refusal: Any) -> None:
        """End it as the services do."""
        status = to_status(Refusal(reason, "It was refused.", **refusal))
        trailers = ((DETAILS_KEY, status.SerializeToString()), ("x-request-id", REQUEST_ID))
        self._terminate(trailers, GRPC_CODES[reason.code], status.message)

    def fail(self, code: grpc.StatusCode) -> None:
        """End it without details, as gRPC itself does."""
        self._terminate((), code, "It failed.")

    def _terminate(self, trailers: Any, code: grpc.StatusCode, message: str) -> None:
        self._rpc.terminate(None, trailers, code, message)


class Streaming(Call):
    """A call that is answered many times."""

    def send(self, response: Any) -> None:
        """Send a response."""
        self._rpc.send_response(response)

    def end(self) -> None:
        """End it with OK."""
        self._terminate((), grpc.StatusCode.OK, "")

    def is_over(self) -> bool:
        """Whether the client has cancelled it."""
        with self._rpc._rpc_state._condition:
            return self._rpc._rpc_state._code is not None

    def _terminate(self, trailers: Any, code: grpc.StatusCode, message: str) -> None:
        self._rpc.terminate(trailers, code, message)


class Services:
    """Both services and their clock.

    `sleeps` is how long the client has slept, each time; `waiting`, how many of its calls wait for
    another one to exchange the API key, or do so.
    """

    def __init__(self) -> None:
        self.clock = grpc_testing.strict_fake_time(START)
        self.sleeps: list[float] = []
        self.waiting = 0
        self._timeouts: dict[str, list[float]] = {}
        self._timers: list[tuple[float, Callable[[], None]]] = []
        self._channel = grpc_testing.channel(list(SERVICES.values()), self.clock)

    def client(self, credentials: Credentials = None, **retries: Any) -> Tandem:
        """A client that takes each backoff in full, unless `retries` say otherwise."""
        channel = _Channel(self._channel, self._timeouts)
        runtime = threads(self.clock.time, self._sleep, self._timer)
        runtime = replace(runtime, lock=lambda: _Lock(self))
        policy = Retries(**{"jitter": lambda: 1.0, **retries})
        return Tandem(channel, channel, credentials, TIMEOUT_SECONDS, policy, runtime)

    def take(self, method: str) -> Call:
        """Wait for a call of "Service.Method"."""
        service, _, name = method.partition(".")
        descriptor = SERVICES[service].methods_by_name[name]
        taken = in_thread(lambda: self._channel.take_unary_unary(descriptor))
        metadata, request, rpc = taken.result(PATIENCE_SECONDS)
        return Call(dict(metadata), request, self._timeouts[name].pop(0), rpc)

    def take_stream(self, method: str) -> Streaming:
        """Wait for a call of "Service.Method" that is answered many times."""
        service, _, name = method.partition(".")
        descriptor = SERVICES[service].methods_by_name[name]
        taken = in_thread(lambda: self._channel.take_unary_stream(descriptor))
        metadata, request, rpc = taken.result(PATIENCE_SECONDS)
        return Streaming(dict(metadata), request, math.inf, rpc)

    def answer(self, method: str, response: Any, takes: float = 0.0) -> Call:
        """Wait for a call, and answer it after `takes` seconds."""
        call = self.take(method)
        self.clock.sleep_for(takes)
        call.answer(response)
        return call

    def refuse(self, method: str, reason: Reason, **refusal: Any) -> Call:
        """Wait for a call, and refuse it."""
        call = self.take(method)
        call.refuse(reason, **refusal)
        return call

    def fail(self, method: str, code: grpc.StatusCode, takes: float = 0.0) -> Call:
        """Wait for a call, and fail it after `takes` seconds."""
        call = self.take(method)
        self.clock.sleep_for(takes)
        call.fail(code)
        return call

    def wait(self, seconds: float) -> None:
        """Let time pass, in steps in which every timer is on time."""
        # The timers of the fake clock cannot set another one when they end.
        for _ in range(int(seconds)):
            self.clock.sleep_for(1.0)
            for timer in [each for each in self._timers if each[0] <= self.clock.time()]:
                self._timers.remove(timer)
                timer[1]()

    def _timer(self, seconds: float, behavior: Callable[[], None]) -> Callable[[], object]:
        timer = (self.clock.time() + seconds, behavior)
        self._timers.append(timer)
        return lambda: self._timers.remove(timer) if timer in self._timers else None

    def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.clock.sleep_for(seconds)


class _Lock(ThreadLock):
    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = services

    async def acquire(self, seconds: float) -> bool:
        self._services.waiting += 1
        return await super().acquire(seconds)


class _Channel(grpc.Channel):
    """Keeps from the fake channel the arguments that it does not know, and notes timeouts."""

    def __init__(self, channel: Any, timeouts: dict[str, list[float]]) -> None:
        self._channel = channel
        self._timeouts = timeouts

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The method of the fake channel."""
        return _Method(
            self._channel.unary_unary(method, *arguments, **options),
            self._timeouts.setdefault(method.rpartition("/")[2], []),
        )

    stream_unary = stream_stream = unary_unary

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        """The method of the fake channel."""
        return _Method(self._channel.unary_stream(method, *arguments, **options), [])

    def subscribe(self, callback: Any, try_to_connect: bool | None = False) -> None:
        """There is no connection."""

    def unsubscribe(self, callback: Any) -> None:
        """There is no connection."""

    def close(self) -> None:
        """There is no connection."""

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> Any:
        return False


class _Method:
    def __init__(self, method: Any, timeouts: list[float]) -> None:
        self._method = method
        self._timeouts = timeouts

    def __call__(self, request: Any, metadata: Any, **_: Any) -> Any:
        return self._method(copy.deepcopy(request), metadata=metadata)

    def with_call(self, request: Any, timeout: float, metadata: Any, **_: Any) -> Any:
        self._timeouts.append(timeout)
        sent = copy.deepcopy(request)  # on a wire, too, what the caller changes later is not sent
        return self._method.with_call(sent, timeout=timeout, metadata=metadata)


def in_thread(work: Callable[[], T]) -> "Future[T]":
    """Do it in a thread that no test waits for longer than it wants to."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def result_of(call: "Future[T]") -> T:
    """What a call of the client gave. Raises what it raised."""
    return call.result(PATIENCE_SECONDS)
