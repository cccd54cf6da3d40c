"""EventService: messages in, messages out."""

from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.resources.validation import parse
from tandem.event.v1 import event_service_pb2 as pb
from tandem.event.v1.event_service_pb2_grpc import EventServiceServicer
from task_service.events import messages
from task_service.events.rules import EventRules


class EventServicer(EventServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    def __init__(self, rules: EventRules) -> None:
        self._rules = rules

    async def ListEvents(
        self, request: pb.ListEventsRequest, context: Context
    ) -> pb.ListEventsResponse:
        query = parse(messages.query, request)
        return await messages.page(await self._rules.list(caller(), request.project_id, query))
