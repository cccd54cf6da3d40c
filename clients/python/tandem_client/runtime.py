"""What asyncio and threads do differently, so that everything else is written once.

The code that decides (calls.py, tokens.py) is made of coroutines. In the client for threads what
they await blocks, so they never wait for an event loop: `run` takes them to their end in one step.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from tandem_client.streams import AsyncioStream, Stream, ThreadStream, Timer, timer

T = TypeVar("T")


class Lock(Protocol):
    """Held by one call at a time."""

    async def acquire(self, seconds: float) -> bool:
        """Wait at most so long; whether it was acquired."""

    def release(self) -> None:
        """Let the next one in."""


class AsyncioLock(asyncio.Lock):
    """For calls of one event loop."""

    async def acquire(self, seconds: float) -> bool:  # type: ignore[override]
        try:
            async with asyncio.timeout(seconds):
                return await super().acquire()
        except TimeoutError:
            return False


class ThreadLock:
    """For calls of several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.release = self._lock.release

    async def acquire(self, seconds: float) -> bool:
        return self._lock.acquire(timeout=max(0.0, seconds))


@dataclass(frozen=True)
class Runtime:
    """`now` in seconds on a clock that is never set back, how to sleep for seconds, and locks.

    `stream` makes a Stream of a call, on which something has to come every so many seconds.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    lock: Callable[[], Lock]
    stream: Callable[[Any, float], Stream]


def threads(
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    timer: Timer = timer,
) -> Runtime:
    """For threads, which take the time from `now`, and wait by `sleep` and `timer`."""

    async def blocking(seconds: float) -> None:
        sleep(seconds)

    def stream(call: Any, seconds: float) -> Stream:
        return ThreadStream(call, seconds, now, timer)

    return Runtime(now, blocking, ThreadLock, stream)


ASYNCIO = Runtime(time.monotonic, asyncio.sleep, AsyncioLock, AsyncioStream)
THREADS = threads()


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits for an event loop.

    Raises RuntimeError if it does, as it must for an asynchronous source of tokens.
    """
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    coroutine.close()
    raise RuntimeError("tandem_client.sync cannot await: use the asynchronous client.")
