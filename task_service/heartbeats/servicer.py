"""The methods of TaskService by which agents keep what they hold."""

from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.resources.validation import parse
from tandem.task.v1 import task_service_pb2 as pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceServicer
from task_service.heartbeats import messages
from task_service.heartbeats.rules import HeartbeatRules


class HeartbeatMethods(TaskServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    heartbeats: HeartbeatRules

    async def HeartbeatTasks(
        self, request: pb.HeartbeatTasksRequest, context: Context
    ) -> pb.HeartbeatTasksResponse:
        found = await self.heartbeats.beat(
            caller(), request.project_id, request.agent_id, parse(messages.heartbeats, request)
        )
        return messages.states(found)
