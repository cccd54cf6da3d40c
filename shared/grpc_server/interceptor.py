"""What happens to every call before and after its servicer method, in this order.

1. request id: the log line and every response have it, so it comes first;
2. access rule of the method, then the token: a message is not awaited for an unknown caller;
3. the message, for which a call waits only so long, then a place to work (`admission`);
4. the message is parsed: bytes that are not protobuf, or are too many fields, never reach a method;
5. the method, which limits each of its own waits;
6. errors → statuses, then the log line, which shows the status; a client has to take its answer.

To gRPC every method takes a stream of messages, of which one is read: a handler of a single message
would be called when that has come, and nothing could limit the calls for which it never comes.
Each handler is wrapped once, when its method is first called. A grpc.aio.ServerInterceptor would be
asked on every call.
"""

import asyncio
import inspect
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import ceil
from random import getrandbits, random
from time import monotonic
from typing import Any, NoReturn, TypeAlias, TypeGuard

import grpc
import structlog
from google.protobuf.message import DecodeError

from shared.auth.access import require_open_to
from shared.auth.authenticator import Authenticator
from shared.auth.caller import Agent, Call, current_call
from shared.auth.permissions import Access, Rule
from shared.errors import Reason, Refusal
from shared.grpc_server.accepting import Crowd
from shared.grpc_server.admission import (
    ANSWER_SECONDS,
    CALLS_PER_CONNECTION,
    CALLS_PER_CONNECTION_CROWDED,
    FEW_WAITING,
    MAXIMUM_WAITING,
    MAXIMUM_WAITING_STRANGERS,
    MESSAGE_SECONDS,
    Holder,
    Shares,
    Streams,
    Wait,
    Waiting,
    answers_not_taken,
    host,
    message_missing,
    too_many_calls,
)
from shared.grpc_server.call_lines import ALL_CALLS, ORDINARY_ENDS, CallLines
from shared.grpc_server.calls import UNARY, Calls, MethodCalls
from shared.grpc_server.fields import UNCOUNTED_BYTES, require_few_fields
from shared.grpc_server.parking import ParkingLot, can_park
from shared.grpc_server.status import DETAILS_KEY, GRPC_CODES, packed
from shared.grpc_server.watches import EndOfStream, Watch, Watches
from shared.metrics.catalog import IN_FLIGHT, PARKED, PLACES, STREAMS, WAITING
from shared.metrics.instruments import Sample

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
REQUEST_ID_CHARACTERS = 128
MESSAGE_BYTES = 4 * 1024 * 1024
METADATA_BYTES = 16 * 1024
# HTTP/2 counts so much for each header beside its name and value (RFC 9113, 6.5.2).
HEADER_BYTES = 32
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
# What the log calls every method that does not exist.
UNKNOWN_METHOD = "unknown"
GOODBYE_SECONDS = 0.1
TRACE_CONTEXT = ("traceparent", "tracestate")
SHUTTING_DOWN = "The server is shutting down."
EVERY_PEER: Mapping[str, Collection[str]] = {}
"""No method demands that the certificate of a client has a certain name."""
# The names in a certificate, as gRPC calls them: host names and URIs, such as SPIFFE ids.
PEER_NAMES = ("peer_dns", "peer_uri")


OPEN = (Access.PROBE, Access.OPEN)


class Interceptor:
    """Wraps the handlers of a server, as the module describes."""

    def __init__(
        self,
        authenticator: Authenticator,
        access: Mapping[str, Rule],
        connections: int,
        calls: Calls | None = None,
        peers: Mapping[str, Collection[str]] = EVERY_PEER,
        lines: CallLines = ALL_CALLS,
    ) -> None:
        """`connections` to the database decide how many calls are taken at a time.

        `calls` counts them, for a process that publishes metrics. `peers` are the names of which
        the certificate of a client has to have one, by method; `lines` says which calls are logged.
        """
        self._peers = peers
        self._authenticator = authenticator
        self._calls, self._lines = calls, lines
        self._access = {**access, UNKNOWN_METHOD: Access.PROBE}
        self.crowd = Crowd(ceil(connections * CALLS_PER_CONNECTION_CROWDED))
        self._places = Shares(connections * CALLS_PER_CONNECTION, self.crowd)
        self._callers = Waiting(MAXIMUM_WAITING)
        self._strangers = Waiting(MAXIMUM_WAITING_STRANGERS)
        self._probes = Shares(MAXIMUM_WAITING_STRANGERS)
        self._streams = Streams()
        self._watches = Watches()
        self._parking = ParkingLot(self._places, self._callers)
        self._ending = False
        self._last_ended = asyncio.Event()

    def watch(self) -> None:
        """End calls whose clients let them wait for too long, from now on until `drain`."""
        self._callers.watch()
        self._strangers.watch()

    def samples(self) -> list[Sample]:
        """The calls that there are, and, if they are counted, that there were."""
        shares = {"work": self._places, "probe": self._probes}
        turns = sum(map(len, self._parking.queue.values()))
        clients = len(self._callers) + len(self._strangers)
        return [
            *(self._calls.samples() if self._calls else ()),
            *(Sample(IN_FLIGHT, each.total - each.free, (kind,)) for kind, each in shares.items()),
            *(Sample(PLACES, each.total, (kind,)) for kind, each in shares.items()),
            Sample(WAITING, clients, ("client",)),
            Sample(WAITING, turns, ("turn",)),
            Sample(PARKED, len(self._parking)),
            Sample(STREAMS, len(self._watches), ("watch",)),
            Sample(STREAMS, len(self._streams), ("probe",)),
        ]

    async def drain(self, seconds: float) -> None:
        """Refuse new calls; return when those under way have ended, or after `seconds`.

        Streams are ended at once: a stop cannot wait for them, because they have no end. Those of
        authenticated callers may say a last word. So are parked calls, which would wait for news.
        """
        self._ending = True
        await asyncio.sleep(GOODBYE_SECONDS)  # clients that watch the health are notified
        self._streams.end()
        watches = asyncio.create_task(self._watches.end())
        self._parking.end()
        self._last_ended.clear()
        if self._places.held:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._last_ended.wait(), seconds)
        await watches
        self._callers.end_watch()
        self._strangers.end_watch()

    def wrap(self, method: str, handler: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        """The wrapped handler of `method` ("/package.Service/Method")."""
        parse = handler.request_deserializer or bytes
        if behavior := handler.unary_unary:
            if not inspect.iscoroutinefunction(behavior):
                behavior = _unimplemented  # the servicer does not override this method yet
            serialize = handler.response_serializer or bytes
            behavior = self._parking.wrap(behavior)
            if method in self._peers:
                behavior = _for_peers(self._peers[method], behavior)
            return grpc.stream_unary_rpc_method_handler(
                self._unary(method, behavior, parse, serialize)
            )
        assert method not in self._peers, "only unary methods can be left to certain clients"
        if handler.unary_stream:
            calls = self._counted(method, "server_stream")
            serve = self._stream(
                method, handler.unary_stream, lambda message, _: parse(message), calls
            )
        else:
            calls = self._counted(method, "bidi_stream")
            serve = self._stream(
                method, handler.stream_stream, lambda first, rest: _each(first, rest, parse), calls
            )
        return grpc.stream_stream_rpc_method_handler(
            serve, response_serializer=_unless_serialized(handler.response_serializer)
        )

    def _counted(self, method: str, kind: str) -> MethodCalls | None:
        return self._calls.of(method, kind) if self._calls else None

    def _unary(
        self,
        method: str,
        behavior: Callable[[Any, Context], Awaitable[Any]],
        parse: Any,
        serialize: Any,
    ) -> Callable[[Any, Context], Awaitable[bytes]]:
        places = self._probes if self._access.get(method) is Access.PROBE else self._places
        held, crowd, is_described = places.held, places.crowd, parse is not bytes
        queue, calls = self._parking.queue, self._counted(method, UNARY)
        lines = self._lines.of(is_probe=places is self._probes, waits=can_park(behavior))

        async def serve(_requests: Any, context: Context) -> bytes:
            with _Served(method, context, self._strangers, calls, lines) as served:
                try:
                    request = await self._admit(served, places)
                    holder, waiting = served.holder, served.waiting
                    peer = served.peer
                    if len(waiting) > FEW_WAITING and waiting.reads_too_little(holder, peer):
                        raise answers_not_taken()
                    # Shares.take and release, without two more functions for every call.
                    before = held.get(holder, 0)
                    if before >= places.free or before >= crowd.most:
                        raise too_many_calls()
                    held[holder], places.free = before + 1, places.free - 1
                    try:
                        await crowd.make_way(before)
                        if len(request) > UNCOUNTED_BYTES and is_described:
                            await require_few_fields(request, parse)
                        answer: bytes = serialize(await behavior(parse(request), context))
                    finally:
                        held[holder], places.free = held[holder] - 1, places.free + 1
                        if not held[holder]:
                            del held[holder]
                        if queue or self._ending:
                            self._has_released()
                    end = monotonic() + ANSWER_SECONDS
                    waiting[served.task] = Wait(holder, end, len(answer), peer)
                    served.task.add_done_callback(waiting.pop)
                    return answer
                except Exception as error:
                    await served.refuse(error)

        return serve

    def _has_released(self) -> None:
        """Let those who need it know that a place is free."""
        self._parking.give_turns()
        if not self._places.held:
            self._last_ended.set()

    def _stream(
        self,
        method: str,
        behavior: Callable[..., Any],
        parse: Callable[[Any, Context], Any],
        calls: MethodCalls | None,
    ) -> Callable[[Any, Context], Awaitable[None]]:
        """A coroutine, which writes: what ends it while its client reads nothing is raised here.

        It would be lost if this were a generator, which waits outside of itself.
        """
        places: Any = self._probes if self._access.get(method) in OPEN else self._watches
        is_probe = self._access.get(method) is Access.PROBE
        lines = self._lines.of(is_probe=is_probe, waits=True)

        async def serve(_requests: Any, context: Context) -> None:
            with _Served(method, context, self._strangers, calls, lines) as served:
                try:
                    if self._ending:
                        await served.turn_away()
                    request = await self._admit(served, places)
                    with self._opened(served):
                        answers = behavior(parse(request, context), context)
                        if inspect.isawaitable(answers):  # it writes to the context by itself
                            await answers
                            return
                        async for answer in answers:
                            await context.write(answer)
                except asyncio.CancelledError:
                    await self._cancelled(served)
                    raise
                except EndOfStream as end:
                    await served.turn_away(str(end))
                except Exception as error:
                    await served.refuse(error)

        return serve

    @contextmanager
    def _opened(self, served: "_Served") -> Iterator[None]:
        if served.caller == "-":
            with self._streams.open(served.task, served.peer):
                yield
        else:
            with self._watches.open(served.task, served.holder) as served.watch:
                served.watch.is_ending = self._ending
                yield

    async def _cancelled(self, served: "_Served") -> None:
        """Tell the client of a stream why it ends, unless it was the client who ended it.

        If the handler were only cancelled, its client would wait for a status.
        """
        watch = served.watch
        if watch and watch.refusal:
            await served.refuse(watch.refusal)
        if watch.is_cut if watch else self._streams.ending:
            await served.turn_away()

    async def _admit(self, served: "_Served", places: Shares | Watches) -> Any:
        """Learn who calls, then wait for the (first) message, which is returned.

        Without a token it is a connection or, if the call works on the database, a host. A message
        for which there will be no place is not waited for.
        """
        access, context = self._access[served.method], served.context
        if self._ending or served.metadata_bytes > METADATA_BYTES:
            await self._turn_down(served, access)
        peer = served.peer = context.peer()
        if access in OPEN:
            served.holder = peer if access is Access.PROBE else host(peer)
        else:
            proof = await self._authenticator.authenticate(served.authorization)
            caller, trace = proof.caller, served.trace
            served.caller, served.holder, served.waiting = caller.name, caller.id, self._callers
            if isinstance(caller, Agent) or access is Access.SUPERUSER:
                require_open_to(caller, access)
            end, left = proof.expires_at, context.time_remaining
            call = Call(served.method, served.request_id, caller, proof.token, end, trace, left)
            current_call.set(call)
        if places.held.get(served.holder, 0) >= min(places.free, places.crowd.most):
            raise places.refusal()
        waiting, task = served.waiting, served.task
        if len(waiting) >= waiting.limit:
            waiting.make_room()
        waiting[task] = Wait(served.holder, monotonic() + MESSAGE_SECONDS, None)
        try:
            message = await context.read()
        except asyncio.CancelledError as error:
            raise (error if task in waiting else message_missing()) from None
        finally:
            waiting.pop(task, None)
        if message is grpc.aio.EOF or len(message) > MESSAGE_BYTES:
            raise _wrong_size(message)
        return message

    async def _turn_down(self, served: "_Served", access: Rule) -> None:
        if served.metadata_bytes > METADATA_BYTES:
            message = "The metadata of a call can have 16 KiB."
            raise Refusal(Reason.LIMIT_EXCEEDED, message, limit="metadata")
        if access is not Access.PROBE:
            await served.turn_away()  # health goes on saying that the process is not ready


class Handlers(grpc.GenericRpcHandler):
    """The handlers of a service, each wrapped when its method is first called."""

    def __init__(self, handlers: grpc.GenericRpcHandler, interceptor: Interceptor) -> None:
        self._handlers = handlers
        self._interceptor = interceptor
        self._wrapped: dict[str, Any] = {}

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        method = handler_call_details.method
        if method not in self._wrapped:
            handler = self._handlers.service(handler_call_details)
            if handler is None:
                return None
            self._wrapped[method] = self._interceptor.wrap(method, handler)
        return self._wrapped[method]


class UnknownMethods(grpc.GenericRpcHandler):
    """Refuses every call; gRPC's own refusal of a method that does not exist has no details."""

    def __init__(self, interceptor: Interceptor) -> None:
        self._handler = interceptor.wrap(
            UNKNOWN_METHOD, grpc.unary_unary_rpc_method_handler(_unimplemented)
        )

    def service(self, _handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler


class Registrar:
    """Adds the handlers that generated code registers to the server, wrapped."""

    def __init__(self, server: grpc.aio.Server, interceptor: Interceptor) -> None:
        self._server = server
        self._interceptor = interceptor

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(
            tuple(Handlers(handler, self._interceptor) for handler in handlers)
        )

    def add_unknown_methods(self) -> None:
        """Refuse the methods that no handler has that was added before."""
        self._server.add_generic_rpc_handlers((UnknownMethods(self._interceptor),))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Ignored but for the health check, which so has a queue of its own in gRPC.

        The server looks registered methods up more slowly than generic handlers.
        """
        own = {f"/{service}/{name}": name for name in handlers}.get(HEALTH_CHECK)
        if own:
            wrapped = self._interceptor.wrap(HEALTH_CHECK, handlers[own])
            self._server.add_registered_method_handlers(service, {own: wrapped})


@dataclass(slots=True)
class _Served:
    """One call, from its metadata to its log line."""

    method: str
    context: Context
    waiting: Waiting
    calls: MethodCalls | None
    lines: CallLines
    caller: str = "-"
    holder: Holder = ""
    peer: str = ""
    code: str = "OK"
    reason: str | None = None
    authorization: tuple[str, ...] = ()
    trace: tuple[tuple[str, str], ...] = ()
    request_id: str = ""
    metadata_bytes: int = 0
    watch: Watch | None = None
    started: float = field(default_factory=time.perf_counter)
    task: "asyncio.Task[Any]" = field(default_factory=asyncio.current_task)  # type: ignore[arg-type]

    def __enter__(self) -> "_Served":
        for key, value in self.context.invocation_metadata() or ():
            self.metadata_bytes += len(key) + len(value) + HEADER_BYTES
            if key == "authorization":
                self.authorization += (value,)  # type: ignore[operator]
            elif key == "x-request-id":
                self.request_id = _sound_request_id(value)
            elif key in TRACE_CONTEXT and _can_be_sent(value):
                self.trace += ((key, value),)
        self.request_id = self.request_id or f"{getrandbits(128):032x}"
        self.context.set_trailing_metadata((("x-request-id", self.request_id),))
        current_call.set(Call(self.method, self.request_id, trace=self.trace))
        if self.calls is not None:
            self.calls.started += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self.code = "CANCELLED"
        seconds = time.perf_counter() - self.started
        if self.calls is not None:
            self.calls.ended(self.code, self.reason, seconds)
        self._log(round(seconds * 1000, 1))

    def _log(self, ms: float) -> None:
        lines = self.lines
        more: dict[str, Any] = {}
        if self.reason:
            more["reason"] = self.reason
        elif lines.sample < 1 and self.code == "OK" and not lines.is_slow(ms):
            if random() >= lines.sample:  # noqa: S311
                return
            more["sample"] = lines.sample
        write = log.debug if lines.is_probe and self.code in ORDINARY_ENDS else log.info
        write(
            "call",
            method=self.method,
            caller=self.caller,
            code=self.code,
            ms=ms,
            request_id=self.request_id,
            **more,
        )

    async def turn_away(self, message: str = SHUTTING_DOWN) -> NoReturn:
        """End a call that another process has to serve; nothing of it was done, or all sent."""
        self.code = "UNAVAILABLE"
        await self.context.abort(grpc.StatusCode.UNAVAILABLE, message)

    async def refuse(self, error: Exception) -> NoReturn:
        """End the call with the status of an error, unless its end is under way already."""
        if self.code != "OK":  # its client was gone when it was turned away
            raise error
        holder = self.holder or self.context.peer()
        self.waiting[self.task] = Wait(holder, monotonic() + ANSWER_SECONDS, 0)
        self.task.add_done_callback(self.waiting.pop)
        if isinstance(error, grpc.aio.AbortError):  # from a method of health or reflection
            self.code = grpc.StatusCode(self.context.code()).name
            raise error
        refusal = self._refusal(error)
        try:
            message, details = packed(refusal)
        except Exception as fault:  # grpc.aio would send its text
            refusal = self._fault(fault)
            message, details = refusal.message, b""
        self.code, self.reason = refusal.reason.code.name, refusal.reason.name
        if self.calls is not None and refusal.limit:
            self.calls.refused(refusal.limit)
        await self.context.abort(
            GRPC_CODES[refusal.reason.code],
            message,
            (("x-request-id", self.request_id), (DETAILS_KEY, details)),
        )

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, Refusal):
            if error.__cause__ is not None:
                log.warning("refused", request_id=self.request_id, exc_info=error.__cause__)
            return error
        if isinstance(error, DecodeError):
            message = "The request is not a valid message of its type."
            return Refusal(Reason.INVALID_FIELD, message)
        return self._fault(error)

    def _fault(self, error: Exception) -> Refusal:
        log.error("fault", method=self.method, request_id=self.request_id, exc_info=error)
        return Refusal(
            Reason.INTERNAL,
            f"An internal error occurred; the log has details under {self.request_id}.",
            metadata={"request_id": self.request_id},
        )


def _for_peers(
    names: Collection[str], behavior: Callable[[Any, Context], Awaitable[Any]]
) -> Callable[[Any, Context], Awaitable[Any]]:
    """A method for clients only whose certificates have one of these names."""

    async def checked(request: Any, context: Context) -> Any:
        proven = context.auth_context()
        if any(name.decode() in names for kind in PEER_NAMES for name in proven.get(kind, ())):
            return await behavior(request, context)
        message = "The method is for other services, of which the client's certificate is none."
        raise Refusal(Reason.CLIENT_NOT_ALLOWED, message)

    return checked


def _wrong_size(message: Any) -> Refusal:
    if message is grpc.aio.EOF:
        return Refusal(Reason.INVALID_FIELD, "The call has no message.")
    return Refusal(Reason.LIMIT_EXCEEDED, "A request can have 4 MiB.", limit="message_size")


def _unless_serialized(serialize: Callable[[Any], bytes] | None) -> Callable[[Any], bytes]:
    """Serializes messages; what many streams send alike is given to it as bytes."""
    if serialize is None:
        return bytes
    return lambda answer: answer if type(answer) is bytes else serialize(answer)


async def _unimplemented(_request: Any, _context: Context) -> NoReturn:
    raise Refusal(Reason.METHOD_NOT_AVAILABLE, "The method is not implemented.")


def _sound_request_id(value: str | bytes) -> str:
    return value if _can_be_sent(value) and len(value) <= REQUEST_ID_CHARACTERS else ""


def _can_be_sent(value: str | bytes) -> TypeGuard[str]:
    """Whether this value is allowed in metadata that is sent; received metadata may have others."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


async def _each(
    first: bytes, context: Context, parse: Callable[[bytes], Any]
) -> AsyncIterator[Any]:
    message: Any = first
    while message is not grpc.aio.EOF:
        yield parse(message)
        message = await context.read()
