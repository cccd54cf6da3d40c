"""Takes calls from gRPC faster than grpc.aio does, and notices when even that is too slow.

grpc.aio asks gRPC for one call, starts it, and asks for the next, which takes several turns of the
event loop. Calls that come faster than that wait inside of gRPC: for seconds, and in an order in
which no caller has a share. They are to be refused at once instead, and for that to be taken first.
"""

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

# So many calls are taken in one turn of the event loop. No benign burst is larger.
AHEAD = 64
# Calls are too many if for so long, without a pause of PAUSE_SECONDS, AHEAD of them have waited.
PATIENCE_SECONDS = 0.05
PAUSE_SECONDS = 0.1


class _Taken(asyncio.Task[Any]):
    """A call that gRPC hands over. If it is there already, it does not wait for another turn."""

    is_running: Callable[[], bool]

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        if self.done() and self.is_running():
            callback(self)
        else:
            super().add_done_callback(callback, context=context)


class _Acceptor(cygrpc.AioServer):  # type: ignore[misc]
    """Asks gRPC for AHEAD calls at a time; whatever grpc.aio takes next was asked for long ago."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._asked: dict[bytes | None, deque[_Taken]] = defaultdict(deque)
        self._first_full = self._last_full = 0.0
        self.crowded: Callable[[], None] = lambda: None

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """The next call of a registered method or, without one, of any other."""
        asked = self._asked[method]
        if method is None and asked and asked[-1].done():
            self._notice_crowd()
        while len(asked) <= AHEAD:
            call = self._request_registered_call(method) if method else self._request_call()
            taken = _Taken(call)
            taken.is_running = self.is_running
            asked.append(taken)
        return asked.popleft()

    async def shutdown(self, grace: float | None) -> None:
        """Also give up the calls that were taken ahead: a server waits for the end of each."""
        for taken in chain(*self._asked.values()):
            taken.add_done_callback(_forget)
        self._asked.clear()
        await super().shutdown(grace)

    def _notice_crowd(self) -> None:
        now = time.monotonic()
        if now - self._last_full > PAUSE_SECONDS:
            self._first_full = now
        self._last_full = now
        if now - self._first_full > PATIENCE_SECONDS:
            self.crowded()


def _forget(taken: "asyncio.Task[Any]") -> None:
    """Ask for its error, the end of the server, or else asyncio logs that nothing does."""
    if not taken.cancelled():
        taken.exception()


def server(options: Sequence[tuple[str, Any]], crowded: Callable[[], None]) -> grpc.aio.Server:
    """A gRPC server. It calls `crowded` again and again while calls come too fast to be taken.

    grpc.aio names the class that this extends in one place only, and not as a parameter.
    """
    original = cygrpc.AioServer
    cygrpc.AioServer = _Acceptor
    try:
        made = grpc.aio.server(options=options)
    finally:
        cygrpc.AioServer = original
    made._server.crowded = crowded  # type: ignore[attr-defined]
    return made
