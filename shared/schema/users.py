"""Users, and who they are to other issuers of tokens."""

from sqlalchemy import (
    Boolean,
    Column,
    ForeignKey,
    Index,
    PrimaryKeyConstraint,
    String,
    Table,
    Uuid,
    false,
    func,
    text,
    true,
)

from shared.schema.base import clock, clocks, id_column, metadata, revision_column

UQ_USERS_USERNAME = "uq_users_username"
UQ_USERS_EMAIL = "uq_users_email"
PK_USER_IDENTITIES = "pk_user_identities"
FK_USER_IDENTITIES_USER = "fk_user_identities_user_id"

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
    revision_column(),
    Index("idx_users_created_at", "created_at", "id"),
    Index("idx_users_username", "username", "id"),
    Index("idx_users_superusers", "id", postgresql_where=text("is_active AND is_superuser")),
)
# Unique without regard to case.
Index(UQ_USERS_USERNAME, func.lower(users.c.username), unique=True)
Index(UQ_USERS_EMAIL, func.lower(users.c.email), unique=True)

user_identities = Table(
    "user_identities",
    metadata,
    # The claims `iss` and `sub` of a token.
    Column("issuer", String(255), nullable=False),
    Column("subject", String(255), nullable=False),
    Column(
        "user_id",
        Uuid,
        ForeignKey("users.id", name=FK_USER_IDENTITIES_USER, ondelete="CASCADE"),
        nullable=False,
    ),
    clock("created_at"),
    PrimaryKeyConstraint("issuer", "subject", name=PK_USER_IDENTITIES),
    Index("idx_user_identities_user_id", "user_id"),
)
