"""The methods of TaskService on many tasks at once: messages in, messages out."""

from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.resources.idempotency import idempotent_call
from shared.resources.validation import parse, parse_in_turns
from tandem.task.v1 import task_service_pb2 as pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceServicer
from task_service.graph import messages
from task_service.graph.rules import GraphRules


class GraphMethods(TaskServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    graph: GraphRules

    async def BatchCreateTasks(
        self, request: pb.BatchCreateTasksRequest, context: Context
    ) -> pb.BatchCreateTasksResponse:
        return await self.graph.create_batch(
            idempotent_call(request, messages.created, pb.BatchCreateTasksResponse),
            request.project_id,
            await parse_in_turns(messages.batch, request),
        )

    async def SplitTask(
        self, request: pb.SplitTaskRequest, context: Context
    ) -> pb.SplitTaskResponse:
        return await self.graph.split(
            idempotent_call(request, messages.parts, pb.SplitTaskResponse),
            request.task_id,
            await parse_in_turns(messages.split, request),
        )

    async def GetTaskGraph(
        self, request: pb.GetTaskGraphRequest, context: Context
    ) -> pb.GetTaskGraphResponse:
        origin = parse(messages.origin, request)
        roots = request.roots.task_ids
        found = await self.graph.graph(caller(), request.project_id, roots, origin)
        return await messages.graph(found)
