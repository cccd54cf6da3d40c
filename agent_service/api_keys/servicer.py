"""AuthService: messages in, messages out."""

from functools import partial

from agent_service.api_keys import messages
from agent_service.api_keys.rules import ApiKeyRules
from shared.auth.caller import caller, current_call
from shared.auth.encryption import Sealer
from shared.grpc_server.interceptor import Context
from shared.resources.idempotency import mutation
from shared.resources.pagination import Pager
from tandem.agent.v1 import auth_service_pb2 as pb
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceServicer


class AuthServicer(AuthServiceServicer):
    """Translates and delegates; the methods are described in the proto.

    Answers with a secret are kept for retries as `sealer` seals them.
    """

    def __init__(self, rules: ApiKeyRules, pager: Pager, sealer: Sealer) -> None:
        self._rules = rules
        self._pager = pager
        self._sealer = sealer

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        return messages.who(caller(), current_call.get().token_expires_at)

    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: Context
    ) -> pb.CreateApiKeyResponse:
        return await self._rules.create(
            mutation(request, messages.created, pb.CreateApiKeyResponse, self._sealer),
            request.api_key.agent_id,
            partial(messages.new_api_key, request),
        )

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: Context
    ) -> pb.ListApiKeysResponse:
        read = partial(messages.query, request, self._pager)
        listing = await self._rules.list(caller(), request.agent_id, read)
        return messages.listing(listing, self._pager)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.ApiKey:
        return await self._rules.revoke(
            mutation(request, messages.api_key, pb.ApiKey),
            request.api_key_id,
            partial(messages.api_key_id, request),
        )

    async def RotateApiKey(
        self, request: pb.RotateApiKeyRequest, context: Context
    ) -> pb.RotateApiKeyResponse:
        return await self._rules.rotate(
            mutation(request, messages.rotated, pb.RotateApiKeyResponse, self._sealer),
            request.api_key_id,
            partial(messages.grace, request),
        )

    async def ExchangeApiKey(
        self, request: pb.ExchangeApiKeyRequest, context: Context
    ) -> pb.ExchangeApiKeyResponse:
        token, end = await self._rules.exchange(messages.secret(request), context.peer())
        return messages.granted(token, end)
