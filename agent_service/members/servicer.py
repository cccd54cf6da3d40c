"""MemberService: messages in, messages out."""

from google.protobuf.empty_pb2 import Empty

from agent_service.members import messages
from agent_service.members.rules import MemberRules
from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.messages import members
from shared.resources.idempotency import idempotent_call, to_empty
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_revision
from tandem.agent.v1 import member_service_pb2 as pb
from tandem.agent.v1.member_service_pb2_grpc import MemberServiceServicer


class MemberServicer(MemberServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    def __init__(self, rules: MemberRules, pager: Pager) -> None:
        self._rules = rules
        self._pager = pager

    async def AddMember(self, request: pb.AddMemberRequest, context: Context) -> pb.Member:
        return await self._rules.add(
            idempotent_call(request, members.member, pb.Member),
            request.member.project_id,
            parse(messages.new_member, request),
        )

    async def ListMembers(
        self, request: pb.ListMembersRequest, context: Context
    ) -> pb.ListMembersResponse:
        query = parse(messages.query, request, self._pager)
        listing = await self._rules.list(caller(), request.project_id, query)
        return await messages.listing(listing, self._pager)

    async def UpdateMember(self, request: pb.UpdateMemberRequest, context: Context) -> pb.Member:
        return await self._rules.update(
            idempotent_call(request, members.member, pb.Member),
            request.member.project_id,
            request.member.user_id,
            request.member.revision,
            parse(messages.changes, request),
        )

    async def RemoveMember(self, request: pb.RemoveMemberRequest, context: Context) -> Empty:
        return await self._rules.remove(
            idempotent_call(request, to_empty, Empty),
            request.project_id,
            request.user_id,
            parse(read_revision, request),
        )
