"""The log of each project: its events, numbered without gaps, and its head."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    DateTime,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from shared.schema.base import clock, metadata, one_of

PK_EVENTS = "pk_events"
PK_EVENT_HEADS = "pk_event_heads"
ACTOR_TYPES = ("user", "agent", "system")

# No foreign keys: a log outlives its project. That of what is of no project, which is of users, has
# the nil id.
event_heads = Table(
    "event_heads",
    metadata,
    Column("project_id", Uuid, nullable=False),
    # Another one after a backup was restored: what came after that backup is lost.
    Column("log_id", Uuid, nullable=False),
    # The numbers of the latest event and of the oldest that is still there.
    Column("last", BigInteger, nullable=False, server_default=text("0")),
    Column("first", BigInteger, nullable=False, server_default=text("1")),
    # Of a deleted project: who owned it last, how long its log is kept if it
    # said so, and since when.
    Column("owner_id", Uuid),
    Column("retention_days", Integer),
    Column("deleted_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("project_id", name=PK_EVENT_HEADS),
    # Each write changes a head: there is room for that on its page.
    postgresql_with={"fillfactor": 50},
)

events = Table(
    "events",
    metadata,
    Column("project_id", Uuid, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    # The first number of the same transaction.
    Column("batch", BigInteger, nullable=False),
    clock("at"),
    Column("type", String(40), nullable=False),
    Column("resource_type", String(20), nullable=False),
    Column("resource_id", Uuid, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("actor_type", String(10), nullable=False),
    Column("actor_id", Uuid),
    Column("api_key_id", Uuid),
    Column("method", String(100)),
    Column("request_id", String(128)),
    # The columns that the statement could change, as they were.
    Column("before", JSONB),
    # The row as it is then, or last was, without what is large or secret.
    Column("after", JSONB, nullable=False),
    # Which of the large columns have changed, whose values are not kept.
    Column("changed", ARRAY(String(50))),
    one_of("actor_type", ACTOR_TYPES),
    PrimaryKeyConstraint("project_id", "sequence", name=PK_EVENTS),
    Index("idx_events_resource", "project_id", "resource_id", "sequence"),
)
