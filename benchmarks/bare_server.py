"""The peers of GetAgent and ClaimTasks: bare grpc.aio handlers with one asyncpg query each.

No token, access check, validation, request id, log line or interceptor, and of a claim no lease,
attempt or event: the upper limit of this stack. Usage: TANDEM_DATABASE_URL=… bare_server.py PORT
"""

import asyncio
import os
import sys
from typing import Any
from uuid import UUID

import asyncpg
import grpc
import orjson
import uvloop

from tandem.agent.v1.agent_service_pb2 import Agent, AgentStatus, GetAgentRequest
from tandem.task.v1.task_service_pb2 import (
    ClaimedTask,
    ClaimTasksRequest,
    ClaimTasksResponse,
    Lease,
    Task,
)

QUERY = """
SELECT id, project_id, name, nickname, agent_type, status, capabilities, config, is_active,
       created_at, updated_at, revision
FROM agents WHERE id = $1
"""
# In the order of the index by which Tandem looks for tasks, whoever can do them.
CLAIM = """
UPDATE tasks SET status = 'in_progress', fence = fence + 1
WHERE id = (SELECT id FROM tasks WHERE project_id = $1 AND status = 'pending'
            ORDER BY lane, rank, ready_at, id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, project_id, title, fence
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


def _get_agent(pool: Any) -> Any:
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

    return grpc.unary_unary_rpc_method_handler(
        get_agent, GetAgentRequest.FromString, Agent.SerializeToString
    )


def _claim_tasks(pool: Any) -> Any:
    async def claim_tasks(request: ClaimTasksRequest, _context: object) -> ClaimTasksResponse:
        row = await pool.fetchrow(CLAIM, UUID(request.project_id))
        if row is None:
            return ClaimTasksResponse()
        task = Task(id=str(row["id"]), project_id=str(row["project_id"]), title=row["title"])
        lease = Lease(task_id=task.id, fencing_token=row["fence"])
        return ClaimTasksResponse(tasks=[ClaimedTask(task=task, lease=lease)])

    return grpc.unary_unary_rpc_method_handler(
        claim_tasks, ClaimTasksRequest.FromString, ClaimTasksResponse.SerializeToString
    )


async def serve(url: str, port: int) -> None:
    """Serve both methods until the process is terminated."""
    pool = await asyncpg.create_pool(url, min_size=1, max_size=10, init=_codec, reset=_keep)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    for service, method, handler in (
        ("tandem.agent.v1.AgentService", "GetAgent", _get_agent(pool)),
        ("tandem.task.v1.TaskService", "ClaimTasks", _claim_tasks(pool)),
    ):
        made = grpc.method_handlers_generic_handler(service, {method: handler})
        server.add_generic_rpc_handlers((made,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(os.environ["TANDEM_DATABASE_URL"], int(sys.argv[1])))
