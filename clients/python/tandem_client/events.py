"""What a watch gives, and how it is put together from what the service sends. Pure: no I/O.

The service sends the events of several transactions at once, or of a large one in parts. A watch
gives one transaction at a time, and only what continues what it gave before.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from tandem.agent.v1.error_reason_pb2 import ErrorReason
from tandem.event.v1.event_service_pb2 import (
    Event,
    Resource,
    WatchEventsRequest,
    WatchEventsResponse,
)
from tandem_client.errors import TandemError


@dataclass(frozen=True)
class Batch:
    """The events of one transaction that match, or none, and the bookmark after them.

    Everything that matches up to `through_sequence` has been given. To continue from here, also in
    another process, begin a watch with `after_sequence` = `through_sequence` and with `log_id`.
    Without events it only says that the log is further on.
    """

    events: tuple[Event, ...]
    through_sequence: int
    log_id: str


@dataclass(frozen=True)
class SnapshotBegins:
    """What follows are the resources as they are: forget those of before.

    `reason` is why there is a snapshot: EVENTS_COMPACTED or LOG_REWOUND, or
    ERROR_REASON_UNSPECIFIED because the request asks for one. A snapshot that is interrupted begins
    anew, so this may come again before a SnapshotComplete.
    """

    reason: "ErrorReason.ValueType"


@dataclass(frozen=True)
class SnapshotPart:
    """Some resources of the snapshot, perhaps newer than the number where the events begin.

    So apply an event only if its revision is higher than that of the resource here.
    """

    resources: tuple[Resource, ...]


@dataclass(frozen=True)
class SnapshotComplete:
    """There is nothing else than what the parts had. The bookmark is that of a Batch."""

    through_sequence: int
    log_id: str


Item: TypeAlias = Batch | SnapshotBegins | SnapshotPart | SnapshotComplete

NARROWING = ("resource_types", "types", "resource_ids", "assigned_to", "room_id")


def is_narrowed(request: WatchEventsRequest) -> bool:
    """Whether only some events of the project are asked for."""
    return any(getattr(request, name) for name in NARROWING)


class Position:
    """How far a watch is: what it has given, and what it has to ask for next."""

    def __init__(self, request: WatchEventsRequest) -> None:
        self.request = WatchEventsRequest()
        self.request.CopyFrom(request)
        # Every event is asked for and may be seen, so that no number may be missing.
        self.gapless = False
        self._through = request.after_sequence if request.HasField("after_sequence") else None
        self._log_id = request.log_id
        self._known = False
        self._reason = ErrorReason.ERROR_REASON_UNSPECIFIED
        self.resume()

    def resume(self) -> None:
        """Begin a new stream: what is not complete comes again."""
        self._pending: list[Event] = []
        self._newest = self._through
        self._sent = 0
        self._begun = False

    def restart(self, reason: "ErrorReason.ValueType") -> None:
        """Ask for a snapshot instead of for the events, which are lost."""
        self._reason, self._through, self._log_id = reason, None, ""
        self.request.ClearField("after_sequence")
        self.request.ClearField("log_id")
        self.request.snapshot = True
        self.resume()

    def take(self, response: WatchEventsResponse) -> Iterator[Item]:
        """What a response completes. Raises TandemError if it does not continue the one before."""
        if self.request.snapshot:
            yield from self._resources(response)
            return
        if self._log_id and response.log_id != self._log_id:
            raise broken(f"the log is {response.log_id}, no longer {self._log_id}")
        for event in response.events:
            yield from self._add(event, response.log_id)
        if not response.more_of_batch:
            yield from self._finish(response.through_sequence, response.log_id)

    def _resources(self, response: WatchEventsResponse) -> Iterator[Item]:
        if not self._begun:
            self._begun = True
            yield SnapshotBegins(self._reason)
        if response.resources:
            yield SnapshotPart(tuple(response.resources))
        if response.snapshot_complete:
            self.request.snapshot = False
            self._mark(response.through_sequence, response.log_id)
            self._newest = self._through
            yield SnapshotComplete(response.through_sequence, response.log_id)

    def _add(self, event: Event, log_id: str) -> list[Item]:
        if event.sequence <= self._sent:
            raise broken(f"event {event.sequence} follows event {self._sent}")
        self._sent = event.sequence
        if self._through is not None and event.sequence <= self._through:
            return []
        if self.gapless and self._newest is not None and event.sequence != self._newest + 1:
            raise broken(f"event {event.sequence} follows event {self._newest}")
        ended = bool(self._pending) and event.batch != self._pending[-1].batch
        items = self._finish(event.batch - 1, log_id) if ended else []
        self._pending.append(event)
        self._newest = event.sequence
        return items

    def _finish(self, through: int, log_id: str) -> list[Item]:
        """The transaction that ends here, if one does, or what the bookmark says by itself."""
        newest = self._newest
        if newest is not None and (through < newest or (self.gapless and through > newest)):
            raise broken(f"the bookmark {through} follows event {newest}")
        events, self._pending = tuple(self._pending), []
        new = self._mark(through, log_id)
        self._newest = through
        return [Batch(events, through, log_id)] if events or new else []

    def _mark(self, through: int, log_id: str) -> bool:
        """Resume from here from now on. Returns whether that is news."""
        new = not self._known or through != self._through
        self._known, self._through, self._log_id = True, through, log_id
        self.request.after_sequence, self.request.log_id = through, log_id
        return new

    @property
    def through(self) -> int | None:
        """The bookmark, if there is one already."""
        return self._through


def broken(what: str) -> TandemError:
    """What a watch raises if the service breaks its promises and goes on doing so."""
    return TandemError(grpc.StatusCode.DATA_LOSS, f"The watch is broken: {what}.")
