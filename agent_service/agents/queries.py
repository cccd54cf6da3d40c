"""Every statement on agents."""

from sqlalchemy import (
    ARRAY,
    String,
    Uuid,
    and_,
    any_,
    bindparam,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from agent_service.queries import STOPPED, UNDER_WAY, change_tasks, unassign_tasks
from shared.auth.access import RIGHTS
from shared.auth.permissions import Permission
from shared.database.statement import Statement
from shared.errors import Reason
from shared.resources.batch import BatchGet
from shared.resources.listing import Lister
from shared.resources.membership import is_of_project
from shared.resources.ordering import by, by_unique
from shared.resources.project_scoped import PROJECTS, ProjectScopedTable, new_values
from shared.schema import AGENT_STATUSES, agents, projects, tasks, users

# Of rows with up to 64 KiB each.
BATCH_SIZE = 251

AGENTS = ProjectScopedTable(
    agents,
    Reason.AGENT_NOT_FOUND,
    Permission.READ_AGENTS,
    Permission.ADMINISTER,
    own=agents.c.id == RIGHTS["caller_agent_id"],
)

GET_MANY = BatchGet(AGENTS)

SET_STATUS = AGENTS.changing(
    "Moves the status of an agent from one of `sources`, or leaves it as it is.",
    new_values(agents, ["status"]),
    or_(
        agents.c.status == any_(bindparam("sources", type_=ARRAY(String))),
        agents.c.status == bindparam("new_status"),
    ),
    event="agent.status_changed",
    permission=Permission.SET_AGENT_STATUS,
)

DETACH_TASKS = unassign_tasks(
    "Unassigns the tasks of an agent; those that it was working on are pending again.",
    tasks.c.assigned_agent_id,
)

STOP_TASKS = change_tasks(
    "Makes the tasks pending again that an agent was working on, or lets them wait for what they "
    "depend on. They stay assigned to it.",
    lambda left: case((left.c.status == "blocked", "task.blocked"), else_="task.status_changed"),
    tasks.c.assigned_agent_id,
    STOPPED,
    UNDER_WAY,
)

AGENT_ASSIGNEE = Statement(
    "A project, and whether the agent with this id can be assigned a task of it.",
    select(
        *PROJECTS.decisive,
        projects.c.id,
        agents.c.project_id.label("assignee_project_id"),
        agents.c.is_active,
    )
    .select_from(projects.outerjoin(agents, agents.c.id == bindparam("assignee_id")))
    .where(projects.c.id == bindparam("id")),
)

USER_ASSIGNEE = Statement(
    "The same for a user: the owner and members can be assigned; no other user is said to exist.",
    select(
        *PROJECTS.decisive,
        projects.c.id,
        projects.c.id.label("assignee_project_id"),
        users.c.is_active,
    )
    .select_from(
        projects.outerjoin(
            users,
            and_(
                users.c.id == bindparam("assignee_id", type_=Uuid),
                is_of_project(users.c.id, projects.c.id, projects.c.owner_id),
            ),
        )
    )
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
        "name": by_unique(agents.c.name),
    },
    batch_size=BATCH_SIZE,
    project_of={"project_id": bindparam("project_id", type_=Uuid)},
    permission=Permission.READ_PROJECT,
    statuses=AGENT_STATUSES,
)
