"""Both services on real sockets, and the people who call them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from pydantic import SecretStr
from uuid_utils.compat import uuid7

from agent_service.__main__ import build as build_agents
from shared.database import Database
from shared.settings import Settings
from shared.tokens import sign_user_token
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest
from tandem.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.agent.v1.project_service_pb2_grpc import ProjectServiceStub
from tandem.agent.v1.room_service_pb2_grpc import RoomServiceStub

SECRET = SecretStr("a secret of the tests, long enough for HS256")
TIMEOUT_SECONDS = 20.0


class Stub:
    """A stub whose every call carries the same metadata and a deadline."""

    def __init__(self, stub: object, metadata: tuple[tuple[str, str], ...]) -> None:
        self._stub = stub
        self._metadata = metadata

    def __getattr__(self, method: str) -> Callable[..., Any]:
        call = getattr(self._stub, method)
        return lambda request, **options: call(
            request, **{"metadata": self._metadata, "timeout": TIMEOUT_SECONDS, **options}
        )


class Client:
    """The stubs of every service, for one caller."""

    def __init__(self, agent_channel: grpc.aio.Channel, token: str | None) -> None:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.token = token
        self.agents = Stub(AgentServiceStub(agent_channel), metadata)
        self.projects = Stub(ProjectServiceStub(agent_channel), metadata)
        self.rooms = Stub(RoomServiceStub(agent_channel), metadata)
        self.auth = Stub(AuthServiceStub(agent_channel), metadata)

    async def project(self, **fields: Any) -> Project:
        """A new project of the caller's."""
        fields = {"slug": f"p-{uuid7().hex}", "name": "Project", **fields}
        created: Project = await self.projects.CreateProject(
            CreateProjectRequest(project=Project(**fields))
        )
        return created

    async def agent(self, project: Project, **fields: Any) -> Agent:
        """A new agent of the project."""
        fields = {"project_id": project.id, "name": f"agent {uuid7()}", **fields}
        created: Agent = await self.agents.CreateAgent(CreateAgentRequest(agent=Agent(**fields)))
        return created


class User(Client):
    """A client with a user's token."""

    def __init__(self, user_id: UUID, agent_channel: grpc.aio.Channel, token: str) -> None:
        super().__init__(agent_channel, token)
        self.id = user_id


@dataclass
class World:
    """What a test talks to."""

    database: Database
    settings: Settings
    agent_channel: grpc.aio.Channel

    @classmethod
    @asynccontextmanager
    async def built(cls, database: Database, settings: Settings) -> AsyncIterator["World"]:
        """Start the services on free ports, and stop them at the end."""
        agents = build_agents(database, settings)
        port = await agents.start("127.0.0.1:0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as agent_channel:
            yield cls(database, settings, agent_channel)
        await agents.stop()

    async def user(
        self, name: str | None = None, *, superuser: bool = False, active: bool = True
    ) -> User:
        """A new user, and a client that calls as that user."""
        user_id = uuid7()
        name = name or f"user-{user_id}"
        await self.execute(
            "INSERT INTO users (id, username, email, is_superuser, is_active)"
            " VALUES ($1, $2, $3, $4, $5)",
            user_id,
            name,
            f"{name}@example.com",
            superuser,
            active,
        )
        return User(user_id, self.agent_channel, self.token(user_id))

    def nobody(self) -> Client:
        """A client without a token."""
        return Client(self.agent_channel, None)

    def token(self, user_id: UUID, lifetime: timedelta = timedelta(hours=1)) -> str:
        """A token for a user."""
        return sign_user_token(self.settings, SECRET.get_secret_value(), user_id, lifetime)

    async def execute(self, statement: str, *arguments: Any) -> None:
        """SQL past the services."""
        await self.database.read(lambda connection: connection.execute(statement, *arguments))

    async def value(self, statement: str, *arguments: Any) -> Any:
        """The first value that SQL past the services answers."""
        return await self.database.read(lambda c: c.fetchval(statement, *arguments))
