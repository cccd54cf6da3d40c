"""Projects between the wire and the rules."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from shared.messages.projects import TO_STATUS, project
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import KIB, optional, read_new, struct, validate
from tandem.agent.v1 import project_service_pb2 as pb
from tandem.agent.v1.member_service_pb2 import (
    MEMBER_ROLE_ADMIN,
    MEMBER_ROLE_EDITOR,
    MEMBER_ROLE_VIEWER,
)

SETTINGS_BYTES = 64 * KIB
ORDERS = ("created_at", "updated_at", "name")
TIMES = {"created_at": instant, "updated_at": instant}

FROM_STATUS = {status: name for name, status in TO_STATUS.items()}
FROM_ROLE = {MEMBER_ROLE_VIEWER: "viewer", MEMBER_ROLE_EDITOR: "editor", MEMBER_ROLE_ADMIN: "admin"}


async def listing(found: Listing, pager: Pager) -> pb.ListProjectsResponse:
    """A page of rows."""
    response = pb.ListProjectsResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, project, response.projects)
    return response


def new_project(request: pb.CreateProjectRequest) -> dict[str, Any]:
    """The columns of a project that is to be created."""
    # Every project is active at first.
    return {**read_new(request, "project", COLUMNS), "status": "active"}


def query(request: pb.ListProjectsRequest, pager: Pager) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = {
        "statuses": [FROM_STATUS[status] for status in request.statuses] or None,
        "name_prefix": request.name_prefix or None,
    }
    return Query(filters, pager.read(request, filters, ORDERS, TIMES))


def transfer(request: pb.TransferProjectRequest) -> dict[str, Any]:
    """Who will own a project, the role that the former owner keeps, and the revision."""
    validate(request)
    return {
        "owner_id": UUID(request.owner_id),
        "former_owner_role": FROM_ROLE.get(request.former_owner_role),
        "revision": request.revision,
    }


# What a client may set and change. Each is read by itself: what is not changed is not looked at.
COLUMNS: dict[str, Callable[[pb.Project], Any]] = {
    "slug": attrgetter("slug"),
    "name": attrgetter("name"),
    "description": partial(optional, name="description"),
    "status": lambda project: FROM_STATUS.get(project.status, "active"),
    "settings": partial(struct, name="settings", path="project.settings", limit=SETTINGS_BYTES),
}
