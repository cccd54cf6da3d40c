"""The methods of TaskService that manage tasks: messages in, messages out."""

from google.protobuf.empty_pb2 import Empty

from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.grpc_server.parking import parks
from shared.messages import tasks
from shared.resources.building import build
from shared.resources.idempotency import idempotent_call, to_empty
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_changes, read_id, read_ids, read_revision
from tandem.task.v1 import task_service_pb2 as pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceServicer
from task_service.tasks import messages
from task_service.tasks.rules import TaskRules
from task_service.tasks.waiting import WaitRules


class TaskMethods(TaskServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    tasks: TaskRules
    waits: WaitRules
    pager: Pager

    async def CreateTask(self, request: pb.CreateTaskRequest, context: Context) -> pb.Task:
        return await self.tasks.create(
            idempotent_call(request, tasks.task, pb.Task),
            request.task.project_id,
            parse(messages.new_task, request),
        )

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.Task:
        task = await self.tasks.get(caller(), read_id(request, "task_id"))
        return await build(task, tasks.task)

    async def BatchGetTasks(
        self, request: pb.BatchGetTasksRequest, context: Context
    ) -> pb.BatchGetTasksResponse:
        task_ids = read_ids(request, "task_ids")
        return await messages.batch(await self.tasks.get_many(caller(), task_ids))

    async def ListTasks(
        self, request: pb.ListTasksRequest, context: Context
    ) -> pb.ListTasksResponse:
        query = parse(messages.query, request, self.pager)
        listing = await self.tasks.list(caller(), request.project_id, query)
        return await messages.listing(listing, self.pager)

    async def UpdateTask(self, request: pb.UpdateTaskRequest, context: Context) -> pb.Task:
        return await self.tasks.update(
            idempotent_call(request, tasks.task, pb.Task),
            request.task.id,
            request.task.revision,
            parse(read_changes, request, "task", messages.COLUMNS, messages.FIXED),
        )

    async def DeleteTask(self, request: pb.DeleteTaskRequest, context: Context) -> Empty:
        return await self.tasks.delete(
            idempotent_call(request, to_empty, Empty),
            request.task_id,
            parse(read_revision, request),
            force=request.force,
        )

    async def AssignTask(self, request: pb.AssignTaskRequest, context: Context) -> pb.Task:
        return await self.tasks.assign(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            request.revision,
            parse(messages.assignee, request),
        )

    async def UnassignTask(self, request: pb.UnassignTaskRequest, context: Context) -> pb.Task:
        return await self.tasks.unassign(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            parse(read_revision, request),
        )

    async def UpdateTaskStatus(
        self, request: pb.UpdateTaskStatusRequest, context: Context
    ) -> pb.Task:
        return await self.tasks.move(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            request.revision,
            parse(messages.new_status, request),
        )

    async def VerifyDependencies(
        self, request: pb.VerifyDependenciesRequest, context: Context
    ) -> pb.VerifyDependenciesResponse:
        await self.tasks.verify(
            caller(), request.task_id, request.project_id, parse(messages.dependencies, request)
        )
        return pb.VerifyDependenciesResponse()

    async def AddDependency(self, request: pb.AddDependencyRequest, context: Context) -> pb.Task:
        return await self.tasks.add_dependency(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            request.revision,
            parse(messages.dependency, request),
        )

    async def RemoveDependency(
        self, request: pb.RemoveDependencyRequest, context: Context
    ) -> pb.Task:
        return await self.tasks.remove_dependency(
            idempotent_call(request, tasks.task, pb.Task),
            request.task_id,
            request.revision,
            parse(messages.dependency, request),
        )

    async def CountTasks(
        self, request: pb.CountTasksRequest, context: Context
    ) -> pb.CountTasksResponse:
        filters = parse(messages.counted, request)
        return messages.counts(await self.tasks.count(caller(), request.project_id, filters))

    @parks
    async def WaitTask(self, request: pb.WaitTaskRequest, context: Context) -> pb.Task:
        task = await self.waits.wait(request.task_id, parse(messages.wait, request))
        return await build(task, tasks.task)
