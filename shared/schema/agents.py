"""Agents, and the API keys by which they authenticate."""

from sqlalchemy import (
    ARRAY,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    text,
    true,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.schema.base import (
    clocks,
    each_of,
    id_column,
    json_list,
    metadata,
    one_of,
    revision_column,
    same_project,
)

AGENT_STATUSES = ("offline", "online", "busy", "error")
API_KEY_STATUSES = ("active", "revoked", "expired")
CREATOR_TYPES = ("user", "agent")
API_KEY_SCOPES = ("claim_tasks", "read_project", "create_tasks", "manage_tasks", "manage_rooms")

UQ_AGENT_PROJECT_NAME = "uq_agent_project_name"
FK_AGENTS_PROJECT = "fk_agents_project_id"
UQ_AGENT_API_KEYS_KEY_ID = "uq_agent_api_keys_key_id"
UQ_AGENT_API_KEYS_HASH = "uq_agent_api_keys_api_key_hash"
FK_AGENT_API_KEYS_PROJECT = "fk_agent_api_keys_project_id"
FK_AGENT_API_KEYS_AGENT = "fk_agent_api_keys_agent_id"
FK_AGENT_API_KEYS_CREATED_BY = "fk_agent_api_keys_created_by_id"

agents = Table(
    "agents",
    metadata,
    id_column(),
    Column(
        "project_id",
        Uuid,
        ForeignKey("projects.id", name=FK_AGENTS_PROJECT, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("name", String(255), nullable=False),
    Column("nickname", String(255)),
    Column("agent_type", String(100), nullable=False, server_default="generic"),
    Column("status", String(50), nullable=False, server_default="offline"),
    json_list("capabilities"),
    Column("config", JSONB),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("max_leases", SmallInteger, nullable=False, server_default=text("100")),
    *clocks(),
    revision_column(),
    one_of("status", AGENT_STATUSES),
    CheckConstraint("max_leases BETWEEN 1 AND 1000", name="max_leases"),
    UniqueConstraint("project_id", "name", name=UQ_AGENT_PROJECT_NAME),
    UniqueConstraint("project_id", "id"),
    Index("idx_agents_project_id", "project_id", "created_at", "id"),
    Index("idx_agents_status", "project_id", "status", "created_at", "id"),
    Index("idx_agents_is_active", "project_id", "is_active", "created_at", "id"),
    Index("idx_agents_updated_at", "project_id", "updated_at", "id"),
    # For superusers, whose lists are of all projects.
    Index("idx_agents_all_created_at", "status", "created_at", "id"),
    Index("idx_agents_all_updated_at", "updated_at", "id"),
    Index("idx_agents_all_name", "name", "id"),
)

agent_api_keys = Table(
    "agent_api_keys",
    metadata,
    id_column(),
    Column(
        "project_id",
        Uuid,
        ForeignKey("projects.id", name=FK_AGENT_API_KEYS_PROJECT, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("agent_id", Uuid, nullable=False),
    Column("key_id", String(100), nullable=False),
    Column("api_key_hash", String(255), nullable=False),
    Column("key_prefix", String(50), nullable=False),
    json_list("capabilities"),
    Column("scopes", ARRAY(String(50)), nullable=False, server_default=text("'{}'::varchar(50)[]")),
    Column("status", String(50), nullable=False, server_default="active"),
    Column("expires_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Column("created_by_type", String(50), nullable=False, server_default="user"),
    Column(
        "created_by_id",
        Uuid,
        ForeignKey("users.id", name=FK_AGENT_API_KEYS_CREATED_BY, ondelete="SET NULL"),
    ),
    *clocks(),
    revision_column(),
    one_of("status", API_KEY_STATUSES),
    each_of("scopes", API_KEY_SCOPES),
    one_of("created_by_type", CREATOR_TYPES),
    same_project("agent_id", "agents", name=FK_AGENT_API_KEYS_AGENT, ondelete="CASCADE"),
    UniqueConstraint("key_id", name=UQ_AGENT_API_KEYS_KEY_ID),
    UniqueConstraint("api_key_hash", name=UQ_AGENT_API_KEYS_HASH),
    Index("idx_agent_api_keys_agent_id", "project_id", "agent_id", "created_at", "id"),
    Index("idx_agent_api_keys_created_by_id", "created_by_id"),
)
