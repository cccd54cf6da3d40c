"""Attempts at tasks between the wire and the rules."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.messages.attempts import attempt
from shared.resources.pagination import Listing, Pager, Query
from shared.resources.validation import validate
from tandem.task.v1 import task_service_pb2 as pb

GRACE_SECONDS = 60.0


@dataclass
class ListAttempts:
    """What a page is read from: there is one order."""

    page_size: int
    page_token: str
    order_by: str = "fence desc"
    include_total: bool = False


def cancelled(request: pb.CancelTaskRequest) -> dict[str, Any]:
    """How long an agent has to stop, in seconds, and why."""
    validate(request)
    grace = request.grace
    seconds = grace.seconds + grace.nanos / 1e9 if request.HasField("grace") else GRACE_SECONDS
    return {"grace": seconds, "reason": request.reason or None, "revision": request.revision}


def query(request: pb.ListAttemptsRequest, pager: Pager) -> Query:
    """Which page is asked for."""
    validate(request)
    asked = ListAttempts(request.page_size, request.page_token)
    filters = {"task_id": UUID(request.task_id)}
    return Query(filters, pager.read(asked, filters, ["fence"], {}))


async def listing(found: Listing, pager: Pager) -> pb.ListAttemptsResponse:
    """A page of attempts."""
    response = pb.ListAttemptsResponse()
    response.next_page_token = await pager.fit(found, attempt, response.attempts)
    return response
