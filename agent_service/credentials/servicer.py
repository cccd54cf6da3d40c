"""AuthService: messages in, messages out."""

from agent_service.credentials import messages
from shared.caller import caller, current_call
from shared.interceptor import Context
from tandem.agent.v1 import auth_service_pb2 as pb
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceServicer


class AuthServicer(AuthServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        return messages.who(caller(), current_call.get().token_expires_at)
