"""The methods of TaskService on the attempts at a task."""

from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.messages import tasks
from shared.resources.idempotency import idempotent_call
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_revision
from tandem.task.v1 import task_service_pb2 as pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceServicer
from task_service.attempts import messages
from task_service.attempts.rules import AttemptRules


class AttemptMethods(TaskServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    attempts: AttemptRules
    pager: Pager

    async def CancelTask(self, request: pb.CancelTaskRequest, context: Context) -> pb.Task:
        return await self.attempts.cancel(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(messages.cancelled, request),
        )

    async def RetryTask(self, request: pb.RetryTaskRequest, context: Context) -> pb.Task:
        return await self.attempts.retry(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(read_revision, request),
        )

    async def ListAttempts(
        self, request: pb.ListAttemptsRequest, context: Context
    ) -> pb.ListAttemptsResponse:
        query = parse(messages.query, request, self.pager)
        listing = await self.attempts.list(caller(), request.task_id, query)
        return await messages.listing(listing, self.pager)
