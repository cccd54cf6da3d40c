"""Assembles a gRPC server: limits, interceptor, health, reflection, a clean stop.

A process stops by `announce_end` and `drain`, and then simply ends. Closing gRPC's own server while
clients call makes it answer those calls with CANCELLED that have arrived but have no handler yet,
which clients do not retry; calls on a connection that just ends are UNAVAILABLE, which they do.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.protobuf import descriptor_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2
from grpc_reflection.v1alpha._async import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2_grpc import add_ServerReflectionServicer_to_server

from shared.auth.authenticator import Authenticator
from shared.auth.permissions import Access, Rule
from shared.grpc_server import accepting
from shared.grpc_server.call_lines import ALL_CALLS, CallLines
from shared.grpc_server.calls import Calls
from shared.grpc_server.certificates import Certificates
from shared.grpc_server.health import LIVENESS, Health
from shared.grpc_server.interceptor import (
    EVERY_PEER,
    MESSAGE_BYTES,
    METADATA_BYTES,
    Interceptor,
    Registrar,
)
from shared.grpc_server.tls import ServerCredentials
from shared.grpc_server.watches import AGE_SECONDS
from shared.metrics.catalog import READY
from shared.metrics.instruments import Sample, Source

log = structlog.get_logger()

MIB = 1024 * 1024
SECOND = 1000
DRAIN_SECONDS = 10.0
FLUSH_SECONDS = 0.2  # the last answers leave the process
OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second server on the same port must fail, not share it
    # gRPC would cancel calls without a word before the interceptor sees them.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 40_000),
    # Above what the interceptor allows, so that it can say so; gRPC's own refusals have no details.
    ("grpc.max_receive_message_length", MESSAGE_BYTES + MIB),
    ("grpc.max_metadata_size", 2 * METADATA_BYTES),
    ("grpc.absolute_max_metadata_size", 2 * METADATA_BYTES),
    # Calls that a client has cancelled count until the interceptor has seen them, so that a client
    # which opens and resets streams as fast as it can has no more of them than others have. The
    # number leaves room for the calls of others behind the same proxy.
    ("grpc.max_concurrent_streams", 400),
    ("grpc.max_connection_idle_ms", 300 * SECOND),
    ("grpc.max_connection_age_ms", 1800 * SECOND),
    # A stream that begins just before ends by itself.
    ("grpc.max_connection_age_grace_ms", int(AGE_SECONDS + 60) * SECOND),
    ("grpc.server_handshake_timeout_ms", 10 * SECOND),
    ("grpc.keepalive_time_ms", 60 * SECOND),
    ("grpc.keepalive_timeout_ms", 20 * SECOND),
    # Clients may ping every 10 s, also without a call; this allows for pings that are early.
    ("grpc.http2.min_ping_interval_without_data_ms", 5 * SECOND),
    ("grpc.keepalive_permit_without_calls", 1),
)
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
OPEN_TO_ALL = {
    "/grpc.health.v1.Health/Check": Access.PROBE,
    "/grpc.health.v1.Health/List": Access.PROBE,
    "/grpc.health.v1.Health/Watch": Access.PROBE,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Access.PROBE,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Access.PROBE,
}


class StartError(Exception):
    """The server cannot start. The message is a sentence for the operator."""


@dataclass(frozen=True)
class Service:
    """A service of the protos: its full name, its servicer, and what registers that."""

    name: str
    servicer: Any
    register: Callable[[Any, Any], None]


class Server:
    """The services of one process on one address."""

    def __init__(
        self,
        services: list[Service],
        authenticator: Authenticator,
        access: Mapping[str, Rule],
        connections: int,
        closers: Iterable[Callable[[], Awaitable[None]]] = (),
        sources: Iterable[Source] | None = None,
        tls: Certificates | None = None,
        peers: Mapping[str, Collection[str]] = EVERY_PEER,
        lines: CallLines = ALL_CALLS,
    ) -> None:
        """`connections` are those to the database; `closers` are called after the server stopped.

        With `sources`, what a service measures besides, calls are counted for metrics. `peers` are
        the names of which the certificate of a client has to have one, by method. `lines` says
        which calls are logged.

        Raises StartError if a method of the services has no access rule.
        """
        self._closers = tuple(closers)
        access = {**OPEN_TO_ALL, **access}
        _require_a_rule_for_each_method([service.name for service in services], access)
        self._health = Health()
        self._ending = self._is_ready = False
        self.sources: tuple[Source, ...] = (self._samples, *(sources or ()))
        """What is measured here."""
        self._names = [service.name for service in services]
        calls = None if sources is None else Calls()
        self._interceptor = Interceptor(authenticator, access, connections, calls, peers, lines)
        self._tls = tls
        self._credentials = ServerCredentials(tls) if tls else None
        self._following: asyncio.Task[None] | None = None
        self._server = accepting.server(OPTIONS, self._interceptor.crowd)
        registrar: Any = Registrar(self._server, self._interceptor)
        for service in services:
            service.register(service.servicer, registrar)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, registrar)
        _add_reflection([*self._names, HEALTH, reflection.SERVICE_NAME], registrar)
        registrar.add_unknown_methods()

    async def start(self, address: str) -> int:
        """Listen on `address` ("host:port"; port 0: any free port) and return the port.

        Raises StartError if the address is in use or not available.
        """
        try:
            port = self._listen(address)
        except RuntimeError:
            raise StartError(f"Cannot listen on {address}; is it already in use?") from None
        await self._server.start()
        if self._tls:
            self._following = asyncio.create_task(self._tls.follow())
        self._interceptor.watch()
        await self._health.set([LIVENESS], health_pb2.HealthCheckResponse.SERVING)
        await self.set_ready(ready=True)
        log.info("listening", address=address, port=port, tls=_kind(self._tls))
        return port

    def _listen(self, address: str) -> int:
        if self._credentials:
            return self._server.add_secure_port(address, self._credentials.grpc)
        return self._server.add_insecure_port(address)

    async def set_ready(self, *, ready: bool) -> None:
        """Say whether calls can succeed. After `announce_end` it stays at no."""
        statuses = health_pb2.HealthCheckResponse
        self._is_ready = ready and not self._ending
        status = statuses.SERVING if self._is_ready else statuses.NOT_SERVING
        await self._health.set(("", *self._names), status)

    async def _samples(self) -> list[Sample]:
        return [Sample(READY, self._is_ready), *self._interceptor.samples()]

    async def announce_end(self) -> None:
        """Say that this process is not ready any more, so that load balancers choose another."""
        self._ending = True
        await self.set_ready(ready=False)

    async def drain(self) -> None:
        """Refuse new calls as UNAVAILABLE, and give those under way DRAIN_SECONDS to finish."""
        await self.announce_end()
        await self._interceptor.drain(DRAIN_SECONDS)
        if self._following:
            self._following.cancel()
        for close in self._closers:
            await close()
        await asyncio.sleep(FLUSH_SECONDS)
        log.info("stopped")

    async def stop(self) -> None:
        """Drain, and close the port and every connection, if the process is to go on."""
        await self.drain()
        await self._server.stop(None)


def _kind(tls: Certificates | None) -> str:
    """Who proves itself by certificates, as the log says it."""
    if tls is None:
        return "none"
    return "mutual" if tls.authenticates_clients else "server"


def _add_reflection(names: list[str], registrar: Any) -> None:
    servicer = ReflectionServicer(names)
    add_ServerReflectionServicer_to_server(servicer, registrar)  # type: ignore[no-untyped-call]
    # Version 1 has the same messages under another name; some clients support only that.
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    methods = {"ServerReflectionInfo": handler}
    registrar.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("grpc.reflection.v1.ServerReflection", methods)]
    )


def requests_to_stop() -> "asyncio.Queue[int]":
    """The signals SIGTERM and SIGINT that arrive from now on."""
    received: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received.put_nowait, number)
    return received


def _require_a_rule_for_each_method(names: list[str], access: Mapping[str, Rule]) -> None:
    for name in names:
        for method in _methods(name):
            if method not in access:
                raise StartError(f"The method {method} has no access rule.")


def _methods(service: str) -> Iterable[str]:
    found = descriptor_pool.Default().FindServiceByName(service)
    return (f"/{service}/{method.name}" for method in found.methods)
