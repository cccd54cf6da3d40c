"""Members between the wire and the rules."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from shared.messages.members import TO_ROLE, member
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import read_changes, read_new, validate
from tandem.agent.v1 import member_service_pb2 as pb

ORDERS = ("created_at",)
TIMES = {"created_at": instant}

FROM_ROLE = {role: name for name, role in TO_ROLE.items()}


async def listing(found: Listing, pager: Pager) -> pb.ListMembersResponse:
    """A page of rows."""
    response = pb.ListMembersResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, member, response.members)
    return response


def new_member(request: pb.AddMemberRequest) -> dict[str, Any]:
    """The columns of a member that is to be added."""
    values = read_new(request, "member", COLUMNS)
    return {
        "project_id": UUID(request.member.project_id),
        "user_id": UUID(request.member.user_id),
        **values,
    }


def changes(request: pb.UpdateMemberRequest) -> dict[str, Any]:
    """The columns of a member that change."""
    return read_changes(request, "member", COLUMNS, key=("project_id", "user_id"))


def query(request: pb.ListMembersRequest, pager: Pager) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = {
        "project_id": UUID(request.project_id),
        "roles": [FROM_ROLE[role] for role in request.roles] or None,
    }
    return Query(filters, pager.read(request, filters, ORDERS, TIMES))


# What a client may set and change.
COLUMNS: dict[str, Callable[[pb.Member], Any]] = {"role": lambda member: FROM_ROLE[member.role]}
