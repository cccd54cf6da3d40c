"""A watch over many streams: what it gives, resumes and raises, by a fake channel and clock."""

import asyncio
import queue
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from uuid import uuid4

import grpc
import pytest

from shared.errors import Reason
from tandem.agent.v1.error_reason_pb2 import ErrorReason
from tandem.event.v1.event_service_pb2 import (
    Event,
    Resource,
    WatchEventsRequest,
    WatchEventsResponse,
)
from tandem.task.v1.task_service_pb2 import Task
from tandem_client import (
    ApiKey,
    Batch,
    SnapshotBegins,
    SnapshotComplete,
    SnapshotPart,
    TandemError,
    Token,
)
from tandem_client.events import Position
from tests.client.fake import PATIENCE_SECONDS, Services, Streaming, in_thread, result_of
from tests.client.test_renewal import EXCHANGE, KEY, bearer, issued, token

WATCH = "EventService.WatchEvents"
PROJECT, LOG, OTHER_LOG = str(uuid4()), str(uuid4()), str(uuid4())
ANY_USER = Token("a token of which nothing is known")


class Watching:
    """A loop over a watch, in a thread of its own: what it was given, and how it ended."""

    def __init__(self, services: Services, credentials: Any = ANY_USER, **how: Any) -> None:
        request = how.pop("request", None) or WatchEventsRequest(project_id=PROJECT)
        for name in ("after_sequence", "log_id", "types", "snapshot"):
            if name in how:
                request = merged(request, **{name: how.pop(name)})
        retries = how.pop("retries", {})
        self.items: queue.Queue[Any] = queue.Queue()
        client = services.client(credentials, **retries)

        def loop() -> None:
            for item in client.watch(request, **how):
                self.items.put(item)

        self.end: Future[None] = in_thread(loop)

    def next(self) -> Any:
        return self.items.get(timeout=PATIENCE_SECONDS)

    def raised(self) -> TandemError:
        with pytest.raises(TandemError) as raised:
            result_of(self.end)
        assert self.items.empty()
        return raised.value


def merged(request: WatchEventsRequest, **fields: Any) -> WatchEventsRequest:
    copy = WatchEventsRequest(**fields)
    copy.MergeFrom(request)
    return copy


def event(sequence: int, batch: int = 0) -> Event:
    return Event(sequence=sequence, batch=batch or sequence)


def sent(*sequences: int, through: int | None = None, **fields: Any) -> WatchEventsResponse:
    """A response with events that are a transaction each, unless `batch` says another one."""
    batch = fields.pop("batch", 0)
    return WatchEventsResponse(
        events=[event(sequence, batch) for sequence in sequences],
        through_sequence=sequences[-1] if through is None else through,
        **{"log_id": LOG, **fields},
    )


def batch(*sequences: int, first: int = 0, through: int | None = None) -> Batch:
    events = tuple(event(sequence, first or sequences[0]) for sequence in sequences)
    return Batch(events, sequences[-1] if through is None else through, LOG)


def test_the_events_of_one_transaction_come_together(services: Services) -> None:
    watching = Watching(services, after_sequence=0)
    stream = services.take_stream(WATCH)
    assert (stream.request.project_id, stream.request.after_sequence) == (PROJECT, 0)
    assert bearer(stream) == ANY_USER.source
    response = sent(1, 2, 3)
    response.events.extend([event(4, 4), event(5, 4), event(6, 6)])
    response.through_sequence = 6
    stream.send(response)
    expected = [batch(1), batch(2), batch(3), batch(4, 5), batch(6)]
    assert [watching.next() for _ in expected] == expected


def test_a_transaction_in_parts_is_joined(services: Services) -> None:
    watching = Watching(services, after_sequence=0)
    stream = services.take_stream(WATCH)
    stream.send(sent(1))
    stream.send(sent(2, 3, batch=2, through=1, more_of_batch=True))
    stream.send(sent(4, batch=2, through=1, more_of_batch=True))
    stream.send(sent(5, batch=2))
    assert [watching.next(), watching.next()] == [batch(1), batch(2, 3, 4, 5)]


def test_a_bookmark_that_is_news_is_given(services: Services) -> None:
    watching = Watching(services, after_sequence=3, types=[1])
    stream = services.take_stream(WATCH)
    for through in (3, 3, 9, 9, 10):
        stream.send(sent(through=through))
    expected = [Batch((), through, LOG) for through in (3, 9, 10)]
    assert [watching.next() for _ in expected] == expected


def test_a_filter_leaves_numbers_out_and_the_bookmark_says_how_far(services: Services) -> None:
    watching = Watching(services, after_sequence=0, types=[1])
    response = sent(2, 5, batch=2, through=12)
    response.events.append(event(11, 9))
    services.take_stream(WATCH).send(response)
    assert watching.next() == batch(2, 5, through=8)
    assert watching.next() == batch(11, first=9, through=12)


@pytest.mark.parametrize(
    "end",
    [
        lambda stream: stream.fail(grpc.StatusCode.UNAVAILABLE),
        lambda stream: stream.fail(grpc.StatusCode.DEADLINE_EXCEEDED),
        lambda stream: stream.fail(grpc.StatusCode.CANCELLED),
        lambda stream: stream.fail(grpc.StatusCode.INTERNAL),
        lambda stream: stream.fail(grpc.StatusCode.UNKNOWN),
        lambda stream: stream.refuse(Reason.DATABASE_UNAVAILABLE),
        lambda stream: stream.refuse(Reason.CONFLICT),
        lambda stream: stream.refuse(Reason.LIMIT_EXCEEDED, retry_after=2.0),
        lambda stream: stream.end(),
    ],
    ids=range(9),
)
def test_it_resumes_after_the_last_whole_transaction(
    services: Services, end: Callable[[Streaming], None]
) -> None:
    watching = Watching(services, after_sequence=0)
    stream = services.take_stream(WATCH)
    stream.send(sent(1))
    stream.send(sent(2, 3, batch=2, through=1, more_of_batch=True))
    assert watching.next() == batch(1)
    end(stream)
    stream = services.take_stream(WATCH)
    assert (stream.request.after_sequence, stream.request.log_id) == (1, LOG)
    stream.send(sent(2, 3, 4, batch=2))
    assert watching.next() == batch(2, 3, 4)
    assert services.sleeps in ([0.2], [2.2])


def test_what_comes_twice_is_given_once(services: Services) -> None:
    watching = Watching(services, after_sequence=0, types=[1])
    stream = services.take_stream(WATCH)
    stream.send(sent(1, 2))
    assert [watching.next(), watching.next()] == [batch(1), batch(2)]
    stream.fail(grpc.StatusCode.UNAVAILABLE)
    stream = services.take_stream(WATCH)
    stream.send(sent(1, 2, 3))
    assert watching.next() == batch(3)


def test_what_is_from_now_on_stays_that_until_there_is_a_bookmark(services: Services) -> None:
    watching = Watching(services)
    services.take_stream(WATCH).fail(grpc.StatusCode.UNAVAILABLE)
    stream = services.take_stream(WATCH)
    assert not stream.request.HasField("after_sequence")
    stream.send(sent(through=7))
    assert watching.next() == Batch((), 7, LOG)
    stream.fail(grpc.StatusCode.UNAVAILABLE)
    assert services.take_stream(WATCH).request.after_sequence == 7


@pytest.mark.parametrize(
    ("response", "given"),
    [
        (sent(3), 0),
        (sent(2, 4), 0),
        (sent(2, 3, 5), 1),
        (sent(2, 3, through=4), 1),
        (sent(2, 3, through=2), 1),
        (sent(2, 3, 3), 1),
        (sent(2, 3, 2), 1),
        (sent(through=3), 0),
        (sent(through=0), 0),
        (sent(2, log_id=OTHER_LOG), 0),
    ],
    ids=range(10),
)
def test_what_does_not_continue_is_not_given(response: WatchEventsResponse, given: int) -> None:
    position = Position(WatchEventsRequest(after_sequence=1, log_id=LOG))
    position.gapless = True
    items: list[Any] = []
    with pytest.raises(TandemError, match="DATA_LOSS"):
        items.extend(position.take(response))
    assert items == [batch(sequence) for sequence in range(2, 2 + given)]
    assert position.request.after_sequence == 1 + given


def test_a_number_that_stays_missing_is_raised(services: Services) -> None:
    watching = Watching(services, after_sequence=0, retries={"attempts": 3})
    stream = services.take_stream(WATCH)
    stream.send(sent(1, 2, 4))
    assert watching.next() == batch(1)
    for _ in range(2):
        stream = services.take_stream(WATCH)
        assert stream.request.after_sequence == 1
        stream.send(sent(3, 4))
    assert watching.raised().code is grpc.StatusCode.DATA_LOSS


@pytest.mark.parametrize("credentials", [ANY_USER, KEY], ids=["user", "agent"])
def test_only_who_may_see_less_may_miss_a_number(services: Services, credentials: Any) -> None:
    watching = Watching(services, credentials, after_sequence=1, retries={"attempts": 1})
    if credentials is KEY:
        services.answer(EXCHANGE, issued_for_an_agent())
    services.take_stream(WATCH).send(sent(3))
    if credentials is KEY:
        assert watching.next() == batch(3)
    else:
        assert watching.raised().code is grpc.StatusCode.DATA_LOSS


def test_an_agent_that_sees_everything_can_say_so(services: Services) -> None:
    watching = Watching(services, KEY, after_sequence=1, gapless=True, retries={"attempts": 1})
    services.answer(EXCHANGE, issued_for_an_agent())
    services.take_stream(WATCH).send(sent(3))
    assert watching.raised().code is grpc.StatusCode.DATA_LOSS


@pytest.mark.parametrize(
    "reason",
    [
        Reason.INVALID_FIELD,
        Reason.TOKEN_INVALID,
        Reason.CALLER_INACTIVE,
        Reason.NOT_PROJECT_OWNER,
        Reason.PROJECT_NOT_FOUND,
        Reason.EVENTS_COMPACTED,
        Reason.LOG_REWOUND,
        Reason.LIMIT_EXCEEDED,
    ],
)
def test_a_refusal_is_raised(services: Services, reason: Reason) -> None:
    watching = Watching(services, after_sequence=0)
    stream = services.take_stream(WATCH)
    stream.send(sent(1))
    assert watching.next() == batch(1)
    stream.refuse(reason)
    assert watching.raised().reason_name == reason.name
    assert services.sleeps == []


def test_the_backoff_grows_and_begins_anew_when_something_has_come(services: Services) -> None:
    watching = Watching(services, after_sequence=0)
    for _ in range(8):
        services.take_stream(WATCH).fail(grpc.StatusCode.UNAVAILABLE)
    stream = services.take_stream(WATCH)
    assert services.sleeps == [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    stream.send(sent(1))
    assert watching.next() == batch(1)
    stream.fail(grpc.StatusCode.UNAVAILABLE)
    services.take_stream(WATCH)
    assert services.sleeps[8:] == [0.2]


def test_a_stream_that_lasted_begins_the_backoff_anew(services: Services) -> None:
    Watching(services, after_sequence=0, silence=100.0)
    for _ in range(3):
        services.take_stream(WATCH).fail(grpc.StatusCode.UNAVAILABLE)
    stream = services.take_stream(WATCH)
    services.clock.sleep_for(30.0)
    stream.fail(grpc.StatusCode.UNAVAILABLE)
    services.take_stream(WATCH)
    assert services.sleeps == [0.2, 0.4, 0.8, 0.2]


def test_what_may_be_a_defect_is_raised_if_it_stays_at_one_place(services: Services) -> None:
    watching = Watching(services, after_sequence=0)
    for code in ("UNAVAILABLE", *["INTERNAL", "UNAVAILABLE"] * 5, "INTERNAL"):
        services.take_stream(WATCH).fail(grpc.StatusCode[code])
    assert watching.raised().code is grpc.StatusCode.INTERNAL


def test_a_stream_that_is_silent_is_taken_for_dead(services: Services) -> None:
    watching = Watching(services, after_sequence=0)
    stream = services.take_stream(WATCH)
    for sequence in (1, 2, 3):
        services.wait(10.0)
        stream.send(sent(sequence))
        assert watching.next() == batch(sequence)
    services.wait(20.0)
    assert services.take_stream(WATCH).request.after_sequence == 3
    assert stream.is_over()


def test_a_loop_that_takes_its_time_is_not_taken_for_silence(services: Services) -> None:
    client = services.client(ANY_USER)
    items = iter(client.watch(WatchEventsRequest(project_id=PROJECT, after_sequence=0)))
    first = in_thread(lambda: next(items))
    stream = services.take_stream(WATCH)
    stream.send(sent(1))
    assert result_of(first) == batch(1)
    services.wait(100.0)
    second = in_thread(lambda: next(items))
    stream.send(sent(2))
    assert result_of(second) == batch(2)
    assert not stream.is_over()


def test_leaving_the_loop_cancels_the_call(services: Services) -> None:
    client = services.client(ANY_USER)

    def first() -> Any:
        for item in client.watch(WatchEventsRequest(project_id=PROJECT, after_sequence=0)):
            return item
        return None

    item = in_thread(first)
    stream = services.take_stream(WATCH)
    stream.send(sent(1))
    assert result_of(item) == batch(1)
    assert stream.is_over()


def test_a_token_that_has_expired_is_renewed_at_once(services: Services) -> None:
    watching = Watching(services, KEY, after_sequence=0)
    services.answer(EXCHANGE, issued("first"))
    for number, name in enumerate(("first", "second", "third")):
        stream = services.take_stream(WATCH)
        assert bearer(stream) == token(name)
        stream.send(sent(number + 1))
        assert watching.next() == batch(number + 1)
        stream.refuse(Reason.TOKEN_EXPIRED)
        services.answer(EXCHANGE, issued(f"{('second', 'third', 'fourth')[number]}"))
    assert services.sleeps == []


@pytest.mark.parametrize("credentials", [ANY_USER, KEY], ids=["token", "key"])
def test_a_token_that_stays_expired_is_raised(services: Services, credentials: Any) -> None:
    watching = Watching(services, credentials, after_sequence=0)
    if credentials is KEY:
        services.answer(EXCHANGE, issued("first"))
    services.take_stream(WATCH).refuse(Reason.TOKEN_EXPIRED)
    if credentials is KEY:
        services.answer(EXCHANGE, issued("second"))
    services.take_stream(WATCH).refuse(Reason.TOKEN_EXPIRED)
    assert watching.raised().reason == ErrorReason.ERROR_REASON_TOKEN_EXPIRED


def test_an_exchange_that_fails_for_now_is_repeated(services: Services) -> None:
    watching = Watching(services, KEY, after_sequence=0, retries={"attempts": 1})
    services.fail(EXCHANGE, grpc.StatusCode.UNAVAILABLE)
    services.clock.sleep_for(10.0)
    services.answer(EXCHANGE, issued("first"))
    services.take_stream(WATCH).send(sent(1))
    assert watching.next() == batch(1)


def test_a_key_that_is_revoked_is_raised(services: Services) -> None:
    watching = Watching(services, ApiKey("tdm_key_secret"), after_sequence=0)
    services.answer(EXCHANGE, issued("first"))
    services.take_stream(WATCH).refuse(Reason.TOKEN_EXPIRED)
    services.refuse(EXCHANGE, Reason.API_KEY_INVALID)
    assert watching.raised().reason == ErrorReason.ERROR_REASON_API_KEY_INVALID


@pytest.mark.parametrize("reason", [Reason.EVENTS_COMPACTED, Reason.LOG_REWOUND])
def test_a_snapshot_takes_the_place_of_lost_events(services: Services, reason: Reason) -> None:
    watching = Watching(services, after_sequence=5, log_id=OTHER_LOG, snapshots=True)
    services.take_stream(WATCH).refuse(reason)
    stream = services.take_stream(WATCH)
    assert stream.request == WatchEventsRequest(project_id=PROJECT, snapshot=True)
    stream.send(resources("a", "b"))
    stream.send(resources("c", snapshot_complete=True, through_sequence=9))
    stream.send(sent(10))
    assert [watching.next() for _ in range(5)] == [
        SnapshotBegins(ErrorReason.Value(f"ERROR_REASON_{reason.name}")),
        part("a", "b"),
        part("c"),
        SnapshotComplete(9, LOG),
        batch(10),
    ]
    stream.fail(grpc.StatusCode.UNAVAILABLE)
    resumed = services.take_stream(WATCH).request
    assert (resumed.snapshot, resumed.after_sequence, resumed.log_id) == (False, 10, LOG)
    assert services.sleeps == [0.2]


def test_a_snapshot_that_is_interrupted_begins_anew(services: Services) -> None:
    watching = Watching(services, snapshot=True, snapshots=True)
    begins = SnapshotBegins(ErrorReason.ERROR_REASON_UNSPECIFIED)
    stream = services.take_stream(WATCH)
    stream.send(resources("a"))
    assert [watching.next(), watching.next()] == [begins, part("a")]
    stream.fail(grpc.StatusCode.UNAVAILABLE)
    services.take_stream(WATCH).fail(grpc.StatusCode.UNAVAILABLE)
    stream = services.take_stream(WATCH)
    assert (stream.request.snapshot, stream.request.HasField("after_sequence")) == (True, False)
    stream.send(resources("a", "b", snapshot_complete=True, through_sequence=0))
    expected = [begins, part("a", "b"), SnapshotComplete(0, LOG)]
    assert [watching.next() for _ in expected] == expected
    stream.send(sent(1))
    assert watching.next() == batch(1)


def test_a_snapshot_has_to_be_expected(services: Services) -> None:
    request = WatchEventsRequest(project_id=PROJECT, snapshot=True)
    with pytest.raises(ValueError, match="snapshots=True"):
        services.client().watch(request)


def test_metadata_and_an_authorization_of_ones_own_go_along(services: Services) -> None:
    metadata = (("x-request-id", "mine"), ("authorization", "Bearer another"))
    Watching(services, KEY, after_sequence=0, metadata=metadata)
    assert dict(metadata).items() <= services.take_stream(WATCH).metadata.items()


def test_the_client_for_threads_takes_no_asynchronous_function(services: Services) -> None:
    async def source() -> str:
        await asyncio.sleep(0)
        return "mine"

    watching = Watching(services, Token(source))
    with pytest.raises(RuntimeError, match="asynchronous client"):
        result_of(watching.end)


def resources(*ids: str, **fields: Any) -> WatchEventsResponse:
    found = [Resource(task=Task(id=name)) for name in ids]
    return WatchEventsResponse(resources=found, **{"log_id": LOG, **fields})


def part(*ids: str) -> SnapshotPart:
    return SnapshotPart(tuple(Resource(task=Task(id=name)) for name in ids))


def issued_for_an_agent() -> Any:
    return issued("an agent", typ="agent")
