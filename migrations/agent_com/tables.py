"""The tables of agent_com: how they are recognized, and which of them move aside.

Its table of revisions does not tell whose it is: the two histories have revisions of the same name.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, text

from migrations.adopt.difference import Difference
from migrations.adopt.structure import describe
from migrations.inspect.catalog import HERE, Catalog, Column, Table

AGENT_COM = "agent_com"
# The schema to which its tables move.
BEFORE = "agent_com_before"

_UUID = Column("uuid")
_SOME_UUID = Column("uuid", null=True)
_TIME = Column("timestamp with time zone")
_SOME_TIME = Column("timestamp with time zone", null=True)
_BOOLEAN = Column("boolean")
_TEXT = Column("text")
_SOME_TEXT = Column("text", null=True)
_JSON = Column("json")
_SOME_JSON = Column("json", null=True)
_CLOCKS = {"created_at": _TIME, "updated_at": _TIME}


def _varchar(length: int, *, null: bool = False) -> Column:
    return Column(f"character varying({length})", null)


# The columns that are read; referenced tables come first.
COLUMNS = {
    "users": {
        "id": _UUID,
        "username": _varchar(100),
        "email": _varchar(255),
        "full_name": _varchar(255, null=True),
        "role": _TEXT,
        "is_active": _BOOLEAN,
        "is_superuser": _BOOLEAN,
        "password_hash": _SOME_TEXT,
        "permissions": _SOME_TEXT,
        **_CLOCKS,
    },
    "projects": {
        "id": _UUID,
        "owner_id": _UUID,
        "project_id": _varchar(100),
        "name": _varchar(255),
        "description": _SOME_TEXT,
        "status": _varchar(50),
        "allow_cross_project": _BOOLEAN,
        "settings": _SOME_JSON,
        **_CLOCKS,
    },
    "chat_rooms": {
        "id": _UUID,
        "project_id": _UUID,
        "name": _varchar(255),
        "description": _SOME_TEXT,
        "created_by": _SOME_UUID,
        **_CLOCKS,
    },
    "agents": {
        "id": _UUID,
        "project_id": _UUID,
        "name": _varchar(255),
        "nickname": _varchar(255, null=True),
        "agent_type": _varchar(100),
        "status": _varchar(50),
        "capabilities": _JSON,
        "config": _SOME_JSON,
        "is_active": _BOOLEAN,
        **_CLOCKS,
    },
    "chat_participants": {
        "id": _UUID,
        "room_id": _UUID,
        "agent_id": _SOME_UUID,
        "user_id": _SOME_UUID,
        "joined_at": _TIME,
        **_CLOCKS,
    },
    "agent_api_keys": {
        "id": _UUID,
        "project_id": _UUID,
        "agent_id": _UUID,
        "key_id": _varchar(100),
        "api_key_hash": _varchar(255),
        "key_prefix": _varchar(50),
        "capabilities": _JSON,
        "status": _varchar(50),
        "expires_at": _SOME_TIME,
        "last_used_at": _SOME_TIME,
        "created_by_type": _varchar(50),
        "created_by_id": _SOME_UUID,
        **_CLOCKS,
    },
    "tasks": {
        "id": _UUID,
        "project_id": _UUID,
        "room_id": _SOME_UUID,
        "title": _varchar(500),
        "description": _SOME_TEXT,
        "status": _varchar(50),
        "priority": _varchar(50, null=True),
        "assigned_to": _SOME_UUID,
        "assigned_to_type": _varchar(50, null=True),
        "user_assigned_to": _SOME_UUID,
        "agent_assigned_to": _SOME_UUID,
        "created_by": _SOME_UUID,
        "dependencies": _JSON,
        "started_at": _SOME_TIME,
        "completed_at": _SOME_TIME,
        "due_date": _SOME_TIME,
        "result": _SOME_JSON,
        **_CLOCKS,
    },
}

# Its migration that creates these may never have run.
OPTIONAL_TABLES = {"agents", "tasks"}
# Not every version has these; if one is missing, it is NULL in every row.
OPTIONAL_COLUMNS = {
    ("users", "password_hash"),
    ("users", "permissions"),
    ("agent_api_keys", "last_used_at"),
    ("tasks", "user_assigned_to"),
    ("tasks", "agent_assigned_to"),
}

_RECOGNIZED = f"""
SELECT count(*) = 3 FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = {HERE} AND attnum > 0 AND NOT attisdropped
  AND (relname, attname) IN (
      ('users', 'role'), ('projects', 'project_id'), ('projects', 'allow_cross_project'))
"""  # noqa: S608

# Its tables, and those that refer to them, directly or not.
_MOVING = f"""
WITH RECURSIVE moving AS (
    SELECT oid FROM pg_class
    WHERE relnamespace = {HERE} AND relkind IN ('r', 'p') AND relname = ANY(:names)
    UNION
    SELECT conrelid FROM moving
    JOIN pg_constraint ON confrelid = moving.oid JOIN pg_class ON pg_class.oid = conrelid
    WHERE relnamespace = {HERE}
)
SELECT relname FROM moving JOIN pg_class USING (oid) ORDER BY relname
"""  # noqa: S608

_VARCHAR = "character varying("


def is_agent_com(connection: Connection) -> bool:
    """Whether the current schema has the tables of agent_com."""
    return bool(connection.scalar(text(_RECOGNIZED)))


def moving_tables(connection: Connection) -> list[str]:
    """The names of the tables that move to the schema `agent_com_before`."""
    names = [*COLUMNS, "audit_logs", "alembic_version"]
    return list(connection.scalars(text(_MOVING), {"names": names}).all())


def compare_tables(catalog: Catalog) -> list[Difference]:
    """What prevents the rows of the tables in the catalog from being copied."""
    missing = [
        Difference(name, "", "a table", "none")
        for name in COLUMNS.keys() - OPTIONAL_TABLES - catalog.tables.keys()
    ]
    return [*sorted(missing, key=str), *_tables(catalog.tables.values()), *_columns(catalog)]


def _tables(tables: Iterable[Table]) -> Iterator[Difference]:
    for table in tables:
        if table.kind != "r":
            yield Difference(table.name, "", "a table", describe(table))
        elif not table.owned:
            yield Difference(table.name, "", "the current role as owner", "another owner")
        elif table.secured:
            yield Difference(table.name, "", "all rows visible", "row-level security")


def _columns(catalog: Catalog) -> Iterator[Difference]:
    for table in COLUMNS.keys() & catalog.tables.keys():
        for name, expected in COLUMNS[table].items():
            found = catalog.columns[table].get(name)
            if found is None and (table, name) not in OPTIONAL_COLUMNS:
                yield Difference(table, name, _written(expected), "none")
            elif found is not None and not _fits(found, expected):
                yield Difference(table, name, _written(expected), _written(found))


def _fits(found: Column, expected: Column) -> bool:
    """Whether Tandem's column can store every value of the one that was found."""
    if found.null and not expected.null:
        return False
    if expected.type == "json":
        return found.type in ("json", "jsonb")
    if expected.type == "text":
        return found.type == "text" or found.type.startswith("character varying")
    if expected.type.startswith(_VARCHAR) and found.type.startswith(_VARCHAR):
        return _length(found) <= _length(expected)
    return found.type == expected.type


def _length(column: Column) -> int:
    return int(column.type.removeprefix(_VARCHAR).rstrip(")"))


def _written(column: Column) -> str:
    return f"{column.type}{'' if column.null else ' NOT NULL'}"
