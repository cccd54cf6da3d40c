"""ProjectService: messages in, messages out."""

from google.protobuf.empty_pb2 import Empty

from agent_service.projects import messages
from agent_service.projects.rules import ProjectRules
from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.messages import projects
from shared.resources.building import build
from shared.resources.idempotency import idempotent_call, to_empty
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_changes, read_id, read_revision
from tandem.agent.v1 import project_service_pb2 as pb
from tandem.agent.v1.project_service_pb2_grpc import ProjectServiceServicer


class ProjectServicer(ProjectServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    def __init__(self, rules: ProjectRules, pager: Pager) -> None:
        self._rules = rules
        self._pager = pager

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Context) -> pb.Project:
        return await self._rules.create(
            idempotent_call(request, projects.project, pb.Project),
            parse(messages.new_project, request),
        )

    async def GetProject(self, request: pb.GetProjectRequest, context: Context) -> pb.Project:
        project = await self._rules.get(caller(), read_id(request, "project_id"))
        return await build(project, projects.project)

    async def ListProjects(
        self, request: pb.ListProjectsRequest, context: Context
    ) -> pb.ListProjectsResponse:
        listing = await self._rules.list(caller(), messages.query(request, self._pager))
        return await messages.listing(listing, self._pager)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Context) -> pb.Project:
        return await self._rules.update(
            idempotent_call(request, projects.project, pb.Project),
            request.project.id,
            request.project.revision,
            parse(read_changes, request, "project", messages.COLUMNS),
        )

    async def DeleteProject(self, request: pb.DeleteProjectRequest, context: Context) -> Empty:
        return await self._rules.delete(
            idempotent_call(request, to_empty, Empty),
            request.project_id,
            parse(read_revision, request),
        )

    async def TransferProject(
        self, request: pb.TransferProjectRequest, context: Context
    ) -> pb.Project:
        return await self._rules.transfer(
            idempotent_call(request, projects.project, pb.Project),
            request.project_id,
            parse(messages.transfer, request),
        )
