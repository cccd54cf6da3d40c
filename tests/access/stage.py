"""The stage of a test of access: who calls, and what the owner of a project has."""

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from tandem.agent.v1.agent_service_pb2 import Agent, UpdateAgentRequest
from tandem.agent.v1.auth_service_pb2 import RevokeApiKeyRequest
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest
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
    Who.AGENT_NEIGHBOUR: "API_KEY_SCOPE_CLAIM_TASKS",
    Who.AGENT_READS: "API_KEY_SCOPE_READ_PROJECT",
    Who.AGENT_CREATES: "API_KEY_SCOPE_CREATE_TASKS",
    Who.AGENT_MANAGES_TASKS: "API_KEY_SCOPE_MANAGE_TASKS",
    Who.AGENT_MANAGES_ROOMS: "API_KEY_SCOPE_MANAGE_ROOMS",
}
ENDED = """
INSERT INTO tasks (id, project_id, title, status)
VALUES (gen_random_uuid(), $1, 'Ended', $2) RETURNING id
"""
ASKING = """
WITH asking AS (
    INSERT INTO tasks (id, project_id, title, status, status_reason)
    VALUES (gen_random_uuid(), $1, 'Asking', 'blocked', 'input') RETURNING project_id, id
)
INSERT INTO task_inputs (project_id, task_id, key, kind, prompt)
SELECT project_id, id, 'asked', 'input', 'Which?' FROM asking RETURNING task_id
"""
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
        project = await self.owner.project()
        agent = await self.owner.agent(project)
        key = await self.owner.api_key(agent)
        room = await self.owner.room(project, agent)
        task = await self.owner.task(
            project, room_id=room.id, assigned_to=agent.id, assigned_to_type=1
        )
        if self.row.is_held:
            await self.world.execute(HOLD, task.id)
        user, member = await self.world.user(), await self.world.user()
        await self.world.member(project.id, member, "editor")
        asking_id = str(await self.world.value(ASKING, project.id))
        done_id, failed_id = [
            str(await self.world.value(ENDED, project.id, status))
            for status in ("completed", "failed")
        ]
        ids = (str(user.id), str(member.id), done_id, failed_id, asking_id)
        return Things(project, agent, key, room, task, *ids)

    async def caller(self, who: Who, its: Things) -> Client:
        """A caller of this kind, in the relation to these things that the kind states."""
        if who in USERS:
            return await self._user(who, its)
        if scope := SCOPES.get(who):
            neighbour = await self.owner.agent(its.project)
            key = await self.owner.api_key(neighbour, scopes=[scope])
            return await self.owner.exchanged(key.secret)
        if who in (Who.AGENT_STRANGER, Who.AGENT_DELETED_PROJECT):
            return await self._agent_elsewhere(gone=who is Who.AGENT_DELETED_PROJECT)
        agent = await self.owner.exchanged(its.key.secret)
        if who is Who.AGENT_INACTIVE:
            inactive = Agent(id=its.agent.id, is_active=False)
            await self.owner.agents.UpdateAgent(UpdateAgentRequest(agent=inactive))
        if who is Who.KEY_REVOKED:
            revoke = RevokeApiKeyRequest(api_key_id=its.key.api_key.id)
            await self.owner.auth.RevokeApiKey(revoke)
        return agent

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
        project = await self.owner.project()
        agent = await self.owner.as_agent(await self.owner.agent(project))
        if gone:
            await self.owner.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
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
