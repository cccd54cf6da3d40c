"""Members of projects, besides the owner."""

from sqlalchemy import Column, ForeignKey, Index, String, Table, UniqueConstraint, Uuid

from shared.schema.base import clocks, id_column, metadata, one_of, revision_column

MEMBER_ROLES = ("viewer", "editor", "admin")

FK_PROJECT_MEMBERS_PROJECT = "fk_project_members_project_id"
FK_PROJECT_MEMBERS_USER = "fk_project_members_user_id"
UQ_PROJECT_MEMBERS_USER = "uq_project_members_project_id_user_id"

project_members = Table(
    "project_members",
    metadata,
    id_column(),
    Column(
        "project_id",
        Uuid,
        ForeignKey("projects.id", name=FK_PROJECT_MEMBERS_PROJECT, ondelete="CASCADE"),
        nullable=False,
    ),
    Column(
        "user_id",
        Uuid,
        ForeignKey("users.id", name=FK_PROJECT_MEMBERS_USER, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("role", String(50), nullable=False),
    *clocks(),
    revision_column(),
    one_of("role", MEMBER_ROLES),
    UniqueConstraint("project_id", "user_id", name=UQ_PROJECT_MEMBERS_USER),
    Index("idx_project_members_project_id", "project_id", "created_at", "id"),
    # For what a user reaches.
    Index("idx_project_members_user_id", "user_id", "project_id"),
)
