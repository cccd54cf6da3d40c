"""Takes calls from gRPC faster than grpc.aio does, and notices when even that is too slow.

grpc.aio asks gRPC for one call, starts it, and asks for the next, which takes several turns of the
event loop. Calls that come faster than that wait inside of gRPC: for seconds, and in an order in
which no caller has a share. They are to be refused at once instead, and for that to be taken first.
"""

import asyncio
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import grpc
from grpc._cython import cygrpc  # type: ignore[attr-defined]

# So many calls are taken in one turn of the event loop. No benign burst is larger.
AHEAD = 64
# A crowd lasts if AHEAD calls have waited so often. It is over, and later forgotten, if they have
# not in so many turns of the loop, which take LOOK_SECONDS or, if there is much to do, longer.
LASTING = 4
UNLIMITED = sys.maxsize
OVER, FORGOTTEN = 4, 20
LOOK_SECONDS = 0.005
# Work is held up for so long at most: a flood may have no end.
HOLD_SECONDS = 0.25


class Crowd:
    """Notices that more calls wait than are taken in one turn of the event loop.

    To take and refuse a call is a tenth of the work of serving it, and therefore goes first: if
    both took turns, the last of some thousand calls would be refused after seconds.
    """

    def __init__(self, most: int) -> None:
        """`most` is how many calls of one caller are at work at a time while it lasts."""
        self.most = UNLIMITED
        self._most = most
        self._is_here = False
        self._times = self._calm = 0
        self._over = asyncio.Event()
        self._over.set()

    def notice(self) -> None:
        """AHEAD calls have waited."""
        self._is_here = True
        self._times += 1
        if self._times >= LASTING:
            self.most = self._most
        self._calm = 0
        self._over.clear()
        if self._times == 1:
            self._look()

    async def make_way(self, others: int) -> None:
        """Wait until it is over, HOLD_SECONDS at most, with work of who has `others` at work."""
        if others and self._is_here:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), HOLD_SECONDS)

    def _look(self) -> None:
        self._calm += 1
        if self._calm > OVER:
            self._is_here = False
            self._over.set()
        if self._calm > FORGOTTEN:
            self._times, self.most = 0, UNLIMITED
        else:
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)


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
        self.crowd: Crowd

    def _make_request_call_future(self, method: bytes | None) -> Any:
        """The next call of a registered method or, without one, of any other."""
        asked = self._asked[method]
        if method is None and asked and asked[-1].done():
            self.crowd.notice()
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


def _forget(taken: "asyncio.Task[Any]") -> None:
    """Ask for its error, the end of the server, or else asyncio logs that nothing does."""
    if not taken.cancelled():
        taken.exception()


def server(options: Sequence[tuple[str, Any]], crowd: Crowd) -> grpc.aio.Server:
    """A gRPC server, which tells `crowd` when calls come too fast to be taken.

    grpc.aio names the class that this extends in one place only, and not as a parameter.
    """
    original = cygrpc.AioServer
    cygrpc.AioServer = _Acceptor
    try:
        made = grpc.aio.server(options=options)
    finally:
        cygrpc.AioServer = original
    made._server.crowd = crowd  # type: ignore[attr-defined]
    return made
