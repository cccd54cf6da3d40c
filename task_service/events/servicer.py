"""EventService: messages in, messages out."""

from collections.abc import AsyncIterator

from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.resources.validation import parse
from tandem.event.v1 import event_service_pb2 as pb
from tandem.event.v1.event_service_pb2_grpc import EventServiceServicer
from task_service.events import messages, responses
from task_service.events.rules import EventRules
from task_service.events.watching import Watching


class EventServicer(EventServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    def __init__(self, rules: EventRules, watching: Watching) -> None:
        self._rules = rules
        self._watching = watching

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        query = parse(messages.query, request)
        return await messages.page(await self._rules.list(caller(), request.project_id, query))

    async def WatchEvents(  # type: ignore[override]
        self, request: pb.WatchEventsRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """The responses are bytes: many watches are sent the same."""
        asked = parse(responses.watch, request)
        async for response in self._watching.watch(request.project_id, asked):
            yield response
