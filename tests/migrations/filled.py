"""Rows in every table."""

import json
from uuid import uuid4

from shared.schema import metadata
from tests.schema import rows
from tests.schema.rows import Connection
from tests.schema.samples import samples

CLAIM = """
INSERT INTO request_ids (caller_id, method, request_id, payload_hash, answer)
VALUES ($1, 'Create', $2, 'hash', 'answer')
"""

GAP = "UPDATE {table} SET {column} = $1 WHERE {column} IS NULL"


async def fill(connection: Connection) -> None:
    """One project with rows of each table, and one call with a request id: without a NULL."""
    await rows.fill(connection, await rows.add_project(connection))
    await connection.execute(CLAIM, uuid4(), uuid4())
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    for column in (c for table in metadata.tables.values() for c in table.columns):
        if column.nullable and not column.foreign_keys and column.computed is None:
            statement = GAP.format(table=column.table.name, column=column.name)
            await connection.execute(statement, samples(column)[0])
