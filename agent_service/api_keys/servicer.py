"""AuthService: messages in, messages out."""

from agent_service.api_keys import messages
from agent_service.api_keys.rules import ApiKeyRules
from shared.auth.caller import caller, current_call
from shared.auth.encryption import Encryptor
from shared.grpc_server.interceptor import Context
from shared.messages import api_keys
from shared.resources.idempotency import idempotent_call
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_id
from tandem.agent.v1 import auth_service_pb2 as pb
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceServicer


class AuthServicer(AuthServiceServicer):
    """Translates and delegates; the methods are described in the proto.

    Responses with a secret are kept for retries as `encryptor` encrypts them.
    """

    def __init__(self, rules: ApiKeyRules, pager: Pager, encryptor: Encryptor) -> None:
        self._rules = rules
        self._pager = pager
        self._encryptor = encryptor

    async def WhoAmI(self, request: pb.WhoAmIRequest, context: Context) -> pb.WhoAmIResponse:
        return messages.who(caller(), current_call.get().token_expires_at)

    async def CreateApiKey(
        self, request: pb.CreateApiKeyRequest, context: Context
    ) -> pb.CreateApiKeyResponse:
        return await self._rules.create(
            idempotent_call(request, messages.created, pb.CreateApiKeyResponse, self._encryptor),
            request.api_key.agent_id,
            parse(messages.new_api_key, request),
        )

    async def ListApiKeys(
        self, request: pb.ListApiKeysRequest, context: Context
    ) -> pb.ListApiKeysResponse:
        query = parse(messages.query, request, self._pager)
        listing = await self._rules.list(caller(), request.agent_id, query)
        return await messages.listing(listing, self._pager)

    async def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, context: Context) -> pb.ApiKey:
        return await self._rules.revoke(
            idempotent_call(request, api_keys.api_key, pb.ApiKey),
            request.api_key_id,
            parse(read_id, request, "api_key_id"),
        )

    async def RevokeApiKeys(
        self, request: pb.RevokeApiKeysRequest, context: Context
    ) -> pb.RevokeApiKeysResponse:
        return await self._rules.revoke_all(
            idempotent_call(request, messages.revoked, pb.RevokeApiKeysResponse),
            request.agent_id,
            request.project_id,
            parse(messages.holder, request),
        )

    async def RotateApiKey(
        self, request: pb.RotateApiKeyRequest, context: Context
    ) -> pb.RotateApiKeyResponse:
        return await self._rules.rotate(
            idempotent_call(request, messages.rotated, pb.RotateApiKeyResponse, self._encryptor),
            request.api_key_id,
            parse(messages.grace, request),
        )

    async def ExchangeApiKey(
        self, request: pb.ExchangeApiKeyRequest, context: Context
    ) -> pb.ExchangeApiKeyResponse:
        token, end = await self._rules.exchange(messages.secret(request), context.peer())
        return messages.granted(token, end)
