"""Tasks, and the dependencies between them."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    false,
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
TASK_STATUS_REASONS = (
    "dependencies",
    "dependency_failed",
    "input",
    "auth",
    "external",
    "attempts_exhausted",
    "not_retryable",
    "cancel_requested",
    "attempt_failed",
    "lease_expired",
)
DEPENDENCY_POLICIES = ("strict", "wait")
ON_DEPENDENCY_FAILURE = ("keep_blocked", "cancel", "fail", "ignore")
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
FK_TASKS_PARENT = "fk_tasks_parent_id"
PK_TASK_DEPENDENCIES = "pk_task_dependencies"
FK_TASK_DEPENDENCIES_TASK = "fk_task_dependencies_task_id"
# Deferred: checked at COMMIT, or at `SET CONSTRAINTS … IMMEDIATE` if a rule needs to know before.
FK_TASK_DEPENDENCIES_DEPENDS_ON = "fk_task_dependencies_depends_on_id"
CK_TASK_DEPENDENCIES_NOT_SELF = "ck_task_dependencies_not_self"


def _if_set(name: str, column: str, *columns: str) -> Index:
    """An index of the rows in which `column` is not NULL."""
    return Index(name, *columns, postgresql_where=text(f"{column} IS NOT NULL"))


def _count(name: str, default: int = 0) -> Column[int]:
    return Column(name, SmallInteger, nullable=False, server_default=text(str(default)))


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
    # What an agent must be able to do, in order, separated by ",".
    Column(
        "required_capabilities",
        String(1000, collation="C"),
        nullable=False,
        server_default=text("''"),
    ),
    Column(
        "rank",
        SmallInteger,
        Computed(
            "CASE priority WHEN 'critical' THEN 1 WHEN 'high' THEN 2 WHEN 'low' THEN 4 ELSE 3 END",
            persisted=True,
        ),
        nullable=False,
    ),
    # The list in which it waits to be claimed: "@" and its agent, or "=" and what it requires. All
    # lists that agents share are between "=" and ">".
    Column(
        "lane",
        Text(collation="C"),
        Computed(
            "CASE WHEN assigned_agent_id IS NOT NULL THEN '@' || assigned_agent_id::text"
            " WHEN assigned_user_id IS NOT NULL THEN '@user'"
            " ELSE '=' || required_capabilities END",
            persisted=True,
        ),
        nullable=False,
    ),
    clock("ready_at"),
    _count("max_attempts", 3),
    # Attempts that count, and how often one did not because the task was given back.
    _count("attempt"),
    _count("releases"),
    # Of the latest lease: incremented by each claim.
    Column("fence", BigInteger, nullable=False, server_default=text("0")),
    # Whether task_leases has a row for it. A statement that waits for the row of the task sees here
    # what became of it meanwhile, and of another table it does not.
    Column("leased", Boolean, nullable=False, server_default=false()),
    Column("lock_key", String(200)),
    Column("status_reason", String(50)),
    Column("status_message", String(4096)),
    Column("cancel_requested_at", DateTime(timezone=True)),
    Column("cancel_deadline", DateTime(timezone=True)),
    # Until then only the agent that it is assigned to can claim it, and then any other.
    Column("preferred_until", DateTime(timezone=True)),
    Column("dependency_policy", String(50), nullable=False, server_default="strict"),
    Column("on_dependency_failure", String(50), nullable=False, server_default="keep_blocked"),
    Column("parent_id", Uuid),
    # With the policy "wait": how many edges lead to tasks that are not completed; or, if failures
    # are ignored, that have not ended.
    Column("open_dependencies", Integer, nullable=False, server_default=text("0")),
    # Whether a task with the policy "wait" has ever depended on it.
    Column("has_dependents", Boolean, nullable=False, server_default=false()),
    Column("estimate", Double),
    *clocks(),
    revision_column(),
    one_of("status", TASK_STATUSES),
    one_of("priority", TASK_PRIORITIES),
    one_of("status_reason", TASK_STATUS_REASONS),
    one_of("dependency_policy", DEPENDENCY_POLICIES),
    one_of("on_dependency_failure", ON_DEPENDENCY_FAILURE),
    CheckConstraint(
        "NOT leased OR status = 'in_progress' AND assigned_agent_id IS NOT NULL", name="leased"
    ),
    CheckConstraint("open_dependencies >= 0", name="open_dependencies"),
    CheckConstraint("num_nonnulls(assigned_agent_id, assigned_user_id) <= 1", name="one_assignee"),
    same_project("room_id", "chat_rooms", name=FK_TASKS_ROOM, ondelete="SET NULL (room_id)"),
    same_project(
        "assigned_agent_id",
        "agents",
        name=FK_TASKS_ASSIGNED_AGENT,
        ondelete="SET NULL (assigned_agent_id)",
    ),
    same_project("parent_id", "tasks", name=FK_TASKS_PARENT, ondelete="SET NULL (parent_id)"),
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
    _if_set("idx_tasks_parent_id", "parent_id", "project_id", "parent_id", "created_at", "id"),
    _if_set("idx_tasks_cancel_deadline", "cancel_deadline", "cancel_deadline"),
    _if_set("idx_tasks_preferred_until", "preferred_until", "preferred_until"),
    Index(
        "idx_tasks_ready",
        "project_id",
        "lane",
        "rank",
        "ready_at",
        "id",
        postgresql_where=text("status = 'pending'"),
    ),
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
