"""Who works on which task: leases, the attempts under them, what was asked for, signs of life."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    Uuid,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.schema.base import clock, metadata, one_of, same_project

ATTEMPT_OUTCOMES = (
    "completed",
    "failed",
    "expired",
    "released",
    "cancelled",
    "split",
    "overridden",
)
INPUT_KINDS = ("input", "auth")

UQ_TASK_LEASES_LOCK_KEY = "uq_task_leases_lock_key"
FK_TASK_LEASES_TASK = "fk_task_leases_task_id"
FK_TASK_LEASES_AGENT = "fk_task_leases_agent_id"
PK_TASK_INPUTS = "pk_task_inputs"

# Narrow, and without an index of what a heartbeat changes: renewing a lease writes no index.
task_leases = Table(
    "task_leases",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("task_id", Uuid, nullable=False),
    Column("agent_id", Uuid, nullable=False),
    Column("fence", BigInteger, nullable=False),
    # Whether the task was assigned to no agent before.
    Column("pooled", Boolean, nullable=False),
    # One of 1 … max_leases of the agent.
    Column("agent_slot", Integer, nullable=False),
    Column("lock_key", String(200)),
    # The API key under which it was claimed or renewed last, if any.
    Column("api_key_id", Uuid),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("seconds", Integer, nullable=False),
    PrimaryKeyConstraint("project_id", "task_id"),
    UniqueConstraint("project_id", "agent_id", "agent_slot", name="uq_task_leases_agent_slot"),
    UniqueConstraint("project_id", "lock_key", name=UQ_TASK_LEASES_LOCK_KEY),
    same_project("task_id", "tasks", name=FK_TASK_LEASES_TASK, ondelete="CASCADE"),
    same_project("agent_id", "agents", name=FK_TASK_LEASES_AGENT, ondelete=None),
    postgresql_with={
        "fillfactor": 50,
        "autovacuum_vacuum_scale_factor": 0.02,
        "autovacuum_vacuum_threshold": 500,
    },
)

task_attempts = Table(
    "task_attempts",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("task_id", Uuid, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("attempt", SmallInteger, nullable=False),
    # Without a foreign key: an attempt outlives its agent.
    Column("agent_id", Uuid, nullable=False),
    clock("started_at"),
    Column("ended_at", DateTime(timezone=True)),
    Column("outcome", String(50)),
    Column("error", JSONB),
    Column("progress", JSONB),
    PrimaryKeyConstraint("project_id", "task_id", "fence"),
    one_of("outcome", ATTEMPT_OUTCOMES),
    same_project("task_id", "tasks", name="fk_task_attempts_task_id", ondelete="CASCADE"),
)

task_inputs = Table(
    "task_inputs",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("task_id", Uuid, nullable=False),
    Column("key", String(100), nullable=False),
    Column("kind", String(50), nullable=False),
    Column("prompt", String(4096), nullable=False),
    Column("schema", JSONB),
    Column("answer", JSONB),
    clock("requested_at"),
    Column("answered_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("project_id", "task_id", "key", name=PK_TASK_INPUTS),
    one_of("kind", INPUT_KINDS),
    same_project("task_id", "tasks", name="fk_task_inputs_task_id", ondelete="CASCADE"),
)

agent_presence = Table(
    "agent_presence",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("agent_id", Uuid, nullable=False),
    clock("last_seen_at"),
    PrimaryKeyConstraint("project_id", "agent_id"),
    same_project("agent_id", "agents", name="fk_agent_presence_agent_id", ondelete="CASCADE"),
    postgresql_with={"fillfactor": 50},
)
