"""Every statement on agents."""

from sqlalchemy import ARRAY, String, Uuid, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from agent_service.queries import detach_tasks
from shared.database.statement import Statement
from shared.errors import Reason
from shared.resources.listing import Lister
from shared.resources.ordering import by
from shared.resources.project_scoped import ProjectScopedTable, new_values
from shared.schema import AGENT_STATUSES, agents, projects, tasks, users

# Of rows with up to 64 KiB each.
BATCH_SIZE = 251

AGENTS = ProjectScopedTable(agents, Reason.AGENT_NOT_FOUND, agents.c.id)

GET_MANY = Statement(
    "The agents with these ids, and the owners of their projects.",
    select(*agents.c, projects.c.owner_id)
    .select_from(AGENTS.with_project)
    .where(agents.c.id == any_(bindparam("ids", type_=ARRAY(Uuid)))),
)

SET_STATUS = AGENTS.changing(
    "Moves the status of an agent from one of `sources`, or leaves it as it is.",
    new_values(agents, ["status"]),
    or_(
        agents.c.status == any_(bindparam("sources", type_=ARRAY(String))),
        agents.c.status == bindparam("new_status"),
    ),
)

DETACH_TASKS = detach_tasks("Unassigns the tasks of an agent.", tasks.c.assigned_agent_id)

AGENT_ASSIGNEE = Statement(
    "The owner of a project, and whether the agent with this id can be assigned a task of it.",
    select(projects.c.owner_id, agents.c.project_id, agents.c.is_active)
    .select_from(projects.outerjoin(agents, agents.c.id == bindparam("assignee_id")))
    .where(projects.c.id == bindparam("id")),
)

USER_ASSIGNEE = Statement(
    "The same for a user, who belongs to no project.",
    select(projects.c.owner_id, projects.c.id.label("project_id"), users.c.is_active)
    .select_from(projects.outerjoin(users, users.c.id == bindparam("assignee_id")))
    .where(projects.c.id == bindparam("id")),
)

LIST = Lister(
    agents,
    agents.c,
    filters={
        "project_id": agents.c.project_id == bindparam("project_id"),
        "statuses": agents.c.status == any_(bindparam("statuses", type_=ARRAY(String))),
        "agent_type": agents.c.agent_type == bindparam("agent_type"),
        "is_active": agents.c.is_active == bindparam("is_active"),
        "capability": agents.c.capabilities.op("@>")(bindparam("capability", type_=JSONB)),
        "name_prefix": func.starts_with(agents.c.name, bindparam("name_prefix", type_=String)),
    },
    orders={
        "created_at": by(agents.c.created_at),
        "updated_at": by(agents.c.updated_at),
        "name": by(agents.c.name),
    },
    batch_size=BATCH_SIZE,
    project_of={"project_id": bindparam("project_id", type_=Uuid)},
    statuses=AGENT_STATUSES,
)
