"""The methods of TaskService on what agents ask for."""

from shared.grpc_server.interceptor import Context
from shared.messages import tasks
from shared.resources.idempotency import idempotent_call
from shared.resources.validation import parse
from tandem.task.v1 import task_service_pb2 as pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceServicer
from task_service.inputs import messages
from task_service.inputs.rules import InputRules


class InputMethods(TaskServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    inputs: InputRules

    async def RequestInput(self, request: pb.RequestInputRequest, context: Context) -> pb.Task:
        return await self.inputs.ask(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(messages.asked, request),
        )

    async def AnswerInput(self, request: pb.AnswerInputRequest, context: Context) -> pb.Task:
        return await self.inputs.answer(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(messages.answered, request),
        )
