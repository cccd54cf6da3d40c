"""One reader of each log that is watched, for all in this process who watch it.

It keeps the latest events in a ring, serialized. A watch holds a number, not a queue: if it is so
slow that the ring has gone past it, it reads pages of its own until it is back.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context
from operator import attrgetter
from uuid import UUID

import structlog

from shared.errors import Reason, Refusal
from shared.metrics.catalog import LOG_LAG, LOGS_WATCHED
from shared.metrics.instruments import Sample
from task_service.events.assembly import (
    Entry,
    Piece,
    Position,
    assemble,
    assemble_within,
)
from task_service.events.log_reader import LogReader, Page
from task_service.events.pulse import Pulse, release
from task_service.events.selection import Selection

log = structlog.get_logger()

RING_EVENTS = 1024
RING_BYTES = 4 * 1024 * 1024
# After so much, watches to which nothing of it matches are woken too: the ring is to pass none.
SCAN_EVENTS = RING_EVENTS // 4
SCAN_BYTES = RING_BYTES // 4
# So long for each watch of the process passes between two wakes: to send to one takes a part of it.
# What is committed meanwhile is sent together, and other calls have the rest of the time.
PACE_SECONDS = 0.0001
WOKEN_AT_A_TIME = 25
RETRY_SECONDS = 0.5
RETRIED = (Reason.DATABASE_UNAVAILABLE, Reason.CONFLICT)
NEWS_SECONDS = 60.0
# After it, watches end.
LAST_EVENT = "project.deleted"
sequence_of = attrgetter("sequence")


class View:
    """What of a ring matches a selection, for all watches that have this selection."""

    def __init__(self, selection: Selection, ring: "Ring") -> None:
        self.selection = selection
        self.watches = 0
        self.waiting: set[asyncio.Future[None]] = set()
        self.has_news = False
        self._matching = deque(e for e in ring.entries if selection.matches(e.facts))
        self._ready: dict[Position, Piece] = {}

    def take(self, entry: Entry) -> None:
        """One more event is in the ring."""
        if self.selection.matches(entry.facts):
            self._matching.append(entry)
            self.has_news = True

    def forget(self, before: int) -> None:
        """The ring has no event any more below this number."""
        while self._matching and self._matching[0].sequence < before:
            self._matching.popleft()

    def changed(self) -> None:
        """What was made of the ring is out of date."""
        self._ready.clear()

    def piece(self, at: Position, whole: int) -> Piece:
        """The next response; made once for all watches that are at the same position."""
        piece = self._ready.get(at)
        if piece is None:
            matching = list(self._matching)
            start = bisect_right(matching, at.sent, key=sequence_of)
            end = bisect_right(matching, whole, key=sequence_of)
            piece = self._ready[at] = assemble(matching[start:end], whole, at)
        return piece


class Ring:
    """The latest events of a log, up to `last`; `whole` is the latest that ends a transaction."""

    def __init__(self, last: int) -> None:
        self.entries: deque[Entry] = deque()
        self.last = self.whole = last
        self._bytes = 0

    @property
    def first(self) -> int:
        """The number of the oldest event in the ring, or else of the next one."""
        return self.entries[0].sequence if self.entries else self.last + 1

    def take(self, entry: Entry) -> None:
        """Append an event, and drop old ones."""
        self.entries.append(entry)
        self.last = entry.sequence
        self._bytes += len(entry.item)
        while len(self.entries) > RING_EVENTS or self._bytes > RING_BYTES:
            self._bytes -= len(self.entries.popleft().item)


class Hub:
    """The watches of one log, what they read together, and how they are woken."""

    def __init__(self, project_id: UUID, log_id: UUID, last: int, hubs: "Hubs") -> None:
        self.project_id, self.log_id = project_id, log_id
        self.ring = Ring(last)
        self.failure: Refusal | None = None
        """Why nothing more can be read here, if that is so."""
        self._views: dict[Selection, View] = {}
        self._pages: dict[int, asyncio.Task[Page]] = {}
        self._hubs = hubs
        self._unseen_events = self._unseen_bytes = 0
        # Not the call's context: it is no part of the call that begins it.
        self._task = asyncio.create_task(self._run(), context=Context())

    @contextmanager
    def watched(self, selection: Selection) -> Iterator[View]:
        """What matches a selection."""
        view = self._views.get(selection)
        if view is None:
            view = self._views[selection] = View(selection, self.ring)
        view.watches += 1
        try:
            yield view
        finally:
            view.watches -= 1
            if not view.watches:
                del self._views[selection]

    @property
    def is_watched(self) -> bool:
        """Whether any watch is left."""
        return bool(self._views)

    async def next(self, view: View, at: Position) -> Piece | None:
        """What comes behind a position; None if that is not known yet.

        Raises Refusal: EVENTS_COMPACTED, LOG_REWOUND, PROJECT_NOT_FOUND, INTERNAL, and those of
        Database.read.
        """
        if self.failure:
            raise self.failure
        if at.sent + 1 >= self.ring.first:
            return view.piece(at, self.ring.whole) if self.ring.whole > at.sent else None
        page = await self._page(at.sent)
        if page.read == at.sent:
            return None
        matching = [e for e in page.entries if view.selection.matches(e.facts)]
        if page.whole > at.sent:
            matching = [e for e in matching if e.sequence <= page.whole]
            return assemble(matching, page.whole, at)
        return assemble_within(matching, page.read, at)

    def close(self) -> None:
        """Read no more."""
        self._task.cancel()

    async def _page(self, after: int) -> Page:
        """A page of the log; whoever asks for it while it is read gets the same one."""
        task = self._pages.get(after)
        if task is None:
            reading = self._hubs.reader.page(self.project_id, self.log_id, after)
            task = self._pages[after] = asyncio.create_task(reading)
            task.add_done_callback(lambda done: self._read(after, done))
        return await asyncio.shield(task)

    def _read(self, after: int, task: "asyncio.Task[Page]") -> None:
        del self._pages[after]
        if not task.cancelled():
            task.exception()  # retrieved, also if no watch waits for it any more

    async def _run(self) -> None:
        with self._hubs.pulse.subscribed(self.project_id) as news:
            while self.failure is None:
                began = asyncio.get_running_loop().time()
                if await self._advance():
                    await self._wake()
                    passed = asyncio.get_running_loop().time() - began
                    await asyncio.sleep(max(0, self._hubs.pace() - passed))
                else:
                    await news.wait(self.ring.last, NEWS_SECONDS)
            self._unseen_events = SCAN_EVENTS
            await self._wake()

    async def _advance(self) -> bool:
        """Read what follows. Returns False if nothing does."""
        try:
            page = await self._hubs.reader.page(self.project_id, self.log_id, self.ring.last)
        except Refusal as refusal:
            await self._refused(refusal)
            return False
        except Exception as error:
            log.error("fault", project_id=str(self.project_id), exc_info=error)
            message = "The log cannot be read; the log of the service says why."
            self.failure = Refusal(Reason.INTERNAL, message)
            return False
        self._take(page)
        return bool(page.entries)

    async def _refused(self, refusal: Refusal) -> None:
        if refusal.reason in RETRIED:
            await asyncio.sleep(RETRY_SECONDS)  # the guard ends watches if that lasts
        elif refusal.reason is Reason.EVENTS_COMPACTED:
            # Whoever has not got so far reads pages, and is refused them.
            self.ring = Ring(int(refusal.metadata["first_sequence"]) - 1)
            for view in self._views.values():
                view.forget(self.ring.first)
                view.changed()
        else:
            self.failure = refusal

    def _take(self, page: Page) -> None:
        ring, after = self.ring, self.ring.last
        for entry in page.entries:
            ring.take(entry)
            self._unseen_events += 1
            self._unseen_bytes += len(entry.item)
            self._hubs.notice(entry)
            if entry.facts.type == LAST_EVENT:
                self._unseen_events = SCAN_EVENTS
            for view in self._views.values():
                view.take(entry)
        if page.whole > after:
            ring.whole = page.whole
        elif page.entries and page.entries[0].batch == after + 1:
            ring.whole = after
        for view in self._views.values():
            view.forget(ring.first)
            view.changed()

    async def _wake(self) -> None:
        """Wake the watches that have to send something, some at a time."""
        is_scan = self._unseen_events >= SCAN_EVENTS or self._unseen_bytes >= SCAN_BYTES
        if is_scan:
            self._unseen_events = self._unseen_bytes = 0
        woken = 0
        for view in tuple(self._views.values()):
            if view.has_news or is_scan:
                view.has_news = False
                for waiter in tuple(view.waiting):
                    release(waiter)
                    woken += 1
                    if woken % WOKEN_AT_A_TIME == 0:
                        await asyncio.sleep(0)


class Hubs:
    """The hubs of a process."""

    def __init__(
        self,
        reader: LogReader,
        pulse: Pulse,
        notice: Callable[[Entry], None],
        watches: Callable[[], int],
    ) -> None:
        """`notice` is called with each event of a log that is watched; `watches` counts these."""
        self.reader, self.pulse, self.notice = reader, pulse, notice
        self._watches = watches
        self._hubs: dict[UUID, Hub] = {}

    def pace(self) -> float:
        """The seconds between two wakes."""
        return PACE_SECONDS * self._watches()

    def samples(self) -> list[Sample]:
        """How many there are, and how far the last of them is behind."""
        lags = [self.pulse.latest(each.project_id) - each.ring.last for each in self._hubs.values()]
        return [Sample(LOGS_WATCHED, len(lags)), Sample(LOG_LAG, max([0, *lags]))]

    @contextmanager
    def joined(self, project_id: UUID, log_id: UUID, last: int) -> Iterator[Hub]:
        """The hub of a log, whose latest event has this number."""
        hub = self._hubs.get(project_id)
        if hub is None or hub.failure or hub.log_id != log_id:
            hub = self._hubs[project_id] = Hub(project_id, log_id, last, self)
        try:
            yield hub
        finally:
            if not hub.is_watched:
                hub.close()
                if self._hubs.get(project_id) is hub:
                    del self._hubs[project_id]
