"""The stage of a test of access: who calls, and what the owner of a project has."""

import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from uuid_utils.compat import uuid7

from agent_service.api_keys import keys
from agent_service.api_keys.messages import DEFAULT_SCOPES
from shared.auth.keys import signing_key
from shared.auth.signing import sign_agent_token
from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.auth_service_pb2 import ApiKey, CreateApiKeyResponse
from tandem.agent.v1.project_service_pb2 import Project
from tandem.agent.v1.room_service_pb2 import Room
from tandem.task.v1.task_service_pb2 import Task
from tests.access.table import Row, Things, Who
from tests.world import TIMEOUT_SECONDS, Client, User, World

ROOT = Path(__file__).parents[2]
USERS = (
    Who.OWNER,
    Who.SUPERUSER,
    Who.ADMIN,
    Who.EDITOR,
    Who.VIEWER,
    Who.REMOVED,
    Who.ASSIGNED,
    Who.PARTICIPANT,
    Who.OTHER,
    Who.INACTIVE,
    Who.NOBODY,
)
MEMBERS = {Who.ADMIN: "admin", Who.EDITOR: "editor", Who.VIEWER: "viewer", Who.REMOVED: "admin"}
SCOPES = {
    Who.AGENT_NEIGHBOUR: "claim_tasks",
    Who.AGENT_READS: "read_project",
    Who.AGENT_CREATES: "create_tasks",
    Who.AGENT_MANAGES_TASKS: "manage_tasks",
    Who.AGENT_MANAGES_ROOMS: "manage_rooms",
}
# What an owner has, all of it by one statement: the matrix needs it a thousand times.
THINGS = """
WITH project AS (INSERT INTO projects (id, owner_id, slug, name) VALUES ($1, $2, $3, 'Project')),
log AS (INSERT INTO event_heads (project_id, log_id) VALUES ($1, gen_random_uuid())),
agent AS (INSERT INTO agents (id, project_id, name) VALUES ($4, $1, 'Agent')),
room AS (INSERT INTO chat_rooms (id, project_id, name) VALUES ($5, $1, 'Room')),
seat AS (
    INSERT INTO chat_participants (id, project_id, room_id, agent_id)
    VALUES (gen_random_uuid(), $1, $5, $4)
), users AS (
    INSERT INTO users (id, username, email)
    SELECT id, 'user-' || id, id || '@example.com' FROM unnest(ARRAY[$7, $8]::uuid[]) id
), member AS (
    INSERT INTO project_members (id, project_id, user_id, role)
    VALUES (gen_random_uuid(), $1, $8, 'editor')
), asking AS (
    INSERT INTO tasks (id, project_id, title, status, status_reason)
    VALUES ($11, $1, 'Asking', 'blocked', 'input')
), asked AS (
    INSERT INTO task_inputs (project_id, task_id, key, kind, prompt)
    VALUES ($1, $11, 'asked', 'input', 'Which?')
)
INSERT INTO tasks (id, project_id, title, status, assigned_agent_id, room_id) VALUES
    ($6, $1, 'Task', 'pending', $4, $5),
    ($9, $1, 'Ended', 'completed', NULL, NULL),
    ($10, $1, 'Ended', 'failed', NULL, NULL)
"""
KEY = """
INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, key_prefix, api_key_hash, scopes)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
AGENT = "INSERT INTO agents (id, project_id, name) VALUES ($1, $2, $1::uuid::text)"
PROJECT = "INSERT INTO projects (id, owner_id, slug, name) VALUES ($1, $2, $1::uuid::text, 'Other')"
DELETE = "DELETE FROM projects WHERE id = $1"
DEACTIVATE = "UPDATE agents SET is_active = false WHERE id = $1"
REVOKE = "UPDATE agent_api_keys SET status = 'revoked' WHERE id = $1"
REMOVE = "DELETE FROM project_members WHERE project_id = $1 AND user_id = $2"
# Only members can be assigned and seated by the services, and these are none any more.
ASSIGN = """
UPDATE tasks SET assigned_agent_id = NULL, assigned_user_id = $1, leased = false WHERE id = $2
"""
# As ClaimTasks does, which is a method of its own.
HOLD = """
WITH held AS (
    UPDATE tasks SET status = 'in_progress', leased = true, fence = 1, attempt = 1,
        started_at = now()
    WHERE id = $1 RETURNING *
), attempt AS (
    INSERT INTO task_attempts (project_id, task_id, fence, attempt, agent_id)
    SELECT project_id, id, fence, attempt, assigned_agent_id FROM held
)
INSERT INTO task_leases
    (project_id, task_id, agent_id, fence, pooled, agent_slot, expires_at, seconds)
SELECT project_id, id, assigned_agent_id, fence, false, 1, now() + interval '1 hour', 3600
FROM held
"""
SEAT = """
INSERT INTO chat_participants (id, project_id, room_id, user_id)
VALUES (gen_random_uuid(), $1, $2, $3)
"""


def declared() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every method of every service in the generated code."""
    for path in (ROOT / "tandem").rglob("*_pb2.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"{service.full_name}/{method.name}", method


DECLARED = dict(declared())


@dataclass
class Stage:
    """Who calls, and what the owner of a project has."""

    world: World
    method: MethodDescriptor
    row: Row
    owner: User

    async def things(self) -> Things:
        """New things of the owner's."""
        ids = [uuid7() for _ in range(9)]
        project, agent, room, task, *others = ids
        slug = f"p-{project.hex}"
        await self.world.execute(THINGS, project, self.owner.id, slug, *ids[1:])
        key = await self._key(project, agent, *DEFAULT_SCOPES)
        if self.row.is_held:
            await self.world.execute(HOLD, task)
        return Things(
            Project(id=str(project), slug=slug, owner_id=str(self.owner.id)),
            Agent(id=str(agent), project_id=str(project)),
            key,
            Room(id=str(room)),
            Task(id=str(task)),
            *map(str, others),
        )

    async def _key(self, project: UUID, agent: UUID, *scopes: str) -> CreateApiKeyResponse:
        """A new API key of an agent."""
        key_id, new = uuid7(), keys.make()
        stored = (new.key_id, new.prefix, keys.hash_of(new.text))
        await self.world.execute(KEY, key_id, project, agent, *stored, scopes)
        return CreateApiKeyResponse(api_key=ApiKey(id=str(key_id)), secret=new.text)

    async def caller(self, who: Who, its: Things) -> Client:
        """A caller of this kind, in the relation to these things that the kind states."""
        if who in USERS:
            return await self._user(who, its)
        project = UUID(its.project.id)
        if scope := SCOPES.get(who):
            return await self._agent(project, scope)
        if who in (Who.AGENT_STRANGER, Who.AGENT_DELETED_PROJECT):
            return await self._agent_elsewhere(gone=who is Who.AGENT_DELETED_PROJECT)
        if who is Who.AGENT_INACTIVE:
            await self.world.execute(DEACTIVATE, UUID(its.agent.id))
        if who is Who.KEY_REVOKED:
            await self.world.execute(REVOKE, UUID(its.key.api_key.id))
        return self._exchanged(UUID(its.agent.id), project, its.key)

    async def _agent(self, project: UUID, *scopes: str) -> Client:
        """A client that calls as a new agent of a project."""
        agent = uuid7()
        await self.world.execute(AGENT, agent, project)
        return self._exchanged(agent, project, await self._key(project, agent, *scopes))

    def _exchanged(self, agent: UUID, project: UUID, key: CreateApiKeyResponse) -> Client:
        """A client with the token that ExchangeApiKey gives for an API key."""
        signing, key_id = signing_key(self.world.settings), UUID(key.api_key.id)
        assert signing
        end = int(time.time()) + 3600
        token = sign_agent_token(self.world.settings, signing, agent, project, key_id, [], end)
        return Client(self.world.channels, token)

    async def _user(self, who: Who, its: Things) -> Client:
        if who is Who.OWNER:
            return self.owner
        if who is Who.NOBODY:
            return self.world.nobody()
        user = await self.world.user(superuser=who is Who.SUPERUSER, active=who is not Who.INACTIVE)
        if role := MEMBERS.get(who):
            await self.world.member(its.project.id, user, role)
        if who is Who.REMOVED:
            await self.world.execute(REMOVE, its.project.id, user.id)
        if who is Who.ASSIGNED:
            await self.world.execute(ASSIGN, user.id, its.task.id)
        if who is Who.PARTICIPANT:
            await self.world.execute(SEAT, its.project.id, its.room.id, user.id)
        return user

    async def _agent_elsewhere(self, *, gone: bool) -> Client:
        project = uuid7()
        await self.world.execute(PROJECT, project, self.owner.id)
        agent = await self._agent(project, *DEFAULT_SCOPES)
        if gone:
            await self.world.execute(DELETE, project)
        return agent

    def request(self, its: Things, *, spoiled: bool) -> Message:
        """A request of the method about these things."""
        request = self.row.request(its)
        if spoiled and self.row.spoiled_by:
            request.MergeFrom(self.row.spoiled_by)
        return request

    async def send(self, caller: Client, request: Message) -> Message:
        """Call the method. Of a stream, the first response is the answer."""
        bearer = (("authorization", f"Bearer {caller.token}"),) if caller.token else ()
        call = self._stub()(request, metadata=bearer, timeout=TIMEOUT_SECONDS)
        answer: Message = await (call.read() if self.method.server_streaming else call)
        call.cancel()
        return answer

    def _stub(self) -> Any:
        service = self.method.containing_service.full_name
        channels = self.world.channels
        of_tasks = service.startswith(("tandem.task.", "tandem.event."))
        channel = channels.tasks if of_tasks else channels.agents
        open_call: Any = channel.unary_unary
        if self.method.server_streaming:
            open_call = channel.unary_stream
        return open_call(
            f"/{service}/{self.method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(self.method.output_type).FromString,
        )
