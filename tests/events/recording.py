"""What a watcher was sent, stream by stream."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import grpc

from tandem.event.v1.event_service_pb2 import Event, WatchEventsRequest, WatchEventsResponse
from tandem_client import Tandem
from tandem_client.watch import Watcher


@dataclass
class Stream:
    """One call: what was asked for, what came, and how it ended: a code, or "" if we left."""

    request: WatchEventsRequest
    responses: list[WatchEventsResponse] = field(default_factory=list)
    end: str = ""


@dataclass
class Recording:
    """The streams of one watcher, in their order; `matches` says which events it has to get."""

    streams: list[Stream] = field(default_factory=list)
    matches: Callable[[Any], bool] = lambda _event: True
    name: str = ""

    def events(self) -> list[Event]:
        """Every event that came, in the order in which it came."""
        return [e for s in self.streams for r in s.responses for e in r.events]


def record(tandem: Tandem, recording: Recording) -> None:
    """Record what `tandem.watch` is sent from now on."""
    method = tandem.events.WatchEvents

    def begin(request: WatchEventsRequest, **options: Any) -> "_Call":
        asked = WatchEventsRequest()
        asked.CopyFrom(request)
        recording.streams.append(stream := Stream(asked))
        return _Call(method(request, **options), stream)

    tandem.watch = Watcher(tandem._calls, begin)


class _Call:
    def __init__(self, call: Any, stream: Stream) -> None:
        self._call = call
        self._stream = stream

    async def read(self) -> Any:
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._stream.end = error.code().name
            raise
        if response is not grpc.aio.EOF:
            self._stream.responses.append(response)
        return response

    def cancel(self) -> None:
        self._call.cancel()
