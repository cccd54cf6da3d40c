"""Holds what watchers were sent against the log, word by word of what a watch promises.

The words are those of etcd's watch; docs/events.md says what each means here. What is checked is
what went over the wire, over all streams of a watcher, not what the client made of it.
"""

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any, NamedTuple
from uuid import UUID

from tandem.event.v1.event_service_pb2 import Event, EventType, WatchEventsResponse
from tests.events.recording import Recording, Stream

# What a stream may end with, and the next one goes on; for what is lost, that has to be a snapshot.
RESUMABLE = ("", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "RESOURCE_EXHAUSTED")
LOST = "OUT_OF_RANGE"


class Violation(NamedTuple):
    """The word that a watcher's streams violate, and how."""

    word: str
    what: str


class Logged(NamedTuple):
    """An event as the database has it."""

    sequence: int
    batch: int
    type: str
    resource_id: str
    revision: int
    assigned_to: str | None = None


async def logged(connection: Any, project_id: str, table: str = "events") -> list[Logged]:
    """The log of a project."""
    columns = "sequence, batch, type, resource_id::text, revision, after->>'assigned_to'"
    statement = f"SELECT {columns} FROM {table} WHERE project_id = $1 ORDER BY sequence"  # noqa: S608
    rows = await connection.fetch(statement, UUID(project_id))
    return [Logged(*row) for row in rows]


def violations(
    recording: Recording, log: Sequence[Logged], *, to_the_end: bool = False
) -> list[Violation]:
    """Every violation, in the order of the words.

    `log` is all of it. `to_the_end`: the watcher was there when the last event was long written.
    """
    walk = _Walk(recording, log)
    checks = (
        ("ordered", ordered(recording)),
        ("unique", unique(recording)),
        ("reliable", reliable(walk)),
        ("atomic", atomic(walk)),
        ("resumable", resumable(walk)),
        ("bookmarkable", bookmarkable(walk, to_the_end)),
    )
    return [Violation(word, what) for word, found in checks for what in found]


def ordered(recording: Recording) -> Iterator[str]:
    """The numbers of a stream rise, and a batch begins at its number."""
    for stream in recording.streams:
        newest = 0
        for event in _events(stream):
            if event.sequence < newest:
                yield f"event {event.sequence} comes after event {newest}"
            if not 0 < event.batch <= event.sequence:
                yield f"event {event.sequence} is said to be of batch {event.batch}"
            newest = max(newest, event.sequence)


def unique(recording: Recording) -> Iterator[str]:
    """No event comes twice in a stream, nor again after a bookmark that has it."""
    through = 0
    for stream in recording.streams:
        if stream.request.snapshot:
            through = 0
        seen: set[int] = set()
        for response in stream.responses:
            for event in response.events:
                if event.sequence in seen:
                    yield f"event {event.sequence} comes twice"
                elif event.sequence <= through:
                    yield f"event {event.sequence} comes again after the bookmark {through}"
                seen.add(event.sequence)
            through = max(through, response.through_sequence)


class _Step(NamedTuple):
    """A response, and how far the watcher was before: the bookmark, and the newest event."""

    response: WatchEventsResponse
    through: int | None
    newest: int | None
    in_snapshot: bool


class _Walk:
    """The responses of a recording, step by step, and the log that they should tell of."""

    def __init__(self, recording: Recording, log: Sequence[Logged]) -> None:
        self.recording = recording
        self.log = {event.sequence: event for event in log}
        self.matching = [event.sequence for event in log if recording.matches(event)]
        self.last = max(self.log, default=0)

    def streams(self) -> Iterator[tuple[Stream, list[_Step]]]:
        """Each stream with its steps."""
        for stream in self.recording.streams:
            yield stream, list(self._steps(stream))

    def _steps(self, stream: Stream) -> Iterator[_Step]:
        asked, in_snapshot = stream.request, stream.request.snapshot
        through = asked.after_sequence if asked.HasField("after_sequence") else None
        newest = through
        for response in stream.responses:
            in_snapshot = in_snapshot and not response.snapshot_complete
            yield _Step(response, through, newest, in_snapshot)
            if not in_snapshot:
                through = response.through_sequence
                newest = max([newest or 0, through, *(e.sequence for e in response.events)])

    def expected(self, after: int, through: int) -> list[int]:
        """The numbers that have to be between."""
        return [sequence for sequence in self.matching if after < sequence <= through]


def reliable(walk: _Walk) -> Iterator[str]:
    """Between two events that came there is none that did not, and each is as the log has it."""
    for _, steps in walk.streams():
        for step in steps:
            newest = step.newest
            for event in step.response.events:
                yield from _as_logged(event, walk)
                if newest is not None:
                    missing = walk.expected(newest, event.sequence - 1)
                    yield from (f"event {sequence} is missing" for sequence in missing)
                newest = event.sequence


def _as_logged(event: Event, walk: _Walk) -> Iterator[str]:
    logged = walk.log.get(event.sequence)
    if not logged:
        yield f"event {event.sequence} is not in the log"
    elif logged[:5] != described(event):
        yield f"event {event.sequence} is {described(event)}, but in the log {logged[:5]}"
    elif event.sequence not in walk.matching:
        yield f"event {event.sequence} does not match"


def described(event: Event) -> tuple[int, int, str, str, int]:
    """An event as Logged begins."""
    words = EventType.Name(event.type).removeprefix("EVENT_TYPE_").lower()
    kind, _, what = words.partition("_")
    return event.sequence, event.batch, f"{kind}.{what}", event.resource_id, event.revision


def atomic(walk: _Walk) -> Iterator[str]:
    """No bookmark is in the middle of a transaction, and what is cut says so."""
    for _, steps in walk.streams():
        for step in steps:
            through = step.response.through_sequence
            following = walk.log.get(through + 1)
            if through and following and following.batch <= through:
                yield f"the bookmark {through} splits the batch {following.batch}"
            if step.response.more_of_batch and not step.response.events:
                yield f"a batch after {through} goes on without events"


def resumable(walk: _Walk) -> Iterator[str]:
    """Each stream is accepted, begins after the bookmark of the one before, and is of one log."""
    yield from _ends(walk.recording.streams)
    through, log_id = None, ""
    for stream, steps in walk.streams():
        asked = stream.request
        if asked.snapshot:
            through, log_id = None, ""
        if through is not None and asked.after_sequence != through:
            yield f"a stream begins after {asked.after_sequence}, not after {through}"
        for step in steps:
            response = step.response
            if log_id and response.log_id != log_id:
                yield f"the log {log_id} became {response.log_id}"
            log_id = response.log_id
            if not step.in_snapshot:
                through = response.through_sequence


def _ends(streams: Sequence[Stream]) -> Iterator[str]:
    for stream, following in zip_longest(streams, streams[1:]):
        is_made_up_for = stream.end == LOST and following and following.request.snapshot
        if stream.end not in RESUMABLE and not is_made_up_for:
            yield f"a stream ended with {stream.end}"


def bookmarkable(walk: _Walk, to_the_end: bool) -> Iterator[str]:
    """Bookmarks rise, each with or after its events; in the end there is one of the whole log."""
    reached = 0
    for _, steps in walk.streams():
        for step in steps:
            yield from _bookmark(step, walk)
            reached = step.response.through_sequence
    if to_the_end and reached < walk.last:
        yield f"the last bookmark is {reached}, but the log has {walk.last}"


def _bookmark(step: _Step, walk: _Walk) -> Iterator[str]:
    through = step.response.through_sequence
    if through > walk.last:
        yield f"the bookmark {through} is beyond the log, which has {walk.last}"
    if step.in_snapshot and through:
        yield f"there is a bookmark, {through}, before the snapshot is complete"
    if step.in_snapshot or step.through is None:
        return
    if through < step.through:
        yield f"the bookmark {through} follows {step.through}"
    newest = max([step.newest or 0, *(event.sequence for event in step.response.events)])
    for sequence in walk.expected(newest, through):
        yield f"the bookmark {through} comes before event {sequence}"


def _events(stream: Stream) -> Iterator[Event]:
    for response in stream.responses:
        yield from response.events
