"""What happens to every call, in both clients: its token, its request id, its time, its retries."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

import grpc

from tandem.agent.v1.error_reason_pb2 import ErrorReason
from tandem_client.errors import from_rpc
from tandem_client.retries import Retries
from tandem_client.runtime import Runtime
from tandem_client.tokens import Tokens

R = TypeVar("R")
Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
Send: TypeAlias = Callable[[Any, Metadata, float], Awaitable[R]]
"""Sends a request once, with metadata and a timeout in seconds. Raises grpc.RpcError."""

AUTHORIZATION = "authorization"
EXPIRED = ErrorReason.ERROR_REASON_TOKEN_EXPIRED


class Calls:
    """Sends each call until it is answered, refused for good, or out of time."""

    def __init__(self, runtime: Runtime, tokens: Tokens, retries: Retries, seconds: float) -> None:
        """`seconds`: the time for a call that brings none, all its attempts together."""
        self.runtime = runtime
        self.tokens = tokens
        self.retries = retries
        self.seconds = seconds

    async def call(
        self,
        send: Send[R],
        request: Any,
        seconds: float | None,
        metadata: Iterable[tuple[str, str | bytes]] | None,
    ) -> R:
        """The answer to `request`. Raises TandemError.

        `metadata` goes along. If it has an `authorization`, no token is asked for.
        """
        request, metadata = with_request_id(request), tuple(metadata or ())
        deadline = self.runtime.now() + (self.seconds if seconds is None else seconds)
        own = any(key == AUTHORIZATION for key, _ in metadata)
        token = "" if own else await self.tokens.get(deadline)
        failures, renewed = 0, False
        while True:
            left = deadline - self.runtime.now()
            try:
                return await send(request, metadata + bearer(token), self.retries.timeout(left))
            except grpc.RpcError as raw:
                error = from_rpc(raw)
            if token and error.reason == EXPIRED and not renewed:
                renewed, expired = True, token
                token = await self.tokens.get(deadline, refused=expired)
                if token != expired:
                    continue
            failures += 1
            wait = self.retries.wait(failures, error)
            if wait is None or self.runtime.now() + wait >= deadline:
                raise error
            await self.runtime.sleep(wait)


def with_request_id(request: Any) -> Any:
    """The request; if it may have a `request_id` and has none, a copy that has one."""
    if getattr(request, "request_id", None) != "":
        return request
    copy = type(request)()
    copy.CopyFrom(request)
    copy.request_id = str(uuid4())
    return copy


def bearer(token: str) -> Metadata:
    """The metadata that carries a token, none for ""."""
    return ((AUTHORIZATION, f"Bearer {token}"),) if token else ()
