"""Projects. Agents, keys, rooms and tasks belong to one, and are deleted with it."""

from sqlalchemy import Column, ForeignKey, Index, String, Table, Text, UniqueConstraint, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from shared.schema.base import clocks, id_column, metadata, one_of, revision_column

PROJECT_STATUSES = ("active", "suspended", "archived")

UQ_PROJECTS_SLUG = "uq_projects_slug"
FK_PROJECTS_OWNER = "fk_projects_owner_id"

projects = Table(
    "projects",
    metadata,
    id_column(),
    Column(
        "owner_id",
        Uuid,
        ForeignKey("users.id", name=FK_PROJECTS_OWNER, ondelete="RESTRICT"),
        nullable=False,
    ),
    Column("slug", String(100), nullable=False),
    Column("name", String(255), nullable=False),
    Column("description", Text),
    Column("status", String(50), nullable=False, server_default="active"),
    Column("settings", JSONB),
    *clocks(),
    revision_column(),
    one_of("status", PROJECT_STATUSES),
    UniqueConstraint("slug", name=UQ_PROJECTS_SLUG),
    Index("idx_projects_owner_id", "owner_id", "created_at", "id"),
    Index("idx_projects_status", "owner_id", "status", "created_at", "id"),
    Index("idx_projects_updated_at", "owner_id", "updated_at", "id"),
    Index("idx_projects_name", "owner_id", "name", "id"),
    # For superusers, whose lists are of all projects.
    Index("idx_projects_all_created_at", "status", "created_at", "id"),
    Index("idx_projects_all_updated_at", "updated_at", "id"),
    Index("idx_projects_all_name", "name", "id"),
)
