"""Access, as one table: every method of every service, by every kind of caller."""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeAlias

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from shared.errors import Reason
from tandem.agent.v1 import agent_service_pb2 as agents
from tandem.agent.v1 import auth_service_pb2 as auth
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.agent.v1 import room_service_pb2 as rooms
from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.auth_service_pb2 import CreateApiKeyResponse
from tandem.agent.v1.project_service_pb2 import Project
from tandem.agent.v1.room_service_pb2 import Room
from tandem.task.v1 import task_service_pb2 as tasks
from tandem.task.v1.task_service_pb2 import Task

# As Any, so that requests can be written as nested dictionaries.
a: Any = agents
p: Any = projects
r: Any = rooms
k: Any = auth
t: Any = tasks


@dataclass(frozen=True)
class Things:
    """What an owner has: the agent is in the room, has the API key, and is assigned the task."""

    project: Project
    agent: Agent
    key: CreateApiKeyResponse
    room: Room
    task: Task


class Answer(Enum):
    """The result of a call; the value is how the table shows it."""

    OK = "yes"
    NOT_PROJECT_OWNER = Reason.NOT_PROJECT_OWNER.name
    NOT_ALLOWED_FOR_AGENT = Reason.NOT_ALLOWED_FOR_AGENT.name
    CALLER_INACTIVE = Reason.CALLER_INACTIVE.name
    TOKEN_MISSING = Reason.TOKEN_MISSING.name
    API_KEY_INVALID = Reason.API_KEY_INVALID.name


class Who(Enum):
    """The kinds of callers; the value is the head of their column."""

    OWNER = "owner"
    SUPERUSER = "superuser"
    OTHER = "other user"
    INACTIVE = "inactive user"
    NOBODY = "nobody"
    AGENT_SELF = "agent-self"
    AGENT_NEIGHBOUR = "agent-other of the project"
    AGENT_STRANGER = "agent-other of another project"
    AGENT_INACTIVE = "agent-inactive"
    AGENT_DELETED_PROJECT = "agent-of-deleted-project"
    KEY_REVOKED = "key-revoked"


# Callers that are rejected before the rule of the method is applied.
STOPPED = {
    Who.INACTIVE: Answer.CALLER_INACTIVE,
    Who.NOBODY: Answer.TOKEN_MISSING,
    Who.AGENT_INACTIVE: Answer.CALLER_INACTIVE,
    Who.AGENT_DELETED_PROJECT: Answer.CALLER_INACTIVE,
    Who.KEY_REVOKED: Answer.CALLER_INACTIVE,
}
NOT_FOR_AGENTS = dict.fromkeys(
    (Who.AGENT_SELF, Who.AGENT_NEIGHBOUR, Who.AGENT_STRANGER), Answer.NOT_ALLOWED_FOR_AGENT
)


Answers: TypeAlias = Mapping[Who, Answer]

# By kind of method: the results other than success.
OWN: Answers = {**STOPPED, **NOT_FOR_AGENTS, Who.OTHER: Answer.NOT_PROJECT_OWNER}
OWN_OR_SELF: Answers = {**OWN, Who.AGENT_SELF: Answer.OK}
# An agent is shown its own tasks of the project, possibly none.
OWN_OR_ITS_PART: Answers = {**OWN_OR_SELF, Who.AGENT_NEIGHBOUR: Answer.OK}
EVERY_USER: Answers = {**STOPPED, **NOT_FOR_AGENTS}
EVERY_CALLER: Answers = STOPPED
# The API key is the proof, whichever caller sends it.
EVERYBODY: Answers = dict.fromkeys((Who.AGENT_INACTIVE, Who.KEY_REVOKED), Answer.API_KEY_INVALID)


@dataclass(frozen=True)
class Row:
    """A method: who may call it, a valid request, and what makes its content invalid."""

    answers: Answers
    request: Callable[[Things], Message]
    spoiled_by: Message | None = None

    def answer(self, who: Who) -> Answer:
        """The result for this kind of caller."""
        return self.answers.get(who, Answer.OK)


def own(request: Callable[[Things], Message], spoiled_by: Message | None = None) -> Row:
    return Row(OWN, request, spoiled_by)


def own_or_self(request: Callable[[Things], Message], spoiled_by: Message | None = None) -> Row:
    return Row(OWN_OR_SELF, request, spoiled_by)


MASK = FieldMask(paths=["nonsense"])
AGENTS = {
    "CreateAgent": own(
        lambda its: a.CreateAgentRequest(agent={"project_id": its.project.id, "name": "New"}),
        a.CreateAgentRequest(agent={"nickname": "\0"}),
    ),
    "GetAgent": own_or_self(lambda its: a.GetAgentRequest(agent_id=its.agent.id)),
    "BatchGetAgents": own(lambda its: a.BatchGetAgentsRequest(agent_ids=[its.agent.id])),
    "ListAgents": own(
        lambda its: a.ListAgentsRequest(project_id=its.project.id),
        a.ListAgentsRequest(page_size=-1),
    ),
    "UpdateAgent": own(
        lambda its: a.UpdateAgentRequest(agent={"id": its.agent.id, "name": "Other"}),
        a.UpdateAgentRequest(update_mask=MASK),
    ),
    "DeleteAgent": own(
        lambda its: a.DeleteAgentRequest(agent_id=its.agent.id),
        a.DeleteAgentRequest(revision=-1),
    ),
    "SetAgentStatus": own_or_self(
        lambda its: a.SetAgentStatusRequest(agent_id=its.agent.id, status=2),
        a.SetAgentStatusRequest(status=99),
    ),
    "VerifyAgentAccess": own(lambda its: a.VerifyAgentAccessRequest(agent_id=its.agent.id)),
    "ValidateAssignee": own(
        lambda its: a.ValidateAssigneeRequest(
            project_id=its.project.id, assignee_id=its.agent.id, assignee_type=1
        ),
        a.ValidateAssigneeRequest(assignee_id="x"),
    ),
}
PROJECTS = {
    "CreateProject": Row(
        EVERY_USER,
        lambda its: projects.CreateProjectRequest(
            project=Project(slug=f"new-{its.project.slug}", name="New")
        ),
        p.CreateProjectRequest(project={"description": "\0"}),
    ),
    "GetProject": own(lambda its: p.GetProjectRequest(project_id=its.project.id)),
    "ListProjects": Row(
        EVERY_USER, lambda _: p.ListProjectsRequest(), p.ListProjectsRequest(page_size=-1)
    ),
    "UpdateProject": own(
        lambda its: p.UpdateProjectRequest(project={"id": its.project.id, "name": "Other"}),
        p.UpdateProjectRequest(update_mask=MASK),
    ),
    "DeleteProject": own(
        lambda its: p.DeleteProjectRequest(project_id=its.project.id),
        p.DeleteProjectRequest(revision=-1),
    ),
}
ROOMS = {
    "CreateRoom": own(
        lambda its: r.CreateRoomRequest(room={"project_id": its.project.id, "name": "New"}),
        r.CreateRoomRequest(room={"description": "\0"}),
    ),
    "GetRoom": own(lambda its: r.GetRoomRequest(room_id=its.room.id)),
    "ListRooms": own(
        lambda its: r.ListRoomsRequest(project_id=its.project.id),
        r.ListRoomsRequest(page_size=-1),
    ),
    "UpdateRoom": own(
        lambda its: r.UpdateRoomRequest(room={"id": its.room.id, "name": "Other"}),
        r.UpdateRoomRequest(update_mask=MASK),
    ),
    "DeleteRoom": own(
        lambda its: r.DeleteRoomRequest(room_id=its.room.id),
        r.DeleteRoomRequest(revision=-1),
    ),
    "AddParticipant": own(
        lambda its: r.AddParticipantRequest(room_id=its.room.id, user_id=its.project.owner_id),
        r.AddParticipantRequest(request_id="x"),
    ),
    "RemoveParticipant": own(
        lambda its: r.RemoveParticipantRequest(room_id=its.room.id, agent_id=its.agent.id),
        r.RemoveParticipantRequest(request_id="x"),
    ),
    "ListParticipants": own(
        lambda its: r.ListParticipantsRequest(room_id=its.room.id),
        r.ListParticipantsRequest(page_size=-1),
    ),
}
AUTH = {
    "WhoAmI": Row(EVERY_CALLER, lambda _: k.WhoAmIRequest()),
    "CreateApiKey": own(
        lambda its: k.CreateApiKeyRequest(api_key={"agent_id": its.agent.id}),
        k.CreateApiKeyRequest(api_key={"capabilities": ["\0"]}),
    ),
    "ListApiKeys": own(
        lambda its: k.ListApiKeysRequest(agent_id=its.agent.id),
        k.ListApiKeysRequest(page_size=-1),
    ),
    "RevokeApiKey": own(
        lambda its: k.RevokeApiKeyRequest(api_key_id=its.key.api_key.id),
        k.RevokeApiKeyRequest(request_id="x"),
    ),
    "RotateApiKey": own(
        lambda its: k.RotateApiKeyRequest(api_key_id=its.key.api_key.id),
        k.RotateApiKeyRequest(grace_period={"seconds": -1}),
    ),
    "ExchangeApiKey": Row(EVERYBODY, lambda its: k.ExchangeApiKeyRequest(api_key=its.key.secret)),
}
TASKS = {
    "CreateTask": own(
        lambda its: t.CreateTaskRequest(task={"project_id": its.project.id, "title": "New"}),
        t.CreateTaskRequest(task={"description": "\0"}),
    ),
    "GetTask": own_or_self(lambda its: t.GetTaskRequest(task_id=its.task.id)),
    "BatchGetTasks": own_or_self(lambda its: t.BatchGetTasksRequest(task_ids=[its.task.id])),
    "ListTasks": Row(
        OWN_OR_ITS_PART,
        lambda its: t.ListTasksRequest(project_id=its.project.id),
        t.ListTasksRequest(page_size=-1),
    ),
    "UpdateTask": own(
        lambda its: t.UpdateTaskRequest(task={"id": its.task.id, "title": "Other"}),
        t.UpdateTaskRequest(update_mask=MASK),
    ),
    "DeleteTask": own(
        lambda its: t.DeleteTaskRequest(task_id=its.task.id),
        t.DeleteTaskRequest(revision=-1),
    ),
    "AssignTask": own(
        lambda its: t.AssignTaskRequest(
            task_id=its.task.id, assigned_to=its.agent.id, assigned_to_type=1
        ),
        t.AssignTaskRequest(assigned_to="x"),
    ),
    "UnassignTask": own(
        lambda its: t.UnassignTaskRequest(task_id=its.task.id),
        t.UnassignTaskRequest(request_id="x"),
    ),
    "UpdateTaskStatus": own_or_self(
        lambda its: t.UpdateTaskStatusRequest(task_id=its.task.id, status=2),
        t.UpdateTaskStatusRequest(status=99),
    ),
    "VerifyDependencies": own(
        lambda its: t.VerifyDependenciesRequest(task_id=its.task.id),
        t.VerifyDependenciesRequest(dependencies=["x"]),
    ),
}
METHODS = {
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


def rendered() -> str:
    """The table as Markdown, a row for each method."""
    heads = ["", *(who.value for who in Who)]
    lines = [heads, ["---"] * len(heads)]
    for method, row in METHODS.items():
        name = method.removeprefix("tandem.").replace(".v1.", ".")
        lines.append([name, *(row.answer(who).value for who in Who)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


if __name__ == "__main__":
    sys.stdout.write(f"{rendered()}\n\n{len(METHODS) * len(Who)} cells\n")
