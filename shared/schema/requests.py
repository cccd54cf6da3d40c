"""The responses to writes with a request id, stored for retries."""

from sqlalchemy import Column, Index, LargeBinary, PrimaryKeyConstraint, String, Table, Uuid

from shared.schema.base import clock, metadata

PK_REQUEST_IDS = "pk_request_ids"

request_ids = Table(
    "request_ids",
    metadata,
    # No foreign key: the caller is a user or an agent, and may be deleted before the response.
    Column("caller_id", Uuid, nullable=False),
    Column("method", String(200), nullable=False),
    Column("request_id", Uuid, nullable=False),
    Column("payload_hash", LargeBinary, nullable=False),
    # NULL only within the transaction that claims the request id.
    Column("answer", LargeBinary),
    clock("created_at"),
    PrimaryKeyConstraint("caller_id", "method", "request_id", name=PK_REQUEST_IDS),
    Index("idx_request_ids_created_at", "created_at"),
)
