"""The validator finds each kind of violation, and nothing in a recording that is good."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from tandem.event.v1.event_service_pb2 import (
    EVENT_TYPE_TASK_UPDATED,
    Event,
    Resource,
    WatchEventsRequest,
    WatchEventsResponse,
)
from tests.events.recording import Recording, Stream
from tests.events.validator import Logged, violations

LOG_ID, TASK, OTHER_TASK = str(uuid4()), str(uuid4()), str(uuid4())
# Batches 1, 2 to 4, 5, 6 to 8, 9; events 5 and 9 are of another task.
BATCHES = (1, 2, 2, 2, 5, 6, 6, 6, 9)
LOG = [
    Logged(number, batch, "task.updated", OTHER_TASK if number in (5, 9) else TASK, number)
    for number, batch in enumerate(BATCHES, 1)
]


def event(sequence: int) -> Event:
    logged = LOG[sequence - 1]
    return Event(
        sequence=sequence,
        batch=logged.batch,
        type=EVENT_TYPE_TASK_UPDATED,
        resource_id=logged.resource_id,
        revision=logged.revision,
    )


def response(*sequences: int, through: int, **fields: Any) -> WatchEventsResponse:
    events = [event(sequence) for sequence in sequences]
    return WatchEventsResponse(
        events=events, through_sequence=through, **{"log_id": LOG_ID, **fields}
    )


def part() -> WatchEventsResponse:
    return WatchEventsResponse(resources=[Resource()], log_id=LOG_ID)


def good() -> Recording:
    """Two streams: the first is cut in the middle of batch 6, the second begins with it again."""
    first = Stream(WatchEventsRequest(after_sequence=0), end="UNAVAILABLE")
    first.responses += [
        response(through=0),
        response(1, 2, 3, 4, through=4),
        response(5, 6, through=5, more_of_batch=True),
        response(7, through=5, more_of_batch=True),
    ]
    second = Stream(WatchEventsRequest(after_sequence=5, log_id=LOG_ID))
    second.responses += [response(6, 7, 8, through=8), response(9, through=9), response(through=9)]
    return Recording([first, second])


def filtered() -> Recording:
    """Of a watcher of one task, which is told how far the log is when nothing matches."""
    stream = Stream(WatchEventsRequest(after_sequence=0, resource_ids=[TASK]))
    stream.responses += [
        response(1, through=1),
        response(2, 3, 4, through=5),
        response(6, 7, 8, through=8),
        response(through=9),
    ]
    return Recording([stream], lambda event: event.resource_id == TASK)


def with_snapshot() -> Recording:
    """The stream is cut in the snapshot, which begins anew, and then in the events."""
    first, second = (Stream(WatchEventsRequest(snapshot=True)) for _ in range(2))
    first.end = second.end = "UNAVAILABLE"
    first.responses += [part(), part()]
    second.responses += [
        part(),
        response(through=4, snapshot_complete=True),
        response(5, through=5),
    ]
    third = Stream(WatchEventsRequest(after_sequence=5, log_id=LOG_ID))
    third.responses += [response(6, 7, 8, 9, through=9)]
    return Recording([first, second, third])


@pytest.mark.parametrize("recording", [good, filtered, with_snapshot])
def test_nothing_is_found_in_what_is_good(recording: Callable[[], Recording]) -> None:
    assert violations(recording(), LOG, to_the_end=True) == []


def test_nothing_is_found_in_what_begins_from_now_on() -> None:
    stream = Stream(WatchEventsRequest())
    stream.responses += [response(through=4), response(5, through=5)]
    assert violations(Recording([stream]), LOG) == []


def swap(recording: Recording) -> None:
    events = recording.streams[0].responses[1].events
    one, two = event(events[1].sequence), event(events[2].sequence)
    events[1].CopyFrom(two)
    events[2].CopyFrom(one)


def batch_after_its_event(recording: Recording) -> None:
    recording.streams[0].responses[1].events[0].batch = 2


def twice_in_a_stream(recording: Recording) -> None:
    recording.streams[0].responses[1].events.insert(1, event(1))


def again_after_the_bookmark(recording: Recording) -> None:
    recording.streams[1].responses[0].events.insert(0, event(5))


def missing(recording: Recording) -> None:
    del recording.streams[0].responses[1].events[1]


def missing_at_the_beginning(recording: Recording) -> None:
    del recording.streams[1].responses[0].events[0]


def not_in_the_log(recording: Recording) -> None:
    recording.streams[1].responses[1].events.append(Event(sequence=10, batch=10))


def another_revision(recording: Recording) -> None:
    recording.streams[0].responses[1].events[0].revision = 7


def bookmark_in_a_batch(recording: Recording) -> None:
    last = recording.streams[0].responses.pop()
    last.through_sequence, last.more_of_batch = 7, False
    recording.streams[0].responses.append(last)
    recording.streams[1].request.after_sequence = 7
    del recording.streams[1].responses[0].events[:2]


def begins_too_early(recording: Recording) -> None:
    recording.streams[1].request.after_sequence = 4
    recording.streams[1].responses[0].events.insert(0, event(5))


def begins_too_late(recording: Recording) -> None:
    recording.streams[1].request.after_sequence = 8
    del recording.streams[1].responses[0]


def refused(recording: Recording) -> None:
    recording.streams[0].end = "OUT_OF_RANGE"


def refused_in_the_end(recording: Recording) -> None:
    recording.streams[1].end = "PERMISSION_DENIED"


def another_log(recording: Recording) -> None:
    for one in recording.streams[1].responses:
        one.log_id = str(uuid4())


def bookmark_before_its_events(recording: Recording) -> None:
    del recording.streams[1].responses[1].events[0]


def bookmark_beyond_the_log(recording: Recording) -> None:
    recording.streams[1].responses[-1].through_sequence = 10


def bookmark_goes_back(recording: Recording) -> None:
    recording.streams[1].responses[-1].through_sequence = 8


def no_bookmark_at_the_end(recording: Recording) -> None:
    del recording.streams[1].responses[1:]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (swap, ["ordered", "reliable"]),
        (batch_after_its_event, ["ordered", "reliable"]),
        (twice_in_a_stream, ["unique"]),
        (again_after_the_bookmark, ["unique"]),
        (missing, ["reliable"]),
        (missing_at_the_beginning, ["reliable"]),
        (not_in_the_log, ["reliable"]),
        (another_revision, ["reliable"]),
        (bookmark_in_a_batch, ["atomic"]),
        (begins_too_early, ["unique", "resumable"]),
        (begins_too_late, ["resumable"]),
        (refused, ["resumable"]),
        (refused_in_the_end, ["resumable"]),
        (another_log, ["resumable"]),
        (bookmark_before_its_events, ["bookmarkable"]),
        (bookmark_beyond_the_log, ["bookmarkable"]),
        (bookmark_goes_back, ["bookmarkable"]),
        (no_bookmark_at_the_end, ["bookmarkable"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_each_violation_is_found_and_called_by_its_word(
    spoil: Callable[[Recording], None], words: list[str]
) -> None:
    recording = good()
    spoil(recording)
    found = violations(recording, LOG, to_the_end=True)
    assert list(dict.fromkeys(violation.word for violation in found)) == words, found


def test_a_snapshot_may_take_the_place_of_what_is_out_of_range() -> None:
    recording = with_snapshot()
    recording.streams.insert(0, Stream(WatchEventsRequest(after_sequence=1), end="OUT_OF_RANGE"))
    assert violations(recording, LOG, to_the_end=True) == []


def test_what_does_not_match_is_found() -> None:
    recording = filtered()
    recording.streams[0].responses[1].events.append(event(5))
    assert [v.word for v in violations(recording, LOG)] == ["reliable"]


def test_what_matches_and_is_missing_is_found() -> None:
    recording = filtered()
    del recording.streams[0].responses[2].events[1]
    assert [v.what for v in violations(recording, LOG)] == ["event 7 is missing"]


def test_a_bookmark_within_a_snapshot_is_found() -> None:
    recording = with_snapshot()
    recording.streams[0].responses[1].through_sequence = 4
    assert [v.word for v in violations(recording, LOG)] == ["bookmarkable"]


def test_a_gap_after_a_snapshot_is_found() -> None:
    recording = with_snapshot()
    recording.streams[1].responses[1].through_sequence = 1
    assert {v.word for v in violations(recording, LOG)} == {"reliable"}
