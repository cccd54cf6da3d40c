"""Calls that wait for something to happen: parked, they are no calls at work.

A method that `parks` can wait `async with parked()`. In that block the call holds no place, and
must hold nothing else that others need, like a connection to the database. After the block it is at
work again: it waits for its turn, but is not refused. How many calls have parked is limited, of a
caller and in total, until these calls end.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import grpc

from shared.auth.caller import caller
from shared.errors import Reason, Refusal
from shared.grpc_server.admission import FEW_WAITING, Holder, Shares, Task, Waiting

MAXIMUM_PARKED = 5000
PARKED_PER_CALLER = 100
PARKED_RETRY_SECONDS = 10.0
# How often turns are given that depend on more than on places which get free.
TURN_SECONDS = 0.1

Behavior = Callable[[Any, Any], Awaitable[Any]]
M = TypeVar("M", bound=Callable[..., Any])


class Ended(Exception):  # noqa: N818
    """The process stops: another one has to serve the call."""


class Parking:
    """A call that can park."""

    def __init__(self, lot: "ParkingLot", holder: Holder, connection: str) -> None:
        self.holder = holder
        self.connection = connection
        self.has_parked = False
        self.has_place = True
        self.is_ended = False
        self.task: Task | None = None
        self.turn: asyncio.Future[None] | None = None
        self._lot = lot

    async def __aenter__(self) -> None:
        self.task = asyncio.current_task()
        self._lot.park(self)

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                await self._lot.turn_of(self)
        except asyncio.CancelledError:
            if self.is_ended and self._is_only_ended():
                raise Ended from None
            raise
        finally:
            self._lot.resume(self)
        if self.is_ended and kind is asyncio.CancelledError and self._is_only_ended():
            raise Ended

    def _is_only_ended(self) -> bool:
        """Whether its client has not cancelled it as well."""
        assert self.task is not None
        return self.task.uncancel() == 0


_current: ContextVar[Parking] = ContextVar("parking")


def parked() -> Parking:
    """Wait for something in `async with parked()`.

    Raises Refusal: LIMIT_EXCEEDED, if the call has not parked before. When the process stops, what
    is awaited in the block is cancelled, and the call ends as UNAVAILABLE.
    """
    return _current.get()


def parks(method: M) -> M:
    """Let a method of a servicer park."""
    method.parks = True  # type: ignore[attr-defined]
    return method


def can_park(method: Behavior) -> bool:
    """Whether a method of a servicer may wait for something."""
    return getattr(method, "parks", False)


class ParkingLot:
    """The parked calls of a process."""

    def __init__(self, places: Shares, answers: Waiting) -> None:
        """Calls at work hold `places`; `answers` are those that clients have to take."""
        self.queue: dict[Holder, deque[Parking]] = {}
        """Those that wait for their turns. Whoever gives a place back calls `give_turns`."""
        self._places = places
        self._answers = answers
        self._held: dict[Holder, int] = {}
        self._total = 0
        self._parked: set[Parking] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False

    def __len__(self) -> int:
        return self._total

    def wrap(self, behavior: Behavior) -> Behavior:
        """The method, which can park if it says so."""
        if not can_park(behavior):
            return behavior

        async def serve(request: Any, context: Any) -> Any:
            parking = Parking(self, caller().id, context.peer())
            _current.set(parking)
            try:
                return await behavior(request, context)
            except Ended:
                message = "The server is shutting down."
                await context.abort(grpc.StatusCode.UNAVAILABLE, message)
            finally:
                self._forget(parking)

        return parks(serve)

    def end(self) -> None:
        """End every parked call, and let none park from now on.

        They are at work again until they have told their clients.
        """
        self._is_ending = True
        for parking in tuple(self._parked):
            self.resume(parking)
            parking.is_ended = True
            assert parking.task is not None
            parking.task.cancel()

    def park(self, parking: Parking) -> None:
        """Give its place back. Raises Refusal, Ended."""
        if self._is_ending:
            raise Ended
        if not parking.has_parked:
            self._count(parking)
        self._parked.add(parking)
        parking.has_place = False
        self._places.release(parking.holder)
        self.give_turns()

    async def turn_of(self, parking: Parking) -> None:
        """Wait until the call can have a place, which it then has."""
        self.queue.setdefault(parking.holder, deque()).append(parking)
        parking.turn = asyncio.get_running_loop().create_future()
        self.give_turns()
        await parking.turn

    def resume(self, parking: Parking) -> None:
        """The call is at work, in any case: if it has no turn, it ends."""
        self._parked.discard(parking)
        waiting = self.queue.get(parking.holder)
        if waiting and parking in waiting:
            waiting.remove(parking)
            if not waiting:
                del self.queue[parking.holder]
        if not parking.has_place:
            parking.has_place = True
            self._places.overdraw(parking.holder)

    def give_turns(self) -> None:
        """Give places to those who wait for them, a caller after the other, as shares allow it."""
        while self.queue and self._places.free > 0:
            holder = next(filter(self._can_have_one, self.queue), None)
            if holder is None:
                break
            self._give_turn(holder)
        if self.queue and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(TURN_SECONDS, self._try_again)

    def _try_again(self) -> None:
        self._timer = None
        self.give_turns()

    def _give_turn(self, holder: Holder) -> None:
        waiting = self.queue.pop(holder)
        parking = waiting.popleft()
        if waiting:
            self.queue[holder] = waiting  # behind the other callers
        parking.has_place = True
        assert parking.turn is not None
        if not parking.turn.done():
            parking.turn.set_result(None)

    def _can_have_one(self, holder: Holder) -> bool:
        """Take a place for the holder, unless its share is used up or it does not read answers."""
        places, answers = self._places, self._answers
        if places.held.get(holder, 0) >= min(places.free, places.crowd.most):
            return False
        connection = self.queue[holder][0].connection
        if len(answers) > FEW_WAITING and answers.reads_too_little(holder, connection):
            return False
        return places.take(holder)

    def _count(self, parking: Parking) -> None:
        held = self._held.get(parking.holder, 0)
        if self._total >= MAXIMUM_PARKED or held >= PARKED_PER_CALLER:
            message = "Too many calls wait for something, of this caller or in total; try again."
            seconds = PARKED_RETRY_SECONDS
            raise Refusal(Reason.LIMIT_EXCEEDED, message, retry_after=seconds, limit="parked")
        self._total += 1
        self._held[parking.holder] = held + 1
        parking.has_parked = True

    def _forget(self, parking: Parking) -> None:
        if parking.has_parked:
            self._total -= 1
            self._held[parking.holder] -= 1
            if not self._held[parking.holder]:
                del self._held[parking.holder]
