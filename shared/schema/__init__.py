"""The tables of Tandem, and the names of the constraints that the code handles.

A row can refer only to rows of its own project: foreign keys are composite, (project_id, x) →
(project_id, id). Queries are built from these tables. Migrations never import them.
"""

from shared.schema.agents import (
    AGENT_STATUSES,
    API_KEY_SCOPES,
    API_KEY_STATUSES,
    CREATOR_TYPES,
    FK_AGENT_API_KEYS_AGENT,
    FK_AGENT_API_KEYS_CREATED_BY,
    FK_AGENT_API_KEYS_PROJECT,
    FK_AGENTS_PROJECT,
    UQ_AGENT_API_KEYS_HASH,
    UQ_AGENT_API_KEYS_KEY_ID,
    UQ_AGENT_PROJECT_NAME,
    agent_api_keys,
    agents,
)
from shared.schema.base import (
    metadata,
)
from shared.schema.events import (
    ACTOR_TYPES,
    PK_EVENT_HEADS,
    PK_EVENTS,
    event_heads,
    events,
)
from shared.schema.leases import (
    ATTEMPT_OUTCOMES,
    FK_TASK_LEASES_AGENT,
    FK_TASK_LEASES_TASK,
    INPUT_KINDS,
    PK_TASK_INPUTS,
    UQ_TASK_LEASES_LOCK_KEY,
    agent_presence,
    task_attempts,
    task_inputs,
    task_leases,
)
from shared.schema.members import (
    FK_PROJECT_MEMBERS_PROJECT,
    FK_PROJECT_MEMBERS_USER,
    MEMBER_ROLES,
    UQ_PROJECT_MEMBERS_USER,
    project_members,
)
from shared.schema.projects import (
    FK_PROJECTS_OWNER,
    PROJECT_STATUSES,
    UQ_PROJECTS_SLUG,
    projects,
)
from shared.schema.requests import (
    PK_REQUEST_IDS,
    request_ids,
)
from shared.schema.revision import (
    REVISION,
)
from shared.schema.rooms import (
    FK_CHAT_PARTICIPANTS_AGENT,
    FK_CHAT_PARTICIPANTS_ROOM,
    FK_CHAT_PARTICIPANTS_USER,
    FK_CHAT_ROOMS_CREATED_BY,
    FK_CHAT_ROOMS_CREATED_BY_AGENT,
    FK_CHAT_ROOMS_PROJECT,
    UQ_CHAT_PARTICIPANTS_AGENT,
    UQ_CHAT_PARTICIPANTS_USER,
    chat_participants,
    chat_rooms,
)
from shared.schema.tasks import (
    CK_TASK_DEPENDENCIES_NOT_SELF,
    DEPENDENCY_POLICIES,
    FK_TASK_DEPENDENCIES_DEPENDS_ON,
    FK_TASK_DEPENDENCIES_TASK,
    FK_TASKS_ASSIGNED_AGENT,
    FK_TASKS_ASSIGNED_USER,
    FK_TASKS_CREATED_BY,
    FK_TASKS_CREATED_BY_AGENT,
    FK_TASKS_PARENT,
    FK_TASKS_PROJECT,
    FK_TASKS_ROOM,
    ON_DEPENDENCY_FAILURE,
    PK_TASK_DEPENDENCIES,
    PRIORITIES_IN_ORDER,
    TASK_PRIORITIES,
    TASK_STATUS_REASONS,
    TASK_STATUSES,
    WITHOUT_PRIORITY,
    task_dependencies,
    tasks,
    urgency,
)
from shared.schema.users import (
    FK_USER_IDENTITIES_USER,
    PK_USER_IDENTITIES,
    UQ_USERS_EMAIL,
    UQ_USERS_USERNAME,
    user_identities,
    users,
)
