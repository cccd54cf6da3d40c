"""Rooms and participants between the wire and the rules."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from shared.messages.rooms import MEMBERS, participant, room
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import optional, read_new, validate
from tandem.agent.v1 import room_service_pb2 as pb

ORDERS = ("created_at", "updated_at", "name")
TIMES = {"created_at": instant, "updated_at": instant, "joined_at": instant}


async def listing(found: Listing, pager: Pager) -> pb.ListRoomsResponse:
    """A page of rows."""
    response = pb.ListRoomsResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, room, response.rooms)
    return response


async def participants(found: Listing, pager: Pager) -> pb.ListParticipantsResponse:
    """A page of participants."""
    response = pb.ListParticipantsResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, participant, response.participants)
    return response


def new_room(request: pb.CreateRoomRequest) -> dict[str, Any]:
    """The columns of a room that is to be created."""
    values = read_new(request, "room", COLUMNS)
    return {"project_id": UUID(request.room.project_id), **values}


def member(request: pb.AddParticipantRequest | pb.RemoveParticipantRequest) -> dict[str, Any]:
    """The participant that is meant: `agent_id` and `user_id`, one of which is None."""
    validate(request)
    meant = request.WhichOneof("participant")
    return {name: UUID(getattr(request, name)) if name == meant else None for name in MEMBERS}


def query(request: pb.ListRoomsRequest, pager: Pager) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = {
        "project_id": UUID(request.project_id) if request.project_id else None,
        "name_prefix": request.name_prefix or None,
    }
    return Query(filters, pager.read(request, filters, ORDERS, TIMES))


def query_of_participants(request: pb.ListParticipantsRequest, pager: Pager) -> Query:
    """What a list of participants is asked for."""
    validate(request)
    filters = {"room_id": UUID(request.room_id)}
    page = pager.read(request, filters, ("joined_at",), TIMES, default="joined_at desc")
    return Query(filters, page)


# What a client may set and change. Each is read by itself: what is not changed is not looked at.
COLUMNS: dict[str, Callable[[pb.Room], Any]] = {
    "name": attrgetter("name"),
    "description": partial(optional, name="description"),
}
# What no Update changes, but a client may send back.
FIXED: dict[str, Callable[[pb.Room], Any]] = {
    "project_id": lambda room: UUID(room.project_id),
}
