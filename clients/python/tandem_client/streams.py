"""Reads a stream, which is taken for dead if nothing comes for some time."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import grpc

from tandem_client.errors import TandemError, from_rpc

Timer: TypeAlias = Callable[[float, Callable[[], None]], Callable[[], object]]
"""Calls a function after so many seconds, unless what it returns is called before."""


class Stream(Protocol):
    """The responses of one call."""

    async def read(self) -> Any:
        """The next response. Raises TandemError when the stream ends, also if that is by OK."""

    def close(self) -> None:
        """Cancel the call, if it is under way."""


class AsyncioStream:
    """A stream that is read in an event loop."""

    def __init__(self, call: Any, seconds: float) -> None:
        """`seconds`: how long to wait for a response."""
        self._call = call
        self._seconds = seconds

    async def read(self) -> Any:
        try:
            async with asyncio.timeout(self._seconds):
                response = await self._call.read()
        except TimeoutError:
            raise silent(self._seconds) from None
        except grpc.RpcError as raw:
            raise from_rpc(raw) from raw
        if response is grpc.aio.EOF:
            raise ended()
        return response

    def close(self) -> None:
        self._call.cancel()


class ThreadStream:
    """A stream that is read in a thread, which only a cancelled call lets go on."""

    def __init__(self, call: Any, seconds: float, now: Callable[[], float], timer: Timer) -> None:
        self._call = call
        self._seconds = seconds
        self._now = now
        self._timer = timer
        self._since: float | None = None
        self._silent = False
        self._look_later()

    async def read(self) -> Any:
        self._since = self._now()
        try:
            return next(self._call)
        except StopIteration:
            raise ended() from None
        except grpc.RpcError as raw:
            raise silent(self._seconds) if self._silent else from_rpc(raw) from raw
        finally:
            self._since = None

    def close(self) -> None:
        self._stop()
        self._call.cancel()

    def _look_later(self) -> None:
        # Now and then instead of at every read, for which a timer would have to be set and stopped.
        self._stop = self._timer(self._seconds / 3, self._look)

    def _look(self) -> None:
        since = self._since
        if since is None or self._now() - since < self._seconds:
            self._look_later()
            return
        self._silent = True
        self._call.cancel()


def timer(seconds: float, behavior: Callable[[], None]) -> Callable[[], object]:
    """A timer that does not keep the process from ending."""
    started = threading.Timer(seconds, behavior)
    started.daemon = True
    started.start()
    return started.cancel


def silent(seconds: float) -> TandemError:
    """A response has not come in time."""
    message = f"Nothing has come for {seconds:g} seconds."
    return TandemError(grpc.StatusCode.UNAVAILABLE, message)


def ended() -> TandemError:
    """The service has ended a stream that has no end."""
    return TandemError(grpc.StatusCode.UNAVAILABLE, "The stream has ended.")
