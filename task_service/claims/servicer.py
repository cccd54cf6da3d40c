"""The methods of TaskService by which agents take tasks."""

from shared.grpc_server.interceptor import Context
from shared.grpc_server.parking import parks
from shared.resources.idempotency import idempotent_call
from shared.resources.validation import parse
from tandem.task.v1 import task_service_pb2 as pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceServicer
from task_service.claims import messages
from task_service.claims.rules import ClaimRules


class ClaimMethods(TaskServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    claims: ClaimRules

    @parks
    async def ClaimTasks(
        self, request: pb.ClaimTasksRequest, context: Context
    ) -> pb.ClaimTasksResponse:
        return await self.claims.claim(
            idempotent_call(request, messages.claimed, pb.ClaimTasksResponse),
            request.project_id,
            request.agent_id,
            parse(messages.claim, request),
        )
