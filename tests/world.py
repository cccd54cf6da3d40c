"""Both services on real sockets, and the people who call them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import grpc
from uuid_utils.compat import uuid7

from agent_service.__main__ import build as build_agents
from shared.auth.signing import sign_user_token
from shared.database.transaction import Database
from shared.events.vocabulary import NIL
from shared.grpc_server.server import Server
from shared.schema import metadata
from shared.settings import SecretStr, Settings
from tandem.agent.v1.agent_service_pb2 import Agent, CreateAgentRequest
from tandem.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from tandem.agent.v1.auth_service_pb2 import (
    ApiKey,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
    ExchangeApiKeyRequest,
)
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub
from tandem.agent.v1.member_service_pb2_grpc import MemberServiceStub
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.agent.v1.project_service_pb2_grpc import ProjectServiceStub
from tandem.agent.v1.room_service_pb2 import AddParticipantRequest, CreateRoomRequest, Room
from tandem.agent.v1.room_service_pb2_grpc import RoomServiceStub
from tandem.agent.v1.user_service_pb2_grpc import UserServiceStub
from tandem.event.v1.event_service_pb2_grpc import EventServiceStub
from tandem.task.v1.task_service_pb2 import CreateTaskRequest, Task
from tandem.task.v1.task_service_pb2_grpc import TaskServiceStub
from task_service.__main__ import build as build_tasks
from tests.waiting import SECONDS

SECRET = SecretStr("a secret of the tests, long enough for HS256")
TIMEOUT_SECONDS = SECONDS
# What the API keys of agents are for.
CAPABILITIES = ["search"]
DELETE_ALL = "; ".join(f"DELETE FROM {table}" for table in reversed(metadata.sorted_tables))  # noqa: S608
# That of users is there from the beginning.
BEGIN_LOG = f"INSERT INTO event_heads (project_id, log_id) VALUES ('{NIL}', gen_random_uuid())"  # noqa: S608


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[tuple[grpc.aio.Channel, str]]:
    """A server on a free port: a channel to it, and its address."""
    address = f"127.0.0.1:{await server.start('127.0.0.1:0')}"
    try:
        async with grpc.aio.insecure_channel(address) as channel:
            yield channel, address
    finally:
        await server.stop()


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


@dataclass(frozen=True)
class Channels:
    """The ways to both services."""

    agents: grpc.aio.Channel
    tasks: grpc.aio.Channel


class Client:
    """The stubs of every service, for one caller."""

    def __init__(self, channels: Channels, token: str | None) -> None:
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.channels = channels
        self.token = token
        self.agents = Stub(AgentServiceStub(channels.agents), metadata)
        self.projects = Stub(ProjectServiceStub(channels.agents), metadata)
        self.users = Stub(UserServiceStub(channels.agents), metadata)
        self.members = Stub(MemberServiceStub(channels.agents), metadata)
        self.rooms = Stub(RoomServiceStub(channels.agents), metadata)
        self.auth = Stub(AuthServiceStub(channels.agents), metadata)
        self.tasks = Stub(TaskServiceStub(channels.tasks), metadata)
        self.events = Stub(EventServiceStub(channels.tasks), metadata)

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

    async def room(self, project: Project, *members: Agent, **fields: Any) -> Room:
        """A new room of the project, with these agents in it."""
        fields = {"project_id": project.id, "name": "Room", **fields}
        created: Room = await self.rooms.CreateRoom(CreateRoomRequest(room=Room(**fields)))
        for agent in members:
            request = AddParticipantRequest(room_id=created.id, agent_id=agent.id)
            await self.rooms.AddParticipant(request)
        return created

    async def task(self, project: Project, **fields: Any) -> Task:
        """A new task of the project."""
        fields = {"project_id": project.id, "title": "Task", **fields}
        created: Task = await self.tasks.CreateTask(CreateTaskRequest(task=Task(**fields)))
        return created

    async def api_key(self, agent: Agent, **fields: Any) -> CreateApiKeyResponse:
        """A new API key of the agent."""
        fields = {"agent_id": agent.id, "capabilities": CAPABILITIES, **fields}
        created: CreateApiKeyResponse = await self.auth.CreateApiKey(
            CreateApiKeyRequest(api_key=ApiKey(**fields))
        )
        return created

    async def as_agent(self, agent: Agent) -> "Client":
        """A client that calls as the agent, which got a new API key and exchanged it."""
        return await self.exchanged((await self.api_key(agent)).secret)

    async def exchanged(self, secret: str) -> "Client":
        """A client that calls as the agent whose API key this is."""
        answer = await self.auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=secret))
        return Client(self.channels, answer.access_token)


class User(Client):
    """A client with a user's token."""

    def __init__(self, user_id: UUID, channels: Channels, token: str) -> None:
        super().__init__(channels, token)
        self.id = user_id


@dataclass
class World:
    """What a test talks to."""

    database: Database
    """The services' pool."""
    settings: Settings
    channels: Channels
    owner: Database
    """A pool of the owner of the tables."""

    @classmethod
    @asynccontextmanager
    async def built(
        cls, database: Database, settings: Settings, owner: Database | None = None
    ) -> AsyncIterator["World"]:
        """Start the services on free ports, and stop them at the end.

        Without an `owner` the services' pool is the owner's.
        """
        async with running(build_agents(database, settings)) as (agents, address):
            settings = replace(settings, agent_address=address)
            async with running(build_tasks(database, settings)) as (tasks, address):
                settings = replace(settings, task_address=address)
                yield cls(database, settings, Channels(agents, tasks), owner or database)

    @asynccontextmanager
    async def asking(self, agent_address: str) -> AsyncIterator["World"]:
        """The same world, with a task service that asks an agent service at another address."""
        settings = replace(self.settings, agent_address=agent_address)
        async with running(build_tasks(self.database, settings)) as (tasks, _):
            channels = Channels(self.channels.agents, tasks)
            yield World(self.database, settings, channels, self.owner)

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
        return User(user_id, self.channels, self.token(user_id))

    async def member(self, project_id: UUID | str, user: User, role: str) -> None:
        """Make a user a member of a project."""
        await self.execute(
            "INSERT INTO project_members (id, project_id, user_id, role) VALUES ($1, $2, $3, $4)",
            uuid7(),
            project_id,
            user.id,
            role,
        )

    def nobody(self) -> Client:
        """A client without a token."""
        return Client(self.channels, None)

    def token(self, user_id: UUID, lifetime: timedelta = timedelta(hours=1)) -> str:
        """A token for a user."""
        return sign_user_token(self.settings, SECRET.get_secret_value(), user_id, lifetime)

    @property
    def url(self) -> str:
        """The database, past the services."""
        assert self.settings.database_url
        return self.settings.database_url.get_secret_value()

    async def clear(self) -> None:
        """Delete every row. Late writes of the test before may be in the way, but end."""
        await self.owner.transaction(
            lambda connection: connection.execute(f"{DELETE_ALL}; {BEGIN_LOG}")
        )

    async def execute(self, statement: str, *arguments: Any) -> None:
        """SQL past the services."""
        await self.owner.read(lambda connection: connection.execute(statement, *arguments))

    async def value(self, statement: str, *arguments: Any) -> Any:
        """The first value that SQL past the services answers."""
        return await self.owner.read(lambda c: c.fetchval(statement, *arguments))
