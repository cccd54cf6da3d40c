"""A caller can claim a request id once for each method, also in a race."""

import asyncio
from uuid import UUID, uuid4

import asyncpg

from shared.schema import PK_REQUEST_IDS
from tests.schema.expect import refused_by, waiting
from tests.schema.rows import Connection

CLAIM = """
INSERT INTO request_ids (caller_id, method, request_id, payload_hash) VALUES ($1, $2, $3, 'hash')
"""


async def test_a_second_claim_is_refused(connection: Connection, database_url: str) -> None:
    second = await asyncpg.connect(database_url)
    claim = (CLAIM, uuid4(), "/tandem.agent.v1.AgentService/CreateAgent", uuid4())
    async with connection.transaction():
        await connection.execute(*claim)
        late = asyncio.create_task(second.execute(*claim))
        await waiting(connection, second)
    with refused_by(PK_REQUEST_IDS):
        await late
    await second.close()


async def test_other_callers_and_methods_do_not_matter(connection: Connection) -> None:
    caller, request = uuid4(), UUID(int=1)
    await connection.execute(CLAIM, caller, "Create", request)
    await connection.execute(CLAIM, caller, "Delete", request)
    await connection.execute(CLAIM, uuid4(), "Create", request)
    assert await connection.fetchval("SELECT count(*) FROM request_ids") == 3
