"""A watch, from its request to its end: who may, where it begins, a snapshot, events, bookmarks."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import monotonic
from uuid import UUID

from shared.auth.caller import caller, current_call
from shared.auth.verifier import Verifier
from shared.database.transaction import Database
from shared.errors import Refusal
from shared.events.vocabulary import NIL
from shared.grpc_server import watches
from shared.grpc_server.watches import EndOfStream, current_watch
from shared.metrics.instruments import Sample
from shared.resources.validation import Parsed, as_uuid
from task_service.events import messages, responses, snapshot, standing
from task_service.events.assembly import Piece, Position
from task_service.events.guard import Guard, Watcher
from task_service.events.hub import RETRIED, RETRY_SECONDS, RING_EVENTS, Hub, Hubs, View
from task_service.events.log_reader import READS, LogReader
from task_service.events.pulse import Pulse
from task_service.events.selection import Selection, Start
from task_service.events.standing import Standing
from task_service.events.visible import require_position

BOOKMARK_SECONDS = 5.0
# A bookmark is sent if it is so much ahead of what the client knows.
BOOKMARK_EVENTS = 1000
COME_BACK = "The stream ends because of its age; go on after the last through_sequence."
SHUTTING_DOWN = "The server is shutting down; go on after the last through_sequence."


class Watching:
    """The watches of a process."""

    def __init__(self, database: Database, pulse: Pulse, verifier: Verifier) -> None:
        self._database = database
        self._guard = Guard(database, verifier)
        self._turn = asyncio.Semaphore(READS)
        reader = LogReader(database, messages.read, responses.serialized)
        self._hubs = Hubs(reader, pulse, self._guard.notice, self._guard.__len__)

    async def watch(
        self, project_id: str, asked: Parsed[tuple[Start, Selection]]
    ) -> AsyncIterator[bytes]:
        """The responses, serialized, until the stream ends; it never returns.

        Raises EndOfStream, Refusal: INVALID_FIELD, EVENTS_COMPACTED, LOG_REWOUND, INTERNAL,
        DATABASE_UNAVAILABLE, and those of Guard.
        """
        call, project = current_call.get(), _project(project_id, asked)
        known = await self._guard.admit(caller(), project)
        start, selection = asked.value
        selection = selection.of(known.sight)
        after = _after(start, known)
        watcher = Watcher(call, project, current_watch.get(), known)
        watcher.watch.listen(watcher.wake)
        oldest = max(after, known.last - RING_EVENTS // 2, known.first - 1)
        with (
            self._guard.watching(watcher),
            self._hubs.joined(project, known.log_id, oldest) as hub,
            hub.watched(selection) as view,
        ):
            if start.snapshot:
                async for response in self._snapshot(watcher, selection, after):
                    yield response
            stream = _Stream(hub, view, watcher, self._guard, Position(after, after))
            async for response in stream.responses():
                yield response

    async def samples(self) -> list[Sample]:
        """The logs that are followed."""
        return self._hubs.samples()

    async def close(self) -> None:
        """Check and read no more, once all watches have ended."""
        await self._guard.close()

    async def _snapshot(
        self, watcher: Watcher, selection: Selection, last: int
    ) -> AsyncIterator[bytes]:
        log_id, keys = watcher.standing.log_id, watcher.standing.keys
        project_id, turn = watcher.project_id, self._turn
        found = snapshot.pages(self._database, project_id, selection, turn, keys=keys)
        async for kind, rows in found:
            async for response in responses.snapshot(log_id, kind, rows):
                await self._guard.fresh(watcher)
                if watcher.watch.is_ending:
                    raise EndOfStream(SHUTTING_DOWN)
                yield response
        yield responses.snapshot_complete(log_id, last)


@dataclass
class _Stream:
    """The events of one watch, and its bookmarks."""

    hub: Hub
    view: View
    watcher: Watcher
    guard: Guard
    at: Position
    said: int = -1
    said_at: float = field(default_factory=monotonic)
    ends_at: float = field(default_factory=lambda: monotonic() + watches.age())

    async def responses(self) -> AsyncIterator[bytes]:
        """Events as they come, and bookmarks, until the end."""
        yield self._bookmark()
        while True:
            piece = await self._next()
            if piece is not None and piece.items:
                await self.guard.fresh(self.watcher)
                self.at = piece.position
                yield piece.items + self._bookmark()
            elif piece is not None:
                is_owed = self.at.is_within and not piece.position.is_within
                self.at = piece.position
                if is_owed:
                    yield self._bookmark()
            if self._is_ending():
                yield self._bookmark()
                self._end()
            if self._is_bookmark_due():
                await self.guard.fresh(self.watcher)
                yield self._bookmark()
            elif piece is None:  # and nothing was awaited since: no wake was missed
                self._require_more()
                await self._pause()

    async def _next(self) -> Piece | None:
        """What is to be sent; None if that is not known, in which case nothing was awaited since.

        An outage gives an empty piece.
        """
        try:
            return await self.hub.next(self.view, self.at)
        except Refusal as refusal:
            if refusal.reason not in RETRIED:
                raise
        await asyncio.sleep(RETRY_SECONDS)  # the guard ends the watch if the outage lasts
        return Piece(b"", self.at)

    def _bookmark(self) -> bytes:
        """What says how far the client has got, with events or without."""
        self.said, self.said_at = self.at.through, monotonic()
        return responses.tail(self.hub.log_id, self.at.through, self.at.is_within)

    def _is_bookmark_due(self) -> bool:
        late = monotonic() - self.said_at >= BOOKMARK_SECONDS
        return late or self.at.through - self.said >= BOOKMARK_EVENTS

    def _is_ending(self) -> bool:
        return self.watcher.watch.is_ending or monotonic() >= self.ends_at

    def _end(self) -> None:
        raise EndOfStream(SHUTTING_DOWN if self.watcher.watch.is_ending else COME_BACK)

    def _require_more(self) -> None:
        """Raise PROJECT_NOT_FOUND if the log of a deleted project was sent to its end."""
        now = self.watcher.standing
        if now.is_gone and self.at.sent >= now.last:
            raise standing.gone(self.watcher.project_id)

    async def _pause(self) -> None:
        """Until something happens, or something is due."""
        due = min(self.said_at + BOOKMARK_SECONDS, self.ends_at) - monotonic()
        if due > 0 and not self.watcher.watch.is_ending:
            await self.watcher.pause(self.view.waiting, due)


def _project(project_id: str, asked: Parsed[tuple[Start, Selection]]) -> UUID:
    known = as_uuid(project_id)
    if known is None:
        asked.value  # noqa: B018
        raise standing.gone(NIL)
    return known


def _after(start: Start, known: Standing) -> int:
    """The number behind which a watch begins. Raises Refusal: EVENTS_COMPACTED, LOG_REWOUND."""
    after = known.last if start.after is None else start.after
    require_position(known._asdict(), after, start.log_id)
    return max(after, known.first - 1)
