"""Users: they own projects, create tasks and are assigned to tasks."""

from sqlalchemy import Boolean, Column, String, Table, UniqueConstraint, false, true

from shared.schema.base import clocks, id_column, metadata

UQ_USERS_USERNAME = "uq_users_username"
UQ_USERS_EMAIL = "uq_users_email"

users = Table(
    "users",
    metadata,
    id_column(),
    Column("username", String(100), nullable=False),
    Column("email", String(255), nullable=False),
    Column("full_name", String(255)),
    Column("is_active", Boolean, nullable=False, server_default=true()),
    Column("is_superuser", Boolean, nullable=False, server_default=false()),
    *clocks(),
    UniqueConstraint("username", name=UQ_USERS_USERNAME),
    UniqueConstraint("email", name=UQ_USERS_EMAIL),
)
