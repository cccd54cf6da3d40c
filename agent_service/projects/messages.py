"""Projects between the wire and the rules."""

from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from shared.errors import invalid_field
from shared.events.retention import SETTING
from shared.messages.projects import TO_STATUS, project
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import KIB, optional, read_new, struct, validate
from shared.settings import MAXIMUM_EVENT_RETENTION_DAYS
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


def _settings(of: pb.Project) -> dict[str, Any] | None:
    settings = struct(of, "settings", "project.settings", SETTINGS_BYTES)
    if settings and SETTING in settings and not _is_days(settings[SETTING]):
        rule = f"must be a whole number from 1 to {MAXIMUM_EVENT_RETENTION_DAYS}"
        raise invalid_field(f"project.settings.{SETTING}", rule)
    return settings


def _is_days(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and 1 <= value <= MAXIMUM_EVENT_RETENTION_DAYS and value == int(value)


# What a client may set and change. Each is read by itself: what is not changed is not looked at.
COLUMNS: dict[str, Callable[[pb.Project], Any]] = {
    "slug": attrgetter("slug"),
    "name": attrgetter("name"),
    "description": partial(optional, name="description"),
    "status": lambda project: FROM_STATUS.get(project.status, "active"),
    "settings": _settings,
}
