"""The open streams of authenticated callers: how many there are, and how they end.

They wait for news, and are no calls at work: they have limits of their own. What a stream has to
end by is told to it, so that it can say how far its client has got; one that does not listen,
because its client reads nothing, is cut.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from random import uniform

from shared.errors import Refusal
from shared.grpc_server.admission import Holder, Task, too_many_streams

MAXIMUM_WATCHES = 1000
WATCHES_PER_CALLER = 20
# They are to be opened again after so long, or a little less, so that not all are at once. Their
# connection, which would end them without a last word, lasts longer; see `server.OPTIONS`.
AGE_SECONDS = 1800.0
AGE_SPREAD = 0.1
# For the last message of a stream, until it is cut.
LAST_WORD_SECONDS = 2.0
UNLIMITED = 1 << 30


def age() -> float:
    """The seconds after which a stream is to be opened again."""
    return AGE_SECONDS * uniform(1 - AGE_SPREAD, 1)  # noqa: S311


class EndOfStream(Exception):  # noqa: N818
    """A stream ends, which its client is to open again; the text is for people."""


class Watch:
    """An open stream."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._listener: Callable[[], None] = self._cut_without_a_word
        self.is_ending = False
        """Whether it is to end as soon as it can."""
        self.refusal: Refusal | None = None
        """Why it was cut, if it was."""
        self.is_cut = False

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` when the stream is to end; it raises EndOfStream, then or soon."""
        self._listener = listener

    def end(self) -> None:
        """Let the stream end as soon as it can."""
        self.is_ending = True
        self._listener()

    def cut(self, refusal: Refusal | None = None) -> None:
        """End the stream at once, even if its client reads nothing: refused, or to come again."""
        if not self.is_cut:
            self.is_cut, self.refusal = True, refusal
            self._task.cancel()

    def _cut_without_a_word(self) -> None:
        self.cut()


current_watch: ContextVar[Watch] = ContextVar("current_watch")


class Watches:
    """All of them, of one server. To `_admit` of the interceptor it looks like Shares."""

    def __init__(self) -> None:
        self.held: dict[Holder, int] = {}
        self.most = WATCHES_PER_CALLER
        self._open: set[Watch] = set()
        self._all_gone = asyncio.Event()

    @staticmethod
    def refusal() -> Refusal:
        """That of a caller who can have no more."""
        return too_many_streams("of this caller")

    @property
    def crowd(self) -> "Watches":
        """Who says how many one caller can have, which here never changes."""
        return self

    @property
    def free(self) -> int:
        """How many more one caller could have if it were not limited: any number, or none."""
        return UNLIMITED if len(self._open) < MAXIMUM_WATCHES else 0

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def open(self, task: Task, holder: Holder) -> Iterator[Watch]:
        """Let a task serve a stream of a caller.

        Raises Refusal: LIMIT_EXCEEDED.
        """
        held = self.held.get(holder, 0)
        if held >= min(self.most, self.free):
            raise self.refusal()
        self.held[holder] = held + 1
        watch = Watch(task)
        self._open.add(watch)
        current_watch.set(watch)
        try:
            yield watch
        finally:
            self._open.remove(watch)
            self.held[holder] -= 1
            if not self.held[holder]:
                del self.held[holder]
            if not self._open:
                self._all_gone.set()

    async def end(self) -> None:
        """End every stream, those that are not heard of within LAST_WORD_SECONDS by force."""
        for watch in tuple(self._open):
            watch.end()
        for _ in range(2):
            if self._open:
                self._all_gone.clear()
                try:
                    await asyncio.wait_for(self._all_gone.wait(), LAST_WORD_SECONDS)
                except TimeoutError:
                    for watch in tuple(self._open):
                        watch.cut()
