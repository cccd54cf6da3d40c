"""Watches a project's events over many streams, each of which goes on after the last one."""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeAlias, TypeVar, cast, overload

from grpc import StatusCode

from tandem.event.v1.event_service_pb2 import WatchEventsRequest
from tandem_client.calls import AUTHORIZATION, EXPIRED, Calls, Metadata, bearer
from tandem_client.errors import TandemError
from tandem_client.events import Batch, Item, Position, is_narrowed
from tandem_client.retries import Retries, is_transient
from tandem_client.runtime import run
from tandem_client.streams import Stream
from tandem_client.tokens import is_of_an_agent

T = TypeVar("T")
Method: TypeAlias = Callable[..., Any]

# The service says something every 5 seconds.
SILENCE_SECONDS = 15.0
# A stream that lasted so long was good: that it ended does not count as a failure.
SETTLED_SECONDS = 30.0
# What may pass, but not if it happens again and again at the same place.
DEFECTS = (StatusCode.INTERNAL, StatusCode.UNKNOWN, StatusCode.DATA_LOSS)


class Watch(Generic[T]):
    """What happens in a project, see Watcher: `async for` in an event loop, else `for`."""

    def __init__(self, begin: Callable[[], "Streams"]) -> None:
        self._begin = begin

    async def __aiter__(self) -> AsyncGenerator[T, None]:
        streams = self._begin()
        while True:
            try:
                await streams.open()
                while True:
                    for item in await streams.read():
                        yield cast(T, item)
            except TandemError as error:
                await streams.follow(error)
            finally:
                streams.close()

    def __iter__(self) -> Iterator[T]:
        streams = self._begin()
        while True:
            try:
                run(streams.open())
                while True:
                    for item in run(streams.read()):
                        yield cast(T, item)
            except TandemError as error:
                run(streams.follow(error))
            finally:
                streams.close()


@dataclass(frozen=True)
class Options:
    """How to watch, see Watcher."""

    snapshots: bool
    gapless: bool | None
    silence: float
    metadata: Metadata


class Streams:
    """One stream after the other, of which each goes on after the last."""

    def __init__(
        self, calls: Calls, method: Method, request: WatchEventsRequest, options: Options
    ) -> None:
        self._calls = calls
        self._method = method
        self._options = options
        self._narrowed = is_narrowed(request)
        self._position = Position(request)
        self._ends = Ends(calls.retries)
        self._stream: Stream | None = None
        self._token = self._refused = ""

    async def open(self) -> None:
        """Begin the next one. Raises TandemError if there is no token."""
        self._opened, self._began_after = self._calls.runtime.now(), self._position.through
        self._token = await self._get_token()
        self._position.gapless = self._is_gapless()
        metadata = self._options.metadata + bearer(self._token)
        call = self._method(self._position.request, metadata=metadata)
        self._stream = self._calls.runtime.stream(call, self._options.silence)

    async def read(self) -> Iterator[Item]:
        """What the next response completes. Raises TandemError at the end of the stream."""
        assert self._stream
        response, self._refused = await self._stream.read(), ""
        return self._position.take(response)

    async def follow(self, error: TandemError) -> None:
        """Wait until it is time for the next one. Raises the error if it is not to be repeated."""
        self.close()
        lasted = self._calls.runtime.now() - self._opened >= SETTLED_SECONDS
        if lasted or self._position.through != self._began_after:
            self._ends.forget()
        if error.reason == EXPIRED and self._token and not self._refused:
            self._refused = self._token
        elif self._is_lost(error):
            self._position.restart(error.reason)
        else:
            await self._calls.runtime.sleep(self._ends.wait(error))
        self._position.resume()

    def close(self) -> None:
        """Cancel the one that is open, if there is one."""
        if self._stream:
            self._stream.close()
        self._stream = None

    async def _get_token(self) -> str:
        if any(key == AUTHORIZATION for key, _ in self._options.metadata):
            return ""
        deadline = self._calls.runtime.now() + self._calls.seconds
        return await self._calls.tokens.get(deadline, refused=self._refused)

    def _is_gapless(self) -> bool:
        if self._options.gapless is not None:
            return self._options.gapless
        return bool(self._token) and not self._narrowed and not is_of_an_agent(self._token)

    def _is_lost(self, error: TandemError) -> bool:
        """Whether the events are lost, so that a snapshot has to take their place."""
        lost = error.code is StatusCode.OUT_OF_RANGE and not self._position.request.snapshot
        return lost and self._options.snapshots


class Ends:
    """How long to wait after the end of a stream. Pure: no clock, no I/O."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self.forget()

    def forget(self) -> None:
        """What ended before was another place."""
        self._failures = self._defects = 0

    def wait(self, error: TandemError) -> float:
        """Seconds until the next stream. Raises the error if there is none."""
        self._failures += 1
        self._defects += error.code in DEFECTS
        passes = is_transient(error) or error.code is StatusCode.CANCELLED
        if not passes and (error.code not in DEFECTS or self._defects >= self._retries.attempts):
            raise error
        return (error.retry_after or 0.0) + self._retries.backoff(self._failures)


class Watcher:
    """Begins watches: `tandem.watch(request)`."""

    def __init__(self, calls: Calls, method: Method) -> None:
        """`method`: that of a stub."""
        self._calls = calls
        self._method = method

    @overload
    def __call__(
        self,
        request: WatchEventsRequest,
        *,
        snapshots: Literal[False] = False,
        gapless: bool | None = None,
        silence: float = SILENCE_SECONDS,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> Watch[Batch]: ...
    @overload
    def __call__(
        self,
        request: WatchEventsRequest,
        *,
        snapshots: bool,
        gapless: bool | None = None,
        silence: float = SILENCE_SECONDS,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> Watch[Item]: ...
    def __call__(
        self,
        request: WatchEventsRequest,
        *,
        snapshots: bool = False,
        gapless: bool | None = None,
        silence: float = SILENCE_SECONDS,
        metadata: Iterable[tuple[str, str | bytes]] = (),
    ) -> Any:
        """What happens in a project: `async for batch in tandem.watch(request)`.

        With the client of `tandem_client.sync`, `for` instead of `async for`. Each loop begins
        anew, as the request says: after `after_sequence` of the log `log_id`, or, without it, from
        now on. It has no end: leave it by `break`, or cancel the task that runs it.

        It gives a Batch for each transaction, and one without events if only the bookmark has
        moved. When a stream ends, the next one goes on after the last Batch, as often as necessary;
        no event is given twice, and none is left out.

        It raises TandemError when the service refuses (NOT_PROJECT_OWNER, PROJECT_NOT_FOUND, …);
        TOKEN_EXPIRED only if there is no other token; and INTERNAL, UNKNOWN and DATA_LOSS if they
        end it at one place as often as a call has attempts.

        snapshots: if `after_sequence` is no longer in the log, or is not in this one, do not raise
            EVENTS_COMPACTED or LOG_REWOUND but give SnapshotBegins, the resources as they are in
            SnapshotParts, SnapshotComplete, and then what happens after that. Required if the
            request has `snapshot`.
        gapless: whether a missing number is an error, DATA_LOSS. Default: if the request has no
            filter and the token is a user's, because agents may see less.
        silence: seconds after which a stream on which nothing comes is taken for dead.
        metadata: goes along. If it has an `authorization`, no token is asked for.
        """
        if request.snapshot and not snapshots:
            raise ValueError("A request with `snapshot` requires `snapshots=True`.")
        options = Options(snapshots, gapless, silence, tuple(metadata))
        copy = WatchEventsRequest()
        copy.CopyFrom(request)
        return Watch(lambda: Streams(self._calls, self._method, copy, options))
