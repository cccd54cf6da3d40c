"""What happens to every call before and after its servicer method, in this order.

1. request id: the log line and every response have it, so it comes first;
2. access rule of the method, then the token: a request is not read for an unknown caller;
3. the message: bytes that are not protobuf, or are too many fields, never reach a method;
4. the method, which limits each of its own waits;
5. errors → statuses, then the log line, which shows the status.

Each handler is wrapped once, when its method is first called. A grpc.aio.ServerInterceptor would be
asked on every call.
"""

import asyncio
import inspect
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum, auto
from random import getrandbits
from typing import Any, NoReturn, TypeAlias, TypeGuard

import grpc
import structlog
from google.protobuf.message import DecodeError

from shared.auth.authenticator import Authenticator
from shared.auth.caller import Call, User, current_call
from shared.errors import Reason, Refusal, Unimplemented, not_allowed_for_agent
from shared.grpc_server.fields import UNCOUNTED_BYTES, require_few_fields
from shared.grpc_server.status import DETAILS_KEY, GRPC_CODES, to_status

log = structlog.get_logger()

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
REQUEST_ID_CHARACTERS = 128
# Calls whose message has arrived. The server limits those that never send one.
MAXIMUM_CALLS = 1000
CALL_RETRY_SECONDS = 1.0
# Streams need no authentication and stay open: they must leave room for calls.
MAXIMUM_STREAMS = 100
STREAM_RETRY_SECONDS = 10.0
GOODBYE_SECONDS = 0.1
TRACE_CONTEXT = ("traceparent", "tracestate")


class Access(Enum):
    """Which callers a method accepts. The rules decide which rows a caller reaches."""

    OPEN = auto()
    USER = auto()
    USER_OR_AGENT = auto()


class Interceptor:
    """Wraps the handlers of a server, as the module describes."""

    def __init__(self, authenticator: Authenticator, access: Mapping[str, Access]) -> None:
        self._authenticator = authenticator
        self._access = access
        self._calls = 0
        self._streams: set[asyncio.Task[Any]] = set()
        self._ending = False
        self._last_ended = asyncio.Event()

    async def drain(self, seconds: float) -> None:
        """Refuse new calls; return when those under way have ended, or after `seconds`.

        Streams are ended at once: a stop cannot wait for them, because they have no end.
        """
        self._ending = True
        await asyncio.sleep(GOODBYE_SECONDS)  # clients that watch the health are notified
        for task in tuple(self._streams):
            task.cancel()
        if self._calls:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._last_ended.wait(), seconds)

    def wrap(self, method: str, handler: Any) -> "grpc.RpcMethodHandler[Any, Any]":
        """The wrapped handler of `method` ("/package.Service/Method")."""
        parse = handler.request_deserializer or bytes
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(method, handler.unary_unary, parse),
                response_serializer=handler.response_serializer,
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(method, handler.unary_stream, parse),
                response_serializer=handler.response_serializer,
            )
        return grpc.stream_stream_rpc_method_handler(
            self._stream(method, handler.stream_stream, lambda requests: _each(requests, parse)),
            response_serializer=handler.response_serializer,
        )

    def _unary(
        self, method: str, behavior: Callable[[Any, Context], Awaitable[Any]], parse: Any
    ) -> Callable[[bytes, Context], Awaitable[Any]]:
        if not inspect.iscoroutinefunction(behavior):
            behavior = _unimplemented  # the servicer does not override this method yet

        async def serve(request: bytes, context: Context) -> Any:
            with _Served(method, context) as served:
                if self._ending and self._access[method] is not Access.OPEN:
                    await served.turn_away()  # health goes on saying that the process is not ready
                self._calls += 1
                try:
                    if self._calls > MAXIMUM_CALLS:
                        raise _too_many_calls()
                    await self._admit(served)
                    if len(request) > UNCOUNTED_BYTES:
                        await require_few_fields(request, parse)
                    return await behavior(parse(request), context)
                except Exception as error:
                    await served.refuse(error)
                finally:
                    self._calls -= 1
                    if self._ending and not self._calls:
                        self._last_ended.set()

        return serve

    def _stream(
        self, method: str, behavior: Callable[..., Any], parse: Callable[[Any], Any]
    ) -> Callable[[Any, Context], AsyncIterator[Any]]:
        async def serve(request: Any, context: Context) -> AsyncIterator[Any]:
            with _Served(method, context) as served:
                if self._ending:
                    await served.turn_away()
                try:
                    await self._admit(served)
                    with self._open_stream():
                        answers = behavior(parse(request), context)
                        if inspect.isawaitable(answers):  # it writes to the context by itself
                            await answers
                            return
                        async for answer in answers:
                            yield answer
                except asyncio.CancelledError:
                    if not self._ending:
                        raise
                    # If the handler were only cancelled, its client would wait for a status.
                    await served.turn_away()
                except Exception as error:
                    await served.refuse(error)

        return serve

    @contextmanager
    def _open_stream(self) -> Iterator[None]:
        if len(self._streams) >= MAXIMUM_STREAMS:
            message = f"{MAXIMUM_STREAMS} streams are open already; close some."
            raise Refusal(Reason.LIMIT_EXCEEDED, message, retry_after=STREAM_RETRY_SECONDS)
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        try:
            yield
        finally:
            self._streams.discard(task)

    async def _admit(self, served: "_Served") -> None:
        access = self._access[served.method]
        if access is Access.OPEN:
            return
        proof = await self._authenticator.authenticate(served.authorization)
        served.caller = proof.caller.name
        if access is Access.USER and not isinstance(proof.caller, User):
            raise not_allowed_for_agent()
        current_call.set(
            Call(
                served.method,
                served.request_id,
                proof.caller,
                proof.token,
                proof.expires_at,
                tuple(served.trace),
                served.context.time_remaining,
            )
        )


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


class Registrar:
    """Adds the handlers that generated code registers to the server, wrapped."""

    def __init__(self, server: grpc.aio.Server, interceptor: Interceptor) -> None:
        self._server = server
        self._interceptor = interceptor

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(
            tuple(Handlers(handler, self._interceptor) for handler in handlers)
        )

    def add_registered_method_handlers(self, _service: str, _handlers: Mapping[str, Any]) -> None:
        """Ignored: the server looks registered methods up more slowly than generic handlers."""


@dataclass(slots=True)
class _Served:
    """One call, from its metadata to its log line."""

    method: str
    context: Context
    caller: str = "-"
    code: str = "OK"
    reason: str | None = None
    authorization: list[str] = field(default_factory=list)
    trace: list[tuple[str, str]] = field(default_factory=list)
    request_id: str = ""
    started: float = field(default_factory=time.perf_counter)

    def __enter__(self) -> "_Served":
        for key, value in self.context.invocation_metadata() or ():
            if key == "authorization":
                self.authorization.append(value)  # type: ignore[arg-type]
            elif key == "x-request-id":
                self.request_id = _sound_request_id(value)
            elif key in TRACE_CONTEXT and _can_be_sent(value):
                self.trace.append((key, value))
        self.request_id = self.request_id or f"{getrandbits(128):032x}"
        self.context.set_trailing_metadata((("x-request-id", self.request_id),))
        current_call.set(Call(self.method, self.request_id))
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            self.code = "CANCELLED"
        log.info(
            "call",
            method=self.method,
            caller=self.caller,
            code=self.code,
            ms=round((time.perf_counter() - self.started) * 1000, 1),
            request_id=self.request_id,
            **({"reason": self.reason} if self.reason else {}),
        )

    async def turn_away(self) -> NoReturn:
        """End a call that another process has to serve; nothing of it was done."""
        self.code = "UNAVAILABLE"
        await self.context.abort(grpc.StatusCode.UNAVAILABLE, "The server is shutting down.")

    async def refuse(self, error: Exception) -> NoReturn:
        """End the call with the status of an error."""
        if isinstance(error, Unimplemented):
            self.code = "UNIMPLEMENTED"
            await self.context.abort(grpc.StatusCode.UNIMPLEMENTED, str(error))
        if isinstance(error, grpc.aio.AbortError):  # from a method of health or reflection
            self.code = grpc.StatusCode(self.context.code()).name
            raise error
        refusal = self._refusal(error)
        self.code, self.reason = refusal.reason.code.name, refusal.reason.name
        status = to_status(refusal)
        await self.context.abort(
            GRPC_CODES[refusal.reason.code],
            status.message,
            (("x-request-id", self.request_id), (DETAILS_KEY, status.SerializeToString())),
        )

    def _refusal(self, error: Exception) -> Refusal:
        if isinstance(error, Refusal):
            if error.__cause__ is not None:
                log.warning("refused", request_id=self.request_id, exc_info=error.__cause__)
            return error
        if isinstance(error, DecodeError):
            message = "The request is not a valid message of its type."
            return Refusal(Reason.INVALID_FIELD, message)
        log.error("fault", method=self.method, request_id=self.request_id, exc_info=error)
        return Refusal(
            Reason.INTERNAL,
            f"An internal error occurred; the log has details under {self.request_id}.",
            metadata={"request_id": self.request_id},
        )


def _too_many_calls() -> Refusal:
    message = f"{MAXIMUM_CALLS} calls are under way already; try again."
    return Refusal(Reason.LIMIT_EXCEEDED, message, retry_after=CALL_RETRY_SECONDS)


async def _unimplemented(_request: Any, _context: Context) -> NoReturn:
    raise Unimplemented("The method is not implemented.")


def _sound_request_id(value: str | bytes) -> str:
    return value if _can_be_sent(value) and len(value) <= REQUEST_ID_CHARACTERS else ""


def _can_be_sent(value: str | bytes) -> TypeGuard[str]:
    """Whether this value is allowed in metadata that is sent; received metadata may have others."""
    return isinstance(value, str) and value.isascii() and value.isprintable()


async def _each(
    requests: AsyncIterator[bytes], parse: Callable[[bytes], Any]
) -> AsyncIterator[Any]:
    async for request in requests:
        yield parse(request)
