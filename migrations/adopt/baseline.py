"""The tables that 002 leaves and 003 builds upon. Frozen, like the migrations themselves.

Tables that another program created are compared with these before they are adopted.
"""

from migrations.inspect.catalog import Column, Constraint

UUID = Column("uuid")
CLOCK = Column("timestamp with time zone", default="now()")
SOME_ID = Column("uuid", null=True)
SOME_TEXT = Column("text", null=True)
SOME_TIME = Column("timestamp with time zone", null=True)


def _text(length: int, default: str | None = None, *, null: bool = False) -> Column:
    quoted = f"'{default}'::character varying" if default else None
    return Column(f"character varying({length})", null, quoted)


CLOCKS = {"created_at": CLOCK, "updated_at": CLOCK}

COLUMNS = {
    "users": {
        "id": UUID,
        "username": _text(100),
        "email": _text(255),
        "full_name": _text(255, null=True),
        "is_active": Column("boolean", default="true"),
        "is_superuser": Column("boolean", default="false"),
        **CLOCKS,
    },
    "projects": {
        "id": UUID,
        "owner_id": UUID,
        "slug": _text(100),
        "name": _text(255),
        "description": SOME_TEXT,
        "status": _text(50, "active"),
        "settings": Column("jsonb", null=True),
        **CLOCKS,
    },
    "chat_rooms": {
        "id": UUID,
        "project_id": UUID,
        "name": _text(255),
        "description": SOME_TEXT,
        "created_by": SOME_ID,
        **CLOCKS,
    },
    "chat_participants": {
        "id": UUID,
        "room_id": UUID,
        "agent_id": SOME_ID,
        "user_id": SOME_ID,
        "joined_at": CLOCK,
        **CLOCKS,
    },
    "agent_api_keys": {
        "id": UUID,
        "project_id": UUID,
        "agent_id": UUID,
        "key_id": _text(100),
        "api_key_hash": _text(255),
        "key_prefix": _text(50),
        "capabilities": Column("jsonb", default="'[]'::jsonb"),
        "status": _text(50, "active"),
        "expires_at": SOME_TIME,
        "last_used_at": SOME_TIME,
        "created_by_type": _text(50, "user"),
        "created_by_id": SOME_ID,
        **CLOCKS,
    },
}


def _unique(table: str, *columns: str) -> Constraint:
    name = f"uq_{table}_{'_'.join(columns)}"
    return Constraint(table, name, "u", f"UNIQUE ({', '.join(columns)})", tuple(sorted(columns)))


def _one_of(table: str, column: str, *values: str) -> Constraint:
    listed = ", ".join(f"'{value}'" for value in values)
    definition = f"CHECK ({column} IN ({listed}))"
    return Constraint(table, f"ck_{table}_{column}", "c", definition, (column,))


def _refers(table: str, column: str, target: str, ondelete: str) -> Constraint:
    definition = f"FOREIGN KEY ({column}) REFERENCES {target}(id) ON DELETE {ondelete}"
    return Constraint(table, f"fk_{table}_{column}", "f", definition, (column,), target)


# What 002 adds to 001.
CREATOR = _refers("agent_api_keys", "created_by_id", "users", "SET NULL")

# Keys come before the foreign keys that refer to them.
CONSTRAINTS = (
    *(Constraint(table, f"pk_{table}", "p", "PRIMARY KEY (id)", ("id",)) for table in COLUMNS),
    _unique("users", "username"),
    _unique("users", "email"),
    _unique("projects", "slug"),
    _unique("chat_participants", "room_id", "agent_id"),
    _unique("chat_participants", "room_id", "user_id"),
    _unique("agent_api_keys", "key_id"),
    _unique("agent_api_keys", "api_key_hash"),
    _one_of("projects", "status", "active", "suspended", "archived"),
    _one_of("agent_api_keys", "status", "active", "revoked", "expired"),
    _one_of("agent_api_keys", "created_by_type", "user", "agent"),
    Constraint(
        "chat_participants",
        "ck_chat_participants_agent_or_user",
        "c",
        "CHECK (num_nonnulls(agent_id, user_id) = 1)",
        ("agent_id", "user_id"),
    ),
    _refers("projects", "owner_id", "users", "RESTRICT"),
    _refers("chat_rooms", "project_id", "projects", "CASCADE"),
    _refers("chat_rooms", "created_by", "users", "SET NULL"),
    _refers("chat_participants", "room_id", "chat_rooms", "CASCADE"),
    _refers("chat_participants", "user_id", "users", "CASCADE"),
    _refers("agent_api_keys", "project_id", "projects", "CASCADE"),
)
