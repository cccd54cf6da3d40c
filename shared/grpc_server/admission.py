"""Which calls a process takes, and which it refuses at once or ends because others need the room.

A call that works on the database holds a place. A call that waits for its client, which has to
send the message or to take the answer, holds none, but there are only so many of those, and not for
long. All is shared between callers: nobody's flood takes what others need.
"""

import asyncio
import gc
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

from shared.errors import Reason, Refusal
from shared.grpc_server.accepting import Crowd

Task: TypeAlias = "asyncio.Task[Any]"
# Whose share a call takes: the id of a user or agent, or without one a connection or a host.
Holder: TypeAlias = UUID | str

MIB = 1024 * 1024
# Calls at work for each connection to the database: so many at most wait for one, which takes well
# below a second. One caller alone gets half of them.
CALLS_PER_CONNECTION = 16
# While more calls come than can even be taken, one caller gets so many: they keep half of the
# connections at work, and the others are refused at once.
CALLS_PER_CONNECTION_CROWDED = 0.5
RETRY_SECONDS = 1.0
# Answers that their clients have not taken yet: beyond this, callers who have some of them are
# refused; calls under way come on top. The sum is looked at only if more than a few calls wait.
UNSENT_BYTES = 64 * MIB
UNSENT_BYTES_OF_CONNECTION = 32 * MIB
FEW_WAITING = 16
# Calls that wait for their clients. Those without a token have a room of their own.
MAXIMUM_WAITING = 1000
MAXIMUM_WAITING_STRANGERS = 300
MESSAGE_SECONDS = 10.0
ANSWER_SECONDS = 60.0
# Streams need no authentication and stay open.
MAXIMUM_STREAMS = 1000
STREAMS_PER_CONNECTION = 10
STREAM_RETRY_SECONDS = 10.0
SWEEP_SECONDS = 1.0
# The coroutine of grpc.aio that a call belongs to.
CALL_OWNER = "_schedule_rpc_coro"


class Shares:
    """Something limited, of which a holder takes more only while it holds less than is free.

    One holder alone gets half, each of n gets 1/(n+1), and there is always some left for the next.
    """

    def __init__(self, total: int, crowd: Crowd | None = None) -> None:
        """While the `crowd` lasts, a holder has no more than that lets it."""
        self.total = self.free = total
        self.crowd = crowd or Crowd(total)
        self.held: dict[Holder, int] = {}

    @staticmethod
    def refusal() -> Refusal:
        """That of a holder whose share is used up."""
        return too_many_calls()

    def take(self, holder: Holder) -> bool:
        """Let the holder have one more. Returns False if its share is used up."""
        held = self.held.get(holder, 0)
        if held >= self.free:
            return False
        self.free -= 1
        self.held[holder] = held + 1
        return True

    def overdraw(self, holder: Holder) -> None:
        """Let the holder have one more, be its share used up or not."""
        self.free -= 1
        self.held[holder] = self.held.get(holder, 0) + 1

    def release(self, holder: Holder) -> None:
        """One that the holder had is free again."""
        self.free += 1
        self.held[holder] -= 1
        if not self.held[holder]:
            del self.held[holder]


class Wait(NamedTuple):
    """A call of `holder` that waits for its client until `deadline`, by time.monotonic.

    `unsent` is the size of the answer that its client has to take; None before there is one. It
    is on a `connection` ("ipv4:host:port").
    """

    holder: Holder
    deadline: float
    unsent: int | None
    connection: str = ""


class Waiting(dict[Task, Wait]):
    """Calls that wait for their clients, in the order in which they began to.

    The interceptor adds and removes them as in any dict, which costs a call next to nothing; the
    methods are for what is rare.
    """

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self._timer: asyncio.TimerHandle | None = None

    def make_room(self) -> None:
        """Let those who have the most calls give way with the first half of these.

        One call alone would do, but then each of a flood would have to be compared with all.
        """
        held = Counter(wait.holder for wait in self.values())
        most = max(held.values())
        left = {holder: most // 2 for holder, calls in held.items() if calls == most}
        if most == 1:
            left = {next(iter(left)): 1}
        ended = []
        for task, wait in self.items():
            if left.get(wait.holder):
                left[wait.holder] -= 1
                ended.append(task)
        self._end(ended)

    def watch(self) -> None:
        """End calls whose clients let them wait for too long, until `end_watch`.

        One timer for all: a timer for each call would cost more than the rest of this file.
        """
        now = time.monotonic()
        self._end([task for task, wait in self.items() if wait.deadline < now])
        self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self.watch)

    def end_watch(self) -> None:
        """Undo `watch`."""
        if self._timer:
            self._timer.cancel()

    def reads_too_little(self, holder: Holder, connection: str) -> bool:
        """Whether so much waits for the holder's clients that it is to take that first.

        What waits for others counts too, so that all together stay below UNSENT_BYTES, and on each
        connection below UNSENT_BYTES_OF_CONNECTION; but what a holder has to take is not demanded
        of others.
        """
        unsent = [wait for wait in self.values() if wait.unsent]
        there = [wait for wait in unsent if wait.connection == connection]
        return _has_much(holder, unsent, UNSENT_BYTES) or _has_much(
            holder, there, UNSENT_BYTES_OF_CONNECTION
        )

    def _end(self, tasks: list[Task]) -> None:
        answered = {task for task in tasks if self[task].unsent is not None}
        for task in tasks:
            del self[task]
            task.remove_done_callback(self.pop)
            task.cancel()
        if answered:
            _cut_off(answered)


class Streams:
    """The open streams of a server that need no authentication."""

    def __init__(self) -> None:
        self._of_hosts = Shares(MAXIMUM_STREAMS)
        self._of_connections: Counter[str] = Counter()
        self._tasks: set[Task] = set()
        self.ending = False

    def __len__(self) -> int:
        return len(self._tasks)

    def end(self) -> None:
        """End every stream: a stop cannot wait for them, because they have no end."""
        self.ending = True
        for task in tuple(self._tasks):
            task.cancel()

    @contextmanager
    def open(self, task: Task, connection: str) -> Iterator[None]:
        """Let a task serve a stream on a connection ("ipv4:host:port").

        Raises Refusal: LIMIT_EXCEEDED.
        """
        full = self._of_connections[connection] >= STREAMS_PER_CONNECTION
        if full or not self._of_hosts.take(host(connection)):
            raise too_many_streams("on this connection")
        self._of_connections[connection] += 1
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._of_connections[connection] -= 1
            self._of_connections += Counter()  # drops what is 0
            self._of_hosts.release(host(connection))


def _has_much(holder: Holder, unsent: list[Wait], limit: int) -> bool:
    own = sum(wait.unsent or 0 for wait in unsent if wait.holder == holder)
    return own > 0 and own >= limit - sum(wait.unsent or 0 for wait in unsent)


def _cut_off(tasks: set[Task]) -> None:
    """End calls whose answers are on their way, with what gRPC holds of them.

    grpc.aio offers nothing for that: to cancel the task that runs the handler leaves the answer in
    memory until the client goes. The task that started it, and listens for the client, owns the
    call and takes it along, but only it knows of the other: so it is searched for.
    """
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        if getattr(coroutine, "__name__", "") == CALL_OWNER:
            for scope in gc.get_referents(coroutine):
                if not tasks.isdisjoint(_tasks(scope)):
                    task.cancel()


def _tasks(scope: object) -> list[Task]:
    return [found for found in gc.get_referents(scope) if isinstance(found, asyncio.Task)]


def host(peer: str) -> str:
    """What a connection ("ipv4:127.0.0.1:50000") has in common with others of its host."""
    return peer.rpartition(":")[0]


def too_many_calls() -> Refusal:
    """The caller's share of the places is used up."""
    message = "Too many calls are under way, of this caller or in total; try again."
    return _too_much("calls", message, RETRY_SECONDS)


def too_many_streams(where: str) -> Refusal:
    """All that are allowed there, or in total, are open."""
    message = f"Too many streams are open, {where} or in total; close some."
    return _too_much("streams", message, STREAM_RETRY_SECONDS)


def answers_not_taken() -> Refusal:
    """The caller's clients have to read what they asked for before."""
    message = "The caller has not taken the answers to its other calls; take those first."
    return _too_much("answers", message, RETRY_SECONDS)


def message_missing() -> Refusal:
    """A call gave way, or was ended, while it waited for its message."""
    message = (
        f"The message of the call did not come within {MESSAGE_SECONDS:.0f} s, or others needed "
        "the room; try again."
    )
    return _too_much("message", message, RETRY_SECONDS)


def _too_much(limit: str, message: str, seconds: float) -> Refusal:
    return Refusal(Reason.LIMIT_EXCEEDED, message, retry_after=seconds, limit=limit)
