"""UserService: messages in, messages out."""

from google.protobuf.empty_pb2 import Empty

from agent_service.users import messages
from agent_service.users.rules import UserRules
from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.messages import users
from shared.resources.building import build
from shared.resources.idempotency import idempotent_call, to_empty
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_changes, read_id, read_revision
from tandem.agent.v1 import user_service_pb2 as pb
from tandem.agent.v1.auth_service_pb2 import User
from tandem.agent.v1.user_service_pb2_grpc import UserServiceServicer


class UserServicer(UserServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    def __init__(self, rules: UserRules, pager: Pager) -> None:
        self._rules = rules
        self._pager = pager

    async def CreateUser(self, request: pb.CreateUserRequest, context: Context) -> User:
        return await self._rules.create(
            idempotent_call(request, users.user, User), parse(messages.new_user, request)
        )

    async def GetUser(self, request: pb.GetUserRequest, context: Context) -> User:
        user = await self._rules.get(caller(), read_id(request, "user_id"))
        return await build(user, users.user)

    async def LookupUser(self, request: pb.LookupUserRequest, context: Context) -> pb.UserProfile:
        key = parse(messages.key, request)
        return messages.profile(await self._rules.lookup(caller(), request.WhichOneof("key"), key))

    async def ListUsers(
        self, request: pb.ListUsersRequest, context: Context
    ) -> pb.ListUsersResponse:
        listing = await self._rules.list(caller(), messages.query(request, self._pager))
        return await messages.listing(listing, self._pager)

    async def UpdateUser(self, request: pb.UpdateUserRequest, context: Context) -> User:
        return await self._rules.update(
            idempotent_call(request, users.user, User),
            request.user.id,
            request.user.revision,
            parse(read_changes, request, "user", messages.COLUMNS),
        )

    async def DeleteUser(self, request: pb.DeleteUserRequest, context: Context) -> Empty:
        return await self._rules.delete(
            idempotent_call(request, to_empty, Empty),
            request.user_id,
            parse(read_revision, request),
        )
