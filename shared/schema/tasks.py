"""Tasks, and the dependencies between them."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.schema.base import (
    clock,
    clocks,
    created_by_agent,
    id_column,
    json_list,
    metadata,
    one_of,
    revision_column,
    same_project,
)

TASK_STATUSES = (
    "pending",
    "in_progress",
    "review",
    "blocked",
    "completed",
    "failed",
    "cancelled",
)
TASK_PRIORITIES = ("low", "medium", "high", "critical")
# What is found first in it is ordered first; a task without a priority comes behind.
PRIORITIES_IN_ORDER = "critical high medium low"
WITHOUT_PRIORITY = len(PRIORITIES_IN_ORDER) + 1

FK_TASKS_PROJECT = "fk_tasks_project_id"
FK_TASKS_ROOM = "fk_tasks_room_id"
FK_TASKS_ASSIGNED_AGENT = "fk_tasks_assigned_agent_id"
FK_TASKS_ASSIGNED_USER = "fk_tasks_assigned_user_id"
FK_TASKS_CREATED_BY = "fk_tasks_created_by"
FK_TASKS_CREATED_BY_AGENT = "fk_tasks_created_by_agent_id"
PK_TASK_DEPENDENCIES = "pk_task_dependencies"
FK_TASK_DEPENDENCIES_TASK = "fk_task_dependencies_task_id"
# Deferred: checked at COMMIT, or at `SET CONSTRAINTS … IMMEDIATE` if a rule needs to know before.
FK_TASK_DEPENDENCIES_DEPENDS_ON = "fk_task_dependencies_depends_on_id"
CK_TASK_DEPENDENCIES_NOT_SELF = "ck_task_dependencies_not_self"


def _if_set(name: str, column: str, *columns: str) -> Index:
    """An index of the rows in which `column` is not NULL."""
    return Index(name, *columns, postgresql_where=text(f"{column} IS NOT NULL"))


tasks = Table(
    "tasks",
    metadata,
    id_column(),
    Column(
        "project_id",
        Uuid,
        ForeignKey("projects.id", name=FK_TASKS_PROJECT, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("room_id", Uuid),
    Column("title", String(500), nullable=False),
    Column("description", Text),
    Column("status", String(50), nullable=False, server_default="pending"),
    Column("priority", String(50)),
    # An assignee is one of two foreign keys, so that no deletion leaves a dangling reference ...
    Column("assigned_agent_id", Uuid),
    Column(
        "assigned_user_id",
        Uuid,
        ForeignKey("users.id", name=FK_TASKS_ASSIGNED_USER, ondelete="SET NULL"),
    ),
    # ... and is read from two generated columns, which are never written.
    Column(
        "assigned_to",
        Uuid,
        Computed("COALESCE(assigned_agent_id, assigned_user_id)", persisted=True),
    ),
    Column(
        "assigned_to_type",
        String(50),
        Computed(
            "CASE WHEN assigned_agent_id IS NOT NULL THEN 'agent'"
            " WHEN assigned_user_id IS NOT NULL THEN 'user' END",
            persisted=True,
        ),
    ),
    Column(
        "created_by", Uuid, ForeignKey("users.id", name=FK_TASKS_CREATED_BY, ondelete="SET NULL")
    ),
    *created_by_agent("tasks"),
    # For readers. Rules use task_dependencies, which is written in the same transaction.
    json_list("dependencies"),
    Column("started_at", DateTime(timezone=True)),
    Column("completed_at", DateTime(timezone=True)),
    Column("due_date", DateTime(timezone=True)),
    Column("result", JSONB),
    *clocks(),
    revision_column(),
    one_of("status", TASK_STATUSES),
    one_of("priority", TASK_PRIORITIES),
    CheckConstraint("num_nonnulls(assigned_agent_id, assigned_user_id) <= 1", name="one_assignee"),
    same_project("room_id", "chat_rooms", name=FK_TASKS_ROOM, ondelete="SET NULL (room_id)"),
    same_project(
        "assigned_agent_id",
        "agents",
        name=FK_TASKS_ASSIGNED_AGENT,
        ondelete="SET NULL (assigned_agent_id)",
    ),
    UniqueConstraint("project_id", "id"),
    Index("idx_tasks_project_id", "project_id", "created_at", "id"),
    Index("idx_tasks_status", "project_id", "status", "created_at", "id"),
    Index("idx_tasks_created_by", "created_by"),
    Index("idx_tasks_updated_at", "project_id", "updated_at", "id"),
    Index("idx_tasks_due_date", "project_id", "status", "due_date", "id"),
    # Most tasks lack some of these, and such a task costs no entry in an index.
    _if_set("idx_tasks_room_id", "room_id", "project_id", "room_id", "created_at", "id"),
    _if_set("idx_tasks_assigned_to", "assigned_to", "assigned_to", "status", "created_at", "id"),
    _if_set("idx_tasks_assigned_agent_id", "assigned_agent_id", "project_id", "assigned_agent_id"),
    _if_set("idx_tasks_assigned_user_id", "assigned_user_id", "assigned_user_id", "project_id"),
    # For superusers, whose lists are of all projects.
    Index("idx_tasks_all_created_at", "status", "created_at", "id"),
    Index("idx_tasks_all_updated_at", "updated_at", "id"),
    Index("idx_tasks_all_due_date", "status", "due_date", "id"),
)

# What tasks are ordered by if that is their priority.
urgency = func.coalesce(func.strpos(PRIORITIES_IN_ORDER, tasks.c.priority), WITHOUT_PRIORITY)
Index("idx_tasks_priority", tasks.c.project_id, tasks.c.status, urgency, tasks.c.id)
Index("idx_tasks_all_priority", tasks.c.status, urgency, tasks.c.id)

task_dependencies = Table(
    "task_dependencies",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("task_id", Uuid, nullable=False),
    Column("depends_on_id", Uuid, nullable=False),
    clock("created_at"),
    PrimaryKeyConstraint("project_id", "task_id", "depends_on_id", name=PK_TASK_DEPENDENCIES),
    CheckConstraint("task_id <> depends_on_id", name="not_self"),
    same_project("task_id", "tasks", name=FK_TASK_DEPENDENCIES_TASK, ondelete="CASCADE"),
    same_project("depends_on_id", "tasks", name=FK_TASK_DEPENDENCIES_DEPENDS_ON, ondelete=None),
    Index("idx_task_dependencies_depends_on_id", "project_id", "depends_on_id"),
)
