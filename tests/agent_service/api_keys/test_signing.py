"""API keys of a service that signs with a private key, and of one that signs nothing."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from structlog.testing import capture_logs

from agent_service.__main__ import build
from shared.errors import Reason
from shared.settings import SecretStr, Settings
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_STATUS_REVOKED,
    ApiKey,
    CreateApiKeyRequest,
    ExchangeApiKeyRequest,
    ListApiKeysRequest,
    RevokeApiKeyRequest,
    RotateApiKeyRequest,
    WhoAmIRequest,
)
from tests.agent_service.api_keys.holder import Holder
from tests.refusals import refused
from tests.world import Channels, Client, World, running

KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def private_pem(key: Any) -> str:
    text: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return text.decode()


def public_pem(key: Any) -> str:
    text: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return text.decode()


def user_token(algorithm: str, user_id: UUID) -> str:
    now = int(time.time())
    said = {"iss": "tandem", "aud": "tandem", "sub": str(user_id), "typ": "user", "iat": now}
    return jwt.encode({**said, "exp": now + 600}, KEYS[algorithm], algorithm=algorithm)


@asynccontextmanager
async def served(world: World, **keys: Any) -> AsyncIterator[Channels]:
    """An agent service with these keys before the same database."""
    settings = Settings(database_url=world.settings.database_url, **keys)
    async with running(build(world.database, settings)) as (channel, _):
        yield Channels(channel, channel)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_tokens_are_signed_with_a_private_key(holder: Holder, algorithm: str) -> None:
    key = KEYS[algorithm]
    settings = {"jwt_public_key": public_pem(key), "jwt_private_key": SecretStr(private_pem(key))}
    async with served(holder.world, **settings) as channels:
        owner = Client(channels, user_token(algorithm, holder.owner.id))
        request = CreateApiKeyRequest(
            api_key=ApiKey(agent_id=holder.agent.id), request_id=str(uuid4())
        )
        created = await owner.auth.CreateApiKey(request)
        assert await owner.auth.CreateApiKey(request) == created
        exchange = ExchangeApiKeyRequest(api_key=created.secret)
        token = (await Client(channels, None).auth.ExchangeApiKey(exchange)).access_token
        assert jwt.get_unverified_header(token)["alg"] == algorithm
        told = await Client(channels, token).auth.WhoAmI(WhoAmIRequest())
        assert told.caller_id == holder.agent.id


async def test_without_a_key_to_sign_with_keys_can_only_be_seen_and_revoked(
    holder: Holder,
) -> None:
    answer = await holder.create()
    agent_id, key_id = holder.agent.id, answer.api_key.id
    with capture_logs() as lines:
        async with served(holder.world, jwt_public_key=public_pem(KEYS["RS256"])) as channels:
            client = Client(channels, user_token("RS256", holder.owner.id))
            auth, new = client.auth, Agent(project_id=holder.project.id, name="New")
            for call in (
                client.agents.CreateAgent(CreateAgentRequest(agent=new, with_api_key=ApiKey())),
                auth.CreateApiKey(CreateApiKeyRequest(api_key=ApiKey(agent_id=agent_id))),
                auth.CreateApiKey(
                    CreateApiKeyRequest(api_key=ApiKey(agent_id=agent_id), request_id=str(uuid4()))
                ),
                auth.RotateApiKey(RotateApiKeyRequest(api_key_id=key_id)),
                auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=answer.secret)),
            ):
                await unimplemented(call)
            assert (await client.agents.CreateAgent(CreateAgentRequest(agent=new))).id
            listed = await auth.ListApiKeys(ListApiKeysRequest(agent_id=agent_id))
            assert list(listed.api_keys) == [answer.api_key]
            revoked = await auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=key_id))
            assert revoked.status == API_KEY_STATUS_REVOKED
    warnings = [line for line in lines if line["log_level"] == "warning"]
    assert [line["event"] for line in warnings] == ["no API keys"]
    assert "TANDEM_JWT_PRIVATE_KEY" in warnings[0]["why"]


async def unimplemented(call: Any) -> None:
    found = await refused(call, Reason.METHOD_NOT_AVAILABLE)
    assert "set TANDEM_JWT_PRIVATE_KEY" in found.message
