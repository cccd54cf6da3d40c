"""Every statement on agents."""

from functools import lru_cache

import orjson
from sqlalchemy import (
    ARRAY,
    String,
    Uuid,
    any_,
    bindparam,
    delete,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from agent_service.queries import clear
from shared.database.statement import Statement
from shared.errors import Reason
from shared.resources.listing import Lister
from shared.resources.project_scoped import Owned, new_values
from shared.schema import agents, projects, tasks, users

# Of rows with up to 64 KiB each.
PORTION = 251

AGENTS = Owned(agents, Reason.AGENT_NOT_FOUND, agents.c.id)

# The agents with these ids, and whose they are.
GET_MANY = Statement(
    select(*agents.c, projects.c.owner_id)
    .select_from(AGENTS.with_project)
    .where(agents.c.id == any_(bindparam("ids", type_=ARRAY(Uuid))))
)

# Creates an agent.
CREATE = AGENTS.insert(
    (
        "id",
        "project_id",
        "name",
        "nickname",
        "agent_type",
        "capabilities",
        "config",
        "is_active",
    )
)


@lru_cache(maxsize=128)
def update_fields(names: frozenset[str]) -> Statement:
    """Changes these columns."""
    return AGENTS.update(new_values(agents, sorted(names)))


# Moves the status from one of `sources`.
SET_STATUS = AGENTS.update(
    new_values(agents, ["status"]),
    or_(
        agents.c.status == any_(bindparam("sources", type_=ARRAY(String))),
        agents.c.status == bindparam("new_status"),
    ),
)

# Takes an agent off its tasks.
UNASSIGN = clear(tasks.c.assigned_agent_id, "of_agent")

# Deletes an agent; its API keys and participants go with it by their foreign keys.
DELETE = Statement(delete(agents).where(agents.c.id == bindparam("id")))

# Whether an agent can be assigned a task of a project: the project, and the agent with that id.
AGENT_ASSIGNEE = Statement(
    select(projects.c.owner_id, agents.c.project_id, agents.c.is_active)
    .select_from(projects.outerjoin(agents, agents.c.id == bindparam("assignee_id")))
    .where(projects.c.id == bindparam("id"))
)

# The same for a user, who is of no project.
USER_ASSIGNEE = Statement(
    select(projects.c.owner_id, projects.c.id.label("project_id"), users.c.is_active)
    .select_from(projects.outerjoin(users, users.c.id == bindparam("assignee_id")))
    .where(projects.c.id == bindparam("id"))
)

LIST = Lister(
    select(*agents.c).select_from(AGENTS.with_project),
    agents.c.id,
    filters={
        "project_id": agents.c.project_id == bindparam("project_id"),
        "statuses": agents.c.status == any_(bindparam("statuses", type_=ARRAY(String))),
        "agent_type": agents.c.agent_type == bindparam("agent_type"),
        "is_active": agents.c.is_active == bindparam("is_active"),
        "capability": agents.c.capabilities.op("@>")(bindparam("capability", type_=JSONB)),
        "name_prefix": func.starts_with(agents.c.name, bindparam("name_prefix", type_=String)),
    },
    orders={
        "created_at": agents.c.created_at,
        "updated_at": agents.c.updated_at,
        "name": agents.c.name,
    },
    weight=lambda row: len(orjson.dumps(row["config"])),
    portion=PORTION,
)
