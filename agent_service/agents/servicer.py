"""AgentService: messages in, messages out."""

from google.protobuf.empty_pb2 import Empty

from agent_service.agents import messages
from agent_service.agents.rules import AgentRules
from shared.auth.caller import caller
from shared.auth.encryption import Encryptor
from shared.grpc_server.interceptor import Context
from shared.messages import agents
from shared.resources.building import build
from shared.resources.idempotency import idempotent_call, to_empty
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_changes, read_id, read_ids, read_revision
from tandem.agent.v1 import agent_service_pb2 as pb
from tandem.agent.v1.agent_service_pb2_grpc import AgentServiceServicer


class AgentServicer(AgentServiceServicer):
    """Translates and delegates; the methods are described in the proto.

    Responses with the secret of an API key are kept for retries as `encryptor` encrypts them.
    """

    def __init__(self, rules: AgentRules, pager: Pager, encryptor: Encryptor) -> None:
        self._rules = rules
        self._pager = pager
        self._encryptor = encryptor

    async def CreateAgent(self, request: pb.CreateAgentRequest, context: Context) -> pb.Agent:
        encryptor = self._encryptor if request.HasField("with_api_key") else None
        return await self._rules.create(
            idempotent_call(request, messages.created, pb.Agent, encryptor),
            request.agent.project_id,
            parse(messages.new_agent, request),
        )

    async def GetAgent(self, request: pb.GetAgentRequest, context: Context) -> pb.Agent:
        agent = await self._rules.get(caller(), read_id(request, "agent_id"))
        return await build(agent, agents.agent)

    async def BatchGetAgents(
        self, request: pb.BatchGetAgentsRequest, context: Context
    ) -> pb.BatchGetAgentsResponse:
        agent_ids = read_ids(request, "agent_ids")
        return await messages.batch(await self._rules.get_many(caller(), agent_ids))

    async def ListAgents(
        self, request: pb.ListAgentsRequest, context: Context
    ) -> pb.ListAgentsResponse:
        query = parse(messages.query, request, self._pager)
        listing = await self._rules.list(caller(), request.project_id, query)
        return await messages.listing(listing, self._pager)

    async def UpdateAgent(self, request: pb.UpdateAgentRequest, context: Context) -> pb.Agent:
        return await self._rules.update(
            idempotent_call(request, agents.agent, pb.Agent),
            request.agent.id,
            request.agent.revision,
            parse(read_changes, request, "agent", messages.COLUMNS, messages.FIXED),
        )

    async def DeleteAgent(self, request: pb.DeleteAgentRequest, context: Context) -> Empty:
        return await self._rules.delete(
            idempotent_call(request, to_empty, Empty),
            request.agent_id,
            parse(read_revision, request),
        )

    async def SetAgentStatus(self, request: pb.SetAgentStatusRequest, context: Context) -> pb.Agent:
        return await self._rules.set_status(
            idempotent_call(request, agents.agent, pb.Agent),
            request.agent_id,
            parse(messages.new_status, request),
        )

    async def VerifyAgentAccess(
        self, request: pb.VerifyAgentAccessRequest, context: Context
    ) -> pb.VerifyAgentAccessResponse:
        agent, can_administer = await self._rules.verify(caller(), read_id(request, "agent_id"))
        return messages.access(agent, can_administer=can_administer)

    async def ValidateAssignee(
        self, request: pb.ValidateAssigneeRequest, context: Context
    ) -> pb.ValidateAssigneeResponse:
        await self._rules.validate_assignee(
            caller(), request.project_id, parse(messages.assignee, request)
        )
        return pb.ValidateAssigneeResponse()
