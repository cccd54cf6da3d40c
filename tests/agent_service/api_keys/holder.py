"""An agent that has API keys, and its owner, who gives them to it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from google.protobuf.duration_pb2 import Duration

from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.auth_service_pb2 import (
    ApiKey,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    ExchangeApiKeyRequest,
    ExchangeApiKeyResponse,
    ListApiKeysRequest,
    RevokeApiKeyRequest,
    RotateApiKeyRequest,
    RotateApiKeyResponse,
    WhoAmIRequest,
    WhoAmIResponse,
)
from tandem.agent.v1.project_service_pb2 import Project
from tests.world import Client, User, World


@dataclass(frozen=True)
class Holder:
    """Who and what a test of API keys is about."""

    world: World
    owner: User
    project: Project
    agent: Agent

    async def create(self, request_id: str = "", **fields: Any) -> CreateApiKeyResponse:
        """A new key of the agent."""
        fields = {"agent_id": self.agent.id, **fields}
        request = CreateApiKeyRequest(api_key=ApiKey(**fields), request_id=request_id)
        created: CreateApiKeyResponse = await self.owner.auth.CreateApiKey(request)
        return created

    async def list(self, **fields: Any) -> list[ApiKey]:
        """The agent's keys, oldest first."""
        request = ListApiKeysRequest(agent_id=self.agent.id, order_by="created_at", **fields)
        return list((await self.owner.auth.ListApiKeys(request)).api_keys)

    async def revoke(self, key: ApiKey, request_id: str = "") -> ApiKey:
        """The key, ended."""
        request = RevokeApiKeyRequest(api_key_id=key.id, request_id=request_id)
        revoked: ApiKey = await self.owner.auth.RevokeApiKey(request)
        return revoked

    async def rotate(
        self, key: ApiKey, grace: timedelta = timedelta(), request_id: str = ""
    ) -> RotateApiKeyResponse:
        """A new key in place of this one."""
        period = Duration()
        period.FromTimedelta(grace)
        request = RotateApiKeyRequest(api_key_id=key.id, grace_period=period, request_id=request_id)
        rotated: RotateApiKeyResponse = await self.owner.auth.RotateApiKey(request)
        return rotated

    async def exchange(self, secret: str, within: float | None = None) -> ExchangeApiKeyResponse:
        """A token for a key, without a token of the caller."""
        request = ExchangeApiKeyRequest(api_key=secret)
        client = self.world.nobody()
        answer: ExchangeApiKeyResponse
        answer = await client.auth.ExchangeApiKey(request, timeout=within)
        return answer

    async def who(self, token: str) -> WhoAmIResponse:
        """What a token is told."""
        client = Client(self.world.channels, token)
        told: WhoAmIResponse = await client.auth.WhoAmI(WhoAmIRequest())
        return told

    async def last_used(self, key: ApiKey) -> datetime | None:
        """What the database says of it."""
        found: datetime | None = await self.world.value(
            "SELECT last_used_at FROM agent_api_keys WHERE id = $1", UUID(key.id)
        )
        return found
