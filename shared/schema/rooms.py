"""Chat rooms and their participants, which are agents or users."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
)

from shared.schema.base import (
    clock,
    clocks,
    created_by_agent,
    id_column,
    metadata,
    revision_column,
    same_project,
)

FK_CHAT_ROOMS_PROJECT = "fk_chat_rooms_project_id"
FK_CHAT_ROOMS_CREATED_BY = "fk_chat_rooms_created_by"
FK_CHAT_ROOMS_CREATED_BY_AGENT = "fk_chat_rooms_created_by_agent_id"
FK_CHAT_PARTICIPANTS_ROOM = "fk_chat_participants_room_id"
FK_CHAT_PARTICIPANTS_AGENT = "fk_chat_participants_agent_id"
FK_CHAT_PARTICIPANTS_USER = "fk_chat_participants_user_id"
UQ_CHAT_PARTICIPANTS_AGENT = "uq_chat_participants_room_id_agent_id"
UQ_CHAT_PARTICIPANTS_USER = "uq_chat_participants_room_id_user_id"

chat_rooms = Table(
    "chat_rooms",
    metadata,
    id_column(),
    Column(
        "project_id",
        Uuid,
        ForeignKey("projects.id", name=FK_CHAT_ROOMS_PROJECT, ondelete="CASCADE"),
        nullable=False,
    ),
    Column("name", String(255), nullable=False),
    Column("description", Text),
    Column(
        "created_by",
        Uuid,
        ForeignKey("users.id", name=FK_CHAT_ROOMS_CREATED_BY, ondelete="SET NULL"),
    ),
    *created_by_agent("chat_rooms"),
    *clocks(),
    revision_column(),
    UniqueConstraint("project_id", "id"),
    Index("idx_chat_rooms_project_id", "project_id", "created_at", "id"),
    Index("idx_chat_rooms_updated_at", "project_id", "updated_at", "id"),
    Index("idx_chat_rooms_name", "project_id", "name", "id"),
    Index("idx_chat_rooms_created_by", "created_by"),
    # For superusers, whose lists are of all projects.
    Index("idx_chat_rooms_all_created_at", "created_at", "id"),
    Index("idx_chat_rooms_all_updated_at", "updated_at", "id"),
    Index("idx_chat_rooms_all_name", "name", "id"),
)

chat_participants = Table(
    "chat_participants",
    metadata,
    id_column(),
    # A copy of the room's project, so that foreign keys restrict room and agent to one project.
    Column("project_id", Uuid, nullable=False),
    Column("room_id", Uuid, nullable=False),
    Column("agent_id", Uuid),
    Column(
        "user_id",
        Uuid,
        ForeignKey("users.id", name=FK_CHAT_PARTICIPANTS_USER, ondelete="CASCADE"),
    ),
    clock("joined_at"),
    *clocks(),
    CheckConstraint("num_nonnulls(agent_id, user_id) = 1", name="agent_or_user"),
    same_project("room_id", "chat_rooms", name=FK_CHAT_PARTICIPANTS_ROOM, ondelete="CASCADE"),
    same_project("agent_id", "agents", name=FK_CHAT_PARTICIPANTS_AGENT, ondelete="CASCADE"),
    UniqueConstraint("room_id", "agent_id", name=UQ_CHAT_PARTICIPANTS_AGENT),
    UniqueConstraint("room_id", "user_id", name=UQ_CHAT_PARTICIPANTS_USER),
    Index("idx_chat_participants_room_id", "room_id", "joined_at", "id"),
    Index("idx_chat_participants_agent_id", "project_id", "agent_id"),
    Index("idx_chat_participants_user_id", "user_id"),
)
