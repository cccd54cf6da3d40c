"""Users between the wire and the rules."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any

from shared.messages.users import user
from shared.resources.building import Row
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import optional, read_new, validate
from tandem.agent.v1 import user_service_pb2 as pb
from tandem.agent.v1.auth_service_pb2 import User

ORDERS = ("created_at", "username")
TIMES = {"created_at": instant}


def profile(found: Row) -> pb.UserProfile:
    """What every user may know about another one."""
    return pb.UserProfile(
        id=str(found["id"]), username=found["username"], full_name=found["full_name"]
    )


async def listing(found: Listing, pager: Pager) -> pb.ListUsersResponse:
    """A page of rows."""
    response = pb.ListUsersResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, user, response.users)
    return response


def new_user(request: pb.CreateUserRequest) -> dict[str, Any]:
    """The columns of a user that is to be created."""
    # Every user is active at first.
    return {**read_new(request, "user", COLUMNS), "is_active": True}


def key(request: pb.LookupUserRequest) -> tuple[str, str]:
    """What a user is looked for by: "username" or "email", and its value."""
    validate(request)
    name = request.WhichOneof("key")
    assert name is not None, "it is required"
    return name, getattr(request, name)


def query(request: pb.ListUsersRequest, pager: Pager) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = {
        "username_prefix": request.username_prefix or None,
        "is_active": optional(request, "is_active"),
        "is_superuser": optional(request, "is_superuser"),
    }
    return Query(filters, pager.read(request, filters, ORDERS, TIMES))


# What a client may set and change. Each is read by itself: what is not changed is not looked at.
COLUMNS: dict[str, Callable[[User], Any]] = {
    "username": attrgetter("username"),
    "email": attrgetter("email"),
    "full_name": partial(optional, name="full_name"),
    "is_active": lambda user: user.is_active if user.HasField("is_active") else True,
    "is_superuser": attrgetter("is_superuser"),
}
