"""Agents between the wire and the rules."""

from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter
from typing import Any
from uuid import UUID

from agent_service.api_keys import messages as api_keys
from agent_service.api_keys.keys import NewKey
from shared.auth.access import ACTIVE
from shared.database.pool import Record
from shared.messages.agents import TO_STATUS, agent
from shared.resources.batch import build_batch
from shared.resources.building import Row
from shared.resources.pagination import Listing, Pager, Query, instant
from shared.resources.validation import KIB, optional, read_new, struct, validate
from tandem.agent.v1 import agent_service_pb2 as pb

CONFIG_BYTES = 64 * KIB
DEFAULT_TYPE = "generic"
DEFAULT_LEASES = 100
ORDERS = ("created_at", "updated_at", "name")
TIMES = {"created_at": instant, "updated_at": instant}

FROM_STATUS = {status: name for name, status in TO_STATUS.items()}
FROM_ASSIGNEE_TYPE = {pb.ASSIGNEE_TYPE_AGENT: "agent", pb.ASSIGNEE_TYPE_USER: "user"}


def created(found: Row | tuple[Row, tuple[Record, NewKey]]) -> pb.Agent:
    """A new agent, with its first API key if it has one."""
    if not isinstance(found, tuple):
        return agent(found)
    row, key = found
    answer = agent(row)
    answer.api_key.CopyFrom(api_keys.created(key))
    return answer


async def batch(rows: Iterable[Row]) -> pb.BatchGetAgentsResponse:
    """Many rows. Raises Refusal(LIMIT_EXCEEDED) if they are more than clients take."""
    response = pb.BatchGetAgentsResponse()
    await build_batch(rows, agent, response.agents)
    return response


async def listing(found: Listing, pager: Pager) -> pb.ListAgentsResponse:
    """A page of rows."""
    response = pb.ListAgentsResponse(total_size=found.total)
    response.next_page_token = await pager.fit(found, agent, response.agents)
    return response


def access(row: Record, *, can_administer: bool) -> pb.VerifyAgentAccessResponse:
    """What a caller that may see the agent may do with it."""
    can_change = can_administer and row["found_project_status"] == ACTIVE
    return pb.VerifyAgentAccessResponse(can_view=True, can_change=can_change)


def new_agent(request: pb.CreateAgentRequest) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The columns of an agent that is to be created, and of its first API key, if any."""
    values = read_new(request, "agent", COLUMNS, "with_api_key")
    key = None
    if request.HasField("with_api_key"):
        key = api_keys.columns(request.with_api_key, "with_api_key")
    return {"project_id": UUID(request.agent.project_id), **values}, key


def new_status(request: pb.SetAgentStatusRequest) -> str:
    """The status that is asked for."""
    validate(request)
    return FROM_STATUS[request.status]


def assignee(request: pb.ValidateAssigneeRequest) -> tuple[UUID, str]:
    """The assignee: the id, and "agent" or "user"."""
    validate(request)
    return UUID(request.assignee_id), FROM_ASSIGNEE_TYPE[request.assignee_type]


def query(request: pb.ListAgentsRequest, pager: Pager) -> Query:
    """What a list is asked for."""
    validate(request)
    filters = {
        "project_id": UUID(request.project_id) if request.project_id else None,
        "statuses": [FROM_STATUS[status] for status in request.statuses] or None,
        "agent_type": request.agent_type or None,
        "is_active": request.is_active if request.HasField("is_active") else None,
        "capability": [request.capability] if request.capability else None,
        "name_prefix": request.name_prefix or None,
    }
    return Query(filters, pager.read(request, filters, ORDERS, TIMES))


# What a client may set and change. Each is read by itself: what is not changed is not looked at.
COLUMNS: dict[str, Callable[[pb.Agent], Any]] = {
    "name": attrgetter("name"),
    "nickname": partial(optional, name="nickname"),
    "agent_type": lambda agent: agent.agent_type or DEFAULT_TYPE,
    "capabilities": lambda agent: list(agent.capabilities),
    "config": partial(struct, name="config", path="agent.config", limit=CONFIG_BYTES),
    "is_active": lambda agent: agent.is_active if agent.HasField("is_active") else True,
    "max_leases": lambda agent: agent.max_leases or DEFAULT_LEASES,
}
# What no Update changes, but a client may send back.
FIXED: dict[str, Callable[[pb.Agent], Any]] = {
    "project_id": lambda agent: UUID(agent.project_id),
}
