"""The methods of TaskService on tasks that an agent holds."""

from shared.grpc_server.interceptor import Context
from shared.messages import tasks
from shared.resources.idempotency import idempotent_call
from shared.resources.validation import parse
from tandem.task.v1 import task_service_pb2 as pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceServicer
from task_service.leases import messages
from task_service.leases.rules import LeaseRules


class LeaseMethods(TaskServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    leases: LeaseRules

    async def CompleteTask(self, request: pb.CompleteTaskRequest, context: Context) -> pb.Task:
        return await self.leases.complete(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(messages.completed, request),
        )

    async def FailTask(self, request: pb.FailTaskRequest, context: Context) -> pb.Task:
        return await self.leases.fail(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(messages.failed, request),
        )

    async def ReleaseTask(self, request: pb.ReleaseTaskRequest, context: Context) -> pb.Task:
        return await self.leases.release(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(messages.released, request),
        )
