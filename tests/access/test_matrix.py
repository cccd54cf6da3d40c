"""Who may call what: every method of every service, by every kind of caller."""

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from shared.errors import Reason
from tandem.agent.v1 import agent_service_pb2 as agents
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.agent.v1 import room_service_pb2 as rooms
from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.project_service_pb2 import Project
from tandem.task.v1 import task_service_pb2 as tasks
from tandem.task.v1.task_service_pb2 import Task
from tests.refusals import refused
from tests.world import TIMEOUT_SECONDS, Client, User, World

ROOT = Path(__file__).parents[2]
Make = Callable[[Project, Agent, Task], Message]
# A type error in a request's fields is the type checker's business only where it sees the type.
a: Any = agents
p: Any = projects
r: Any = rooms
k: Any = auth
t: Any = tasks


class Whose(Enum):
    """Who may call a method, on what."""

    OWN = "owners on what is theirs, and superusers"
    ANY = "every active user"
    LATER = "nobody yet: it is not implemented, which callers without a token are not told"
    OPEN_LATER = "nobody yet, and everybody is told"


@dataclass(frozen=True)
class Row:
    """A method: who may call it, a request that is valid, and what makes its content invalid."""

    whose: Whose
    request: Make
    spoiled_by: Message | None = None


def own(request: Make, spoiled_by: Message | None = None) -> Row:
    return Row(Whose.OWN, request, spoiled_by)


def anybody(request: Message) -> Row:
    return Row(Whose.ANY, lambda *_: request)


def later(request: Message) -> Row:
    return Row(Whose.LATER, lambda *_: request)


MASK = FieldMask(paths=["nonsense"])
AGENTS = {
    "CreateAgent": own(
        lambda project, *_: a.CreateAgentRequest(agent={"project_id": project.id, "name": "New"}),
        a.CreateAgentRequest(agent={"nickname": "\0"}),
    ),
    "GetAgent": own(lambda _p, agent, _t: a.GetAgentRequest(agent_id=agent.id)),
    "BatchGetAgents": own(lambda _p, agent, _t: a.BatchGetAgentsRequest(agent_ids=[agent.id])),
    "ListAgents": own(
        lambda project, *_: a.ListAgentsRequest(project_id=project.id),
        a.ListAgentsRequest(page_size=-1),
    ),
    "UpdateAgent": own(
        lambda _p, agent, _t: a.UpdateAgentRequest(agent={"id": agent.id, "name": "Other"}),
        a.UpdateAgentRequest(update_mask=MASK),
    ),
    "DeleteAgent": own(
        lambda _p, agent, _t: a.DeleteAgentRequest(agent_id=agent.id),
        a.DeleteAgentRequest(revision=-1),
    ),
    "SetAgentStatus": own(
        lambda _p, agent, _t: a.SetAgentStatusRequest(agent_id=agent.id, status=2),
        a.SetAgentStatusRequest(status=99),
    ),
    "VerifyAgentAccess": own(lambda _p, agent, _t: a.VerifyAgentAccessRequest(agent_id=agent.id)),
    "ValidateAssignee": own(
        lambda project, agent, _t: a.ValidateAssigneeRequest(
            project_id=project.id, assignee_id=agent.id, assignee_type=1
        ),
        a.ValidateAssigneeRequest(assignee_id="x"),
    ),
}
PROJECTS = {
    "CreateProject": Row(
        Whose.ANY,
        lambda p, *_: projects.CreateProjectRequest(
            project=Project(slug=f"new-{p.slug}", name="New")
        ),
    ),
    "GetProject": own(lambda project, *_: p.GetProjectRequest(project_id=project.id)),
    "ListProjects": anybody(p.ListProjectsRequest()),
    "UpdateProject": own(
        lambda project, *_: p.UpdateProjectRequest(project={"id": project.id, "name": "Other"}),
        p.UpdateProjectRequest(update_mask=MASK),
    ),
    "DeleteProject": own(
        lambda project, *_: p.DeleteProjectRequest(project_id=project.id),
        p.DeleteProjectRequest(revision=-1),
    ),
}
ROOMS = {
    "CreateRoom": own(
        lambda project, *_: r.CreateRoomRequest(room={"project_id": project.id, "name": "New"}),
        r.CreateRoomRequest(room={"description": "\0"}),
    ),
    "GetRoom": own(lambda _p, _a, task: r.GetRoomRequest(room_id=task.room_id)),
    "ListRooms": own(
        lambda project, *_: r.ListRoomsRequest(project_id=project.id),
        r.ListRoomsRequest(page_size=-1),
    ),
    "UpdateRoom": own(
        lambda _p, _a, task: r.UpdateRoomRequest(room={"id": task.room_id, "name": "Other"}),
        r.UpdateRoomRequest(update_mask=MASK),
    ),
    "DeleteRoom": own(
        lambda _p, _a, task: r.DeleteRoomRequest(room_id=task.room_id),
        r.DeleteRoomRequest(revision=-1),
    ),
    "AddParticipant": own(
        lambda project, _a, task: r.AddParticipantRequest(
            room_id=task.room_id, user_id=project.owner_id
        ),
        r.AddParticipantRequest(request_id="x"),
    ),
    "RemoveParticipant": own(
        lambda _p, agent, task: r.RemoveParticipantRequest(room_id=task.room_id, agent_id=agent.id),
        r.RemoveParticipantRequest(request_id="x"),
    ),
    "ListParticipants": own(
        lambda _p, _a, task: r.ListParticipantsRequest(room_id=task.room_id),
        r.ListParticipantsRequest(page_size=-1),
    ),
}
AUTH = {
    "WhoAmI": anybody(k.WhoAmIRequest()),
    "CreateApiKey": later(k.CreateApiKeyRequest()),
    "ListApiKeys": later(k.ListApiKeysRequest()),
    "RevokeApiKey": later(k.RevokeApiKeyRequest()),
    "RotateApiKey": later(k.RotateApiKeyRequest()),
    "ExchangeApiKey": Row(Whose.OPEN_LATER, lambda *_: auth.ExchangeApiKeyRequest()),
}
TASKS = {
    "CreateTask": own(
        lambda project, *_: t.CreateTaskRequest(task={"project_id": project.id, "title": "New"}),
        t.CreateTaskRequest(task={"description": "\0"}),
    ),
    "GetTask": own(lambda _p, _a, task: t.GetTaskRequest(task_id=task.id)),
    "ListTasks": own(
        lambda project, *_: t.ListTasksRequest(project_id=project.id),
        t.ListTasksRequest(page_size=-1),
    ),
    "UpdateTask": own(
        lambda _p, _a, task: t.UpdateTaskRequest(task={"id": task.id, "title": "Other"}),
        t.UpdateTaskRequest(update_mask=MASK),
    ),
    "DeleteTask": own(
        lambda _p, _a, task: t.DeleteTaskRequest(task_id=task.id),
        t.DeleteTaskRequest(revision=-1),
    ),
    "AssignTask": own(
        lambda _p, agent, task: t.AssignTaskRequest(
            task_id=task.id, assigned_to=agent.id, assigned_to_type=1
        ),
        t.AssignTaskRequest(assigned_to="x"),
    ),
    "UnassignTask": own(
        lambda _p, _a, task: t.UnassignTaskRequest(task_id=task.id),
        t.UnassignTaskRequest(request_id="x"),
    ),
    "UpdateTaskStatus": own(
        lambda _p, _a, task: t.UpdateTaskStatusRequest(task_id=task.id, status=2),
        t.UpdateTaskStatusRequest(status=99),
    ),
    "VerifyDependencies": own(
        lambda _p, _a, task: t.VerifyDependenciesRequest(task_id=task.id),
        t.VerifyDependenciesRequest(dependencies=["x"]),
    ),
}
TABLE = {
    f"{service}/{method}": row
    for service, rows in {
        "tandem.agent.v1.AgentService": AGENTS,
        "tandem.agent.v1.ProjectService": PROJECTS,
        "tandem.agent.v1.RoomService": ROOMS,
        "tandem.agent.v1.AuthService": AUTH,
        "tandem.task.v1.TaskService": TASKS,
    }.items()
    for method, row in rows.items()
}


def declared() -> Iterator[tuple[str, MethodDescriptor]]:
    """Every method of every service of whatever was generated from the protos."""
    for path in (ROOT / "tandem").rglob("*_pb2.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for service in importlib.import_module(name).DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                yield f"{service.full_name}/{method.name}", method


METHODS = dict(declared())


def test_every_method_has_its_row() -> None:
    assert sorted(TABLE) == sorted(METHODS)
    assert len(METHODS) > 30


@dataclass
class Stage:
    """The callers, and what one of them owns."""

    world: World
    method: MethodDescriptor
    row: Row
    owner: User

    async def request(self, *, spoiled: bool = False) -> Message:
        """A request for something new of the owner's."""
        project = await self.owner.project()
        agent = await self.owner.agent(project)
        room = await self.owner.room(project, agent)
        task = await self.owner.task(project, room_id=room.id)
        request = self.row.request(project, agent, task)
        if spoiled and self.row.spoiled_by:
            request.MergeFrom(self.row.spoiled_by)
        return request

    async def call(self, caller: Client, *, spoiled: bool = False) -> Message:
        service = self.method.containing_service.full_name
        is_task = service.startswith("tandem.task.")
        channel = self.world.channels.tasks if is_task else self.world.channels.agents
        call: Any = channel.unary_unary(
            f"/{service}/{self.method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(self.method.output_type).FromString,
        )
        bearer = (("authorization", f"Bearer {caller.token}"),) if caller.token else ()
        request = await self.request(spoiled=spoiled)
        answer: Message = await call(request, metadata=bearer, timeout=TIMEOUT_SECONDS)
        return answer


@pytest.mark.parametrize("name", TABLE)
async def test_who_may_call(world: World, name: str) -> None:
    stage = Stage(world, METHODS[name], TABLE[name], await world.user())
    superuser, other = await world.user(superuser=True), await world.user()
    inactive = await world.user(active=False)
    if stage.row.whose is Whose.OPEN_LATER:
        for caller in (stage.owner, superuser, other, inactive, world.nobody()):
            await unimplemented(stage, caller)
        return
    for spoiled in (False, True):
        await refused(stage.call(world.nobody(), spoiled=spoiled), Reason.TOKEN_MISSING)
        await refused(stage.call(inactive, spoiled=spoiled), Reason.CALLER_INACTIVE)
    if stage.row.whose is Whose.LATER:
        for caller in (stage.owner, superuser, other):
            await unimplemented(stage, caller)
        return
    await stage.call(stage.owner)
    await stage.call(superuser)
    if stage.row.whose is Whose.ANY:
        await stage.call(other)
    else:
        await refused(stage.call(other), Reason.NOT_PROJECT_OWNER)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.spoiled_by])
async def test_access_comes_before_content(world: World, name: str) -> None:
    stage = Stage(world, METHODS[name], TABLE[name], await world.user())
    reasons = (Reason.INVALID_FIELD, Reason.INVALID_UPDATE_MASK)
    reason = reasons["Update" in name and "Status" not in name]
    await refused(stage.call(stage.owner, spoiled=True), reason)
    await refused(stage.call(await world.user(superuser=True), spoiled=True), reason)
    await refused(stage.call(await world.user(), spoiled=True), Reason.NOT_PROJECT_OWNER)


async def unimplemented(stage: Stage, caller: Client) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stage.call(caller)
    assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
