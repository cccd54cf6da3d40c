"""The peer of GetAgent: a bare grpc.aio handler with one asyncpg query and nothing else.

No token, access check, validation, request id, log line or interceptor: the upper limit of this
stack for a Get. Usage: TANDEM_DATABASE_URL=… bare_server.py PORT
"""

import asyncio
import os
import sys
from uuid import UUID

import asyncpg
import grpc
import orjson
import uvloop

from tandem.agent.v1.agent_service_pb2 import Agent, AgentStatus, GetAgentRequest

QUERY = """
SELECT id, project_id, name, nickname, agent_type, status, capabilities, config, is_active,
       created_at, updated_at, revision
FROM agents WHERE id = $1
"""


async def _codec(connection: asyncpg.Connection) -> None:
    await connection.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=lambda value: b"\x01" + orjson.dumps(value),
        decoder=lambda data: orjson.loads(data[1:]),
    )


async def _keep(_connection: object) -> None:
    """No reset: the service under test has none either."""


async def serve(url: str, port: int) -> None:
    """Serve GetAgent until the process is terminated."""
    pool = await asyncpg.create_pool(url, min_size=1, max_size=10, init=_codec, reset=_keep)

    async def get_agent(request: GetAgentRequest, _context: object) -> Agent:
        row = await pool.fetchrow(QUERY, UUID(request.agent_id))
        return Agent(
            id=str(row["id"]),
            project_id=str(row["project_id"]),
            name=row["name"],
            nickname=row["nickname"],
            agent_type=row["agent_type"],
            status=AgentStatus.Value(f"AGENT_STATUS_{row['status'].upper()}"),
            capabilities=row["capabilities"],
            config=row["config"],
            is_active=row["is_active"],
            created_at=row["created_at"],
            updated_at=row["updated_at"],
            revision=row["revision"],
        )

    handler = grpc.unary_unary_rpc_method_handler(
        get_agent, GetAgentRequest.FromString, Agent.SerializeToString
    )
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "tandem.agent.v1.AgentService", {"GetAgent": handler}
            ),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(os.environ["TANDEM_DATABASE_URL"], int(sys.argv[1])))
