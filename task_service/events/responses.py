"""Watches between the wire and what serves them: the request, and responses as bytes."""

from collections.abc import AsyncIterator, Iterable
from typing import TypeVar
from uuid import UUID

from shared.errors import invalid_field
from shared.resources.building import Row, build_all
from shared.resources.validation import validate
from tandem.event.v1 import event_service_pb2 as pb
from task_service.events.assembly import RESPONSE_BYTES
from task_service.events.messages import BUILD, FROM_RESOURCE_TYPE, FROM_TYPE, event
from task_service.events.selection import Selection, Start

T = TypeVar("T")


def watch(request: pb.WatchEventsRequest) -> tuple[Start, Selection]:
    """Where a watch begins, and what it is to send. Raises Refusal(INVALID_FIELD)."""
    validate(request)
    is_after = request.HasField("after_sequence")
    if is_after and request.snapshot:
        raise invalid_field("after_sequence", "cannot be combined with snapshot")
    start = Start(
        request.after_sequence if is_after else None, _id(request.log_id), request.snapshot
    )
    selection = Selection(
        _set(map(FROM_RESOURCE_TYPE.__getitem__, request.resource_types)),
        _set(map(FROM_TYPE.__getitem__, request.types)),
        _set(map(UUID, request.resource_ids)),
        _id(request.assigned_to),
        _id(request.room_id),
    )
    return start, selection


def serialized(row: Row) -> bytes:
    """An event that was `read`, as bytes."""
    return event(row).SerializeToString()


def tail(log_id: UUID, through: int, is_within: bool) -> bytes:
    """A response without events or, which is the same in bytes, what a response has behind them."""
    response = pb.WatchEventsResponse(
        log_id=str(log_id), through_sequence=through, more_of_batch=is_within
    )
    return response.SerializeToString()


async def snapshot(log_id: UUID, kind: str, rows: Iterable[Row]) -> AsyncIterator[bytes]:
    """Responses with resources of a snapshot."""
    response = pb.WatchEventsResponse(log_id=str(log_id))
    size = 0
    async for resource, weight in build_all(rows, BUILD[kind]):
        if size and size + weight > RESPONSE_BYTES:
            yield response.SerializeToString()
            response, size = pb.WatchEventsResponse(log_id=str(log_id)), 0
        response.resources.append(pb.Resource(**{kind: resource}))
        size += weight
    yield response.SerializeToString()


def snapshot_complete(log_id: UUID, through: int) -> bytes:
    """The last response of a snapshot."""
    response = pb.WatchEventsResponse(
        log_id=str(log_id), through_sequence=through, snapshot_complete=True
    )
    return response.SerializeToString()


def _id(text: str) -> UUID | None:
    return UUID(text) if text else None


def _set(values: Iterable[T]) -> frozenset[T] | None:
    return frozenset(values) or None
