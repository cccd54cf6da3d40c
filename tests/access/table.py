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
from tandem.agent.v1 import member_service_pb2 as member_service
from tandem.agent.v1 import project_service_pb2 as projects
from tandem.agent.v1 import room_service_pb2 as rooms
from tandem.agent.v1 import user_service_pb2 as users
from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.auth_service_pb2 import CreateApiKeyResponse
from tandem.agent.v1.project_service_pb2 import Project
from tandem.agent.v1.room_service_pb2 import Room
from tandem.event.v1 import event_service_pb2 as events
from tandem.task.v1 import task_service_pb2 as tasks
from tandem.task.v1.task_service_pb2 import Task

# As Any, so that requests can be written as nested dictionaries.
a: Any = agents
p: Any = projects
m: Any = member_service
r: Any = rooms
k: Any = auth
t: Any = tasks
e: Any = events
u: Any = users


@dataclass(frozen=True)
class Things:
    """What an owner has: the agent is in the room, has the API key, and is assigned the task.

    `user_id` is a user who has nothing and is no member; `member_id` is an editor; `done_id` and
    `failed_id` are tasks that are completed and have failed; `asking_id` is one that waits for an
    answer.
    """

    project: Project
    agent: Agent
    key: CreateApiKeyResponse
    room: Room
    task: Task
    user_id: str
    member_id: str
    done_id: str
    failed_id: str
    asking_id: str


class Answer(Enum):
    """The result of a call; the value is how the table shows it."""

    OK = "yes"
    NOT_PROJECT_OWNER = Reason.NOT_PROJECT_OWNER.name
    INSUFFICIENT_ROLE = Reason.INSUFFICIENT_ROLE.name
    NOT_ALLOWED_FOR_AGENT = Reason.NOT_ALLOWED_FOR_AGENT.name
    SCOPE_MISSING = Reason.SCOPE_MISSING.name
    LEASE_LOST = Reason.LEASE_LOST.name
    CALLER_INACTIVE = Reason.CALLER_INACTIVE.name
    TOKEN_MISSING = Reason.TOKEN_MISSING.name
    API_KEY_INVALID = Reason.API_KEY_INVALID.name


class Who(Enum):
    """The kinds of callers; the value is the head of their column."""

    OWNER = "owner"
    SUPERUSER = "superuser"
    ADMIN = "admin"
    EDITOR = "editor"
    VIEWER = "viewer"
    REMOVED = "removed member"
    ASSIGNED = "assigned user"
    PARTICIPANT = "participating user"
    OTHER = "other user"
    INACTIVE = "inactive user"
    NOBODY = "nobody"
    AGENT_SELF = "agent-self"
    AGENT_NEIGHBOUR = "agent-other with CLAIM_TASKS"
    AGENT_READS = "agent-other with READ_PROJECT"
    AGENT_CREATES = "agent-other with CREATE_TASKS"
    AGENT_MANAGES_TASKS = "agent-other with MANAGE_TASKS"
    AGENT_MANAGES_ROOMS = "agent-other with MANAGE_ROOMS"
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
MEMBERS = (Who.VIEWER, Who.EDITOR, Who.ADMIN)
STRANGERS = (Who.OTHER, Who.REMOVED, Who.ASSIGNED, Who.PARTICIPANT)
AGENTS_HERE = (
    Who.AGENT_SELF,
    Who.AGENT_NEIGHBOUR,
    Who.AGENT_READS,
    Who.AGENT_CREATES,
    Who.AGENT_MANAGES_TASKS,
    Who.AGENT_MANAGES_ROOMS,
)


Answers: TypeAlias = Mapping[Who, Answer]


def members(lowest: Who, *allowed: Who, own: bool = False) -> Answers:
    """What members from `lowest` on may do, and agents with a scope for it, who are `allowed`.

    Others may be allowed if the row is their own: then it takes the row to refuse the rest.
    """
    scopes = any("_" in who.value for who in allowed)
    here = Answer.SCOPE_MISSING if scopes else Answer.NOT_ALLOWED_FOR_AGENT
    refused = {
        **STOPPED,
        **dict.fromkeys(STRANGERS, Answer.NOT_PROJECT_OWNER),
        **dict.fromkeys(MEMBERS[: MEMBERS.index(lowest)], Answer.INSUFFICIENT_ROLE),
        **dict.fromkeys(AGENTS_HERE, here),
        Who.AGENT_STRANGER: Answer.NOT_ALLOWED_FOR_AGENT if own else here,
    }
    return {who: answer for who, answer in refused.items() if who not in allowed}


READS, CREATES = Who.AGENT_READS, Who.AGENT_CREATES
TASKS_OF, ROOMS_OF = Who.AGENT_MANAGES_TASKS, Who.AGENT_MANAGES_ROOMS

# By kind of method: the results other than success.
READ = members(Who.VIEWER, READS)
READ_AGENT = members(Who.VIEWER, READS, Who.AGENT_SELF, own=True)
READ_TASK = members(Who.VIEWER, READS, TASKS_OF, Who.AGENT_SELF, Who.ASSIGNED, own=True)
# A caller is shown its own tasks of the project, an agent possibly none.
LIST_TASKS = members(Who.VIEWER, *AGENTS_HERE, Who.ASSIGNED, own=True)
# An agent is shown what is its own, possibly nothing.
READ_EVENTS = members(Who.VIEWER, *AGENTS_HERE, own=True)
CHECK_TASKS = members(Who.VIEWER, READS, TASKS_OF)
READ_ROOM = members(Who.VIEWER, READS, ROOMS_OF, Who.PARTICIPANT, own=True)
LIST_ROOMS = members(Who.VIEWER, READS, ROOMS_OF)
CREATE_TASK = members(Who.EDITOR, CREATES, TASKS_OF)
MANAGE_TASK = members(Who.EDITOR, TASKS_OF)
MOVE_TASK = members(Who.EDITOR, TASKS_OF, Who.AGENT_SELF, Who.ASSIGNED, own=True)
CLAIMS = members(Who.ADMIN, Who.AGENT_NEIGHBOUR, Who.AGENT_SELF, own=True)
# An agent claims for itself alone, and to it a task that another holds is one that it has lost.
CLAIM_TASK = {**CLAIMS, Who.AGENT_NEIGHBOUR: Answer.NOT_ALLOWED_FOR_AGENT}
HOLD_TASK = {**CLAIMS, Who.AGENT_NEIGHBOUR: Answer.LEASE_LOST}
MANAGE_ROOM = members(Who.EDITOR, ROOMS_OF)
SET_STATUS = members(Who.EDITOR, Who.AGENT_SELF, own=True)
ADMINISTER = members(Who.ADMIN)
OWN = {**ADMINISTER, **dict.fromkeys(MEMBERS, Answer.INSUFFICIENT_ROLE)}
EVERY_USER: Answers = {
    **STOPPED,
    **dict.fromkeys((*AGENTS_HERE, Who.AGENT_STRANGER), Answer.NOT_ALLOWED_FOR_AGENT),
}
# A user is shown its own, an agent needs a scope for any.
EVERY_READER: Answers = {
    who: Answer.SCOPE_MISSING if answer is Answer.NOT_ALLOWED_FOR_AGENT else answer
    for who, answer in EVERY_USER.items()
    if who is not READS
}
EVERY_CALLER: Answers = STOPPED
# Only superusers, or only the owner besides them: what is asked about is the owner's own.
SUPERUSERS: Answers = {
    **EVERY_USER,
    **dict.fromkeys((Who.OWNER, *MEMBERS, *STRANGERS), Answer.INSUFFICIENT_ROLE),
}
SELF: Answers = {who: answer for who, answer in SUPERUSERS.items() if who is not Who.OWNER}
# The API key is the proof, whichever caller sends it.
EVERYBODY: Answers = dict.fromkeys((Who.AGENT_INACTIVE, Who.KEY_REVOKED), Answer.API_KEY_INVALID)


@dataclass(frozen=True)
class Row:
    """A method: who may call it, a valid request, and what makes its content invalid."""

    answers: Answers
    request: Callable[[Things], Message]
    spoiled_by: Message | None = None
    # What only a valid request shows to be the caller's own.
    found_by_request: frozenset[Who] = frozenset()
    # Whether the agent is to hold the task, by its first lease.
    is_held: bool = False

    def answer(self, who: Who) -> Answer:
        """The result for this kind of caller."""
        return self.answers.get(who, Answer.OK)


MASK = FieldMask(paths=["nonsense"])
AGENTS = {
    "CreateAgent": Row(
        ADMINISTER,
        lambda its: a.CreateAgentRequest(agent={"project_id": its.project.id, "name": "New"}),
        a.CreateAgentRequest(agent={"nickname": "\0"}),
    ),
    "GetAgent": Row(READ_AGENT, lambda its: a.GetAgentRequest(agent_id=its.agent.id)),
    "BatchGetAgents": Row(
        READ_AGENT, lambda its: a.BatchGetAgentsRequest(agent_ids=[its.agent.id])
    ),
    "ListAgents": Row(
        READ,
        lambda its: a.ListAgentsRequest(project_id=its.project.id),
        a.ListAgentsRequest(page_size=-1),
    ),
    "UpdateAgent": Row(
        ADMINISTER,
        lambda its: a.UpdateAgentRequest(agent={"id": its.agent.id, "name": "Other"}),
        a.UpdateAgentRequest(update_mask=MASK),
    ),
    "DeleteAgent": Row(
        ADMINISTER,
        lambda its: a.DeleteAgentRequest(agent_id=its.agent.id),
        a.DeleteAgentRequest(revision=-1),
    ),
    "SetAgentStatus": Row(
        SET_STATUS,
        lambda its: a.SetAgentStatusRequest(agent_id=its.agent.id, status=2),
        a.SetAgentStatusRequest(status=99),
    ),
    "VerifyAgentAccess": Row(
        READ_AGENT, lambda its: a.VerifyAgentAccessRequest(agent_id=its.agent.id)
    ),
    "ValidateAssignee": Row(
        CREATE_TASK,
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
    "GetProject": Row(READ, lambda its: p.GetProjectRequest(project_id=its.project.id)),
    "ListProjects": Row(
        EVERY_READER, lambda _: p.ListProjectsRequest(), p.ListProjectsRequest(page_size=-1)
    ),
    "UpdateProject": Row(
        ADMINISTER,
        lambda its: p.UpdateProjectRequest(project={"id": its.project.id, "name": "Other"}),
        p.UpdateProjectRequest(update_mask=MASK),
    ),
    "DeleteProject": Row(
        OWN,
        lambda its: p.DeleteProjectRequest(project_id=its.project.id),
        p.DeleteProjectRequest(revision=-1),
    ),
    "TransferProject": Row(
        OWN,
        lambda its: p.TransferProjectRequest(project_id=its.project.id, owner_id=its.user_id),
        p.TransferProjectRequest(revision=-1),
    ),
}
MEMBERS_OF = {
    "AddMember": Row(
        ADMINISTER,
        lambda its: m.AddMemberRequest(
            member={"project_id": its.project.id, "user_id": its.user_id, "role": 1}
        ),
        m.AddMemberRequest(request_id="x"),
    ),
    "UpdateMember": Row(
        ADMINISTER,
        lambda its: m.UpdateMemberRequest(
            member={"project_id": its.project.id, "user_id": its.member_id, "role": 1}
        ),
        m.UpdateMemberRequest(update_mask=MASK),
    ),
    # The member itself may, too, which no kind of caller is.
    "RemoveMember": Row(
        ADMINISTER,
        lambda its: m.RemoveMemberRequest(project_id=its.project.id, user_id=its.member_id),
        m.RemoveMemberRequest(revision=-1),
    ),
    "ListMembers": Row(
        READ,
        lambda its: m.ListMembersRequest(project_id=its.project.id),
        m.ListMembersRequest(page_size=-1),
    ),
}
USERS = {
    "CreateUser": Row(
        SUPERUSERS,
        lambda its: u.CreateUserRequest(
            user={"username": f"new {its.user_id}", "email": f"{its.user_id}@example.org"}
        ),
        u.CreateUserRequest(user={"full_name": "\0"}),
    ),
    "GetUser": Row(SELF, lambda its: u.GetUserRequest(user_id=its.project.owner_id)),
    "LookupUser": Row(EVERY_USER, lambda its: u.LookupUserRequest(username=f"user-{its.user_id}")),
    "ListUsers": Row(SUPERUSERS, lambda _: u.ListUsersRequest(), u.ListUsersRequest(page_size=-1)),
    "UpdateUser": Row(
        SELF,
        lambda its: u.UpdateUserRequest(
            user={"id": its.project.owner_id, "full_name": f"Owner of {its.project.slug}"}
        ),
        u.UpdateUserRequest(update_mask=MASK),
    ),
    "DeleteUser": Row(
        SUPERUSERS,
        lambda its: u.DeleteUserRequest(user_id=its.user_id),
        u.DeleteUserRequest(revision=-1),
    ),
}
ROOMS = {
    "CreateRoom": Row(
        MANAGE_ROOM,
        lambda its: r.CreateRoomRequest(room={"project_id": its.project.id, "name": "New"}),
        r.CreateRoomRequest(room={"description": "\0"}),
    ),
    "GetRoom": Row(READ_ROOM, lambda its: r.GetRoomRequest(room_id=its.room.id)),
    "ListRooms": Row(
        LIST_ROOMS,
        lambda its: r.ListRoomsRequest(project_id=its.project.id),
        r.ListRoomsRequest(page_size=-1),
    ),
    "UpdateRoom": Row(
        MANAGE_ROOM,
        lambda its: r.UpdateRoomRequest(room={"id": its.room.id, "name": "Other"}),
        r.UpdateRoomRequest(update_mask=MASK),
    ),
    "DeleteRoom": Row(
        MANAGE_ROOM,
        lambda its: r.DeleteRoomRequest(room_id=its.room.id),
        r.DeleteRoomRequest(revision=-1),
    ),
    "AddParticipant": Row(
        MANAGE_ROOM,
        lambda its: r.AddParticipantRequest(room_id=its.room.id, user_id=its.project.owner_id),
        r.AddParticipantRequest(request_id="x"),
    ),
    "RemoveParticipant": Row(
        MANAGE_ROOM,
        lambda its: r.RemoveParticipantRequest(room_id=its.room.id, agent_id=its.agent.id),
        r.RemoveParticipantRequest(request_id="x"),
    ),
    "ListParticipants": Row(
        READ_ROOM,
        lambda its: r.ListParticipantsRequest(room_id=its.room.id),
        r.ListParticipantsRequest(page_size=-1),
    ),
}
AUTH = {
    "WhoAmI": Row(EVERY_CALLER, lambda _: k.WhoAmIRequest()),
    "CreateApiKey": Row(
        ADMINISTER,
        lambda its: k.CreateApiKeyRequest(api_key={"agent_id": its.agent.id}),
        k.CreateApiKeyRequest(api_key={"capabilities": ["\0"]}),
    ),
    "ListApiKeys": Row(
        ADMINISTER,
        lambda its: k.ListApiKeysRequest(agent_id=its.agent.id),
        k.ListApiKeysRequest(page_size=-1),
    ),
    "RevokeApiKey": Row(
        ADMINISTER,
        lambda its: k.RevokeApiKeyRequest(api_key_id=its.key.api_key.id),
        k.RevokeApiKeyRequest(request_id="x"),
    ),
    "RevokeApiKeys": Row(
        ADMINISTER,
        lambda its: k.RevokeApiKeysRequest(project_id=its.project.id),
        k.RevokeApiKeysRequest(request_id="x"),
    ),
    "RotateApiKey": Row(
        ADMINISTER,
        lambda its: k.RotateApiKeyRequest(api_key_id=its.key.api_key.id),
        k.RotateApiKeyRequest(grace_period={"seconds": -1}),
    ),
    "ExchangeApiKey": Row(EVERYBODY, lambda its: k.ExchangeApiKeyRequest(api_key=its.key.secret)),
}
TASKS = {
    "CreateTask": Row(
        CREATE_TASK,
        lambda its: t.CreateTaskRequest(task={"project_id": its.project.id, "title": "New"}),
        t.CreateTaskRequest(task={"description": "\0"}),
    ),
    "GetTask": Row(READ_TASK, lambda its: t.GetTaskRequest(task_id=its.task.id)),
    "WaitTask": Row(
        READ_TASK,
        lambda its: t.WaitTaskRequest(task_id=its.task.id, timeout={}),
        t.WaitTaskRequest(revision=-1),
    ),
    "BatchGetTasks": Row(READ_TASK, lambda its: t.BatchGetTasksRequest(task_ids=[its.task.id])),
    "ListTasks": Row(
        LIST_TASKS,
        lambda its: t.ListTasksRequest(project_id=its.project.id),
        t.ListTasksRequest(page_size=-1),
        frozenset({Who.ASSIGNED}),
    ),
    "UpdateTask": Row(
        MANAGE_TASK,
        lambda its: t.UpdateTaskRequest(task={"id": its.task.id, "title": "Other"}),
        t.UpdateTaskRequest(update_mask=MASK),
    ),
    "DeleteTask": Row(
        MANAGE_TASK,
        lambda its: t.DeleteTaskRequest(task_id=its.task.id),
        t.DeleteTaskRequest(revision=-1),
    ),
    "AssignTask": Row(
        MANAGE_TASK,
        lambda its: t.AssignTaskRequest(
            task_id=its.task.id, assigned_to=its.agent.id, assigned_to_type=1
        ),
        t.AssignTaskRequest(assigned_to="x"),
    ),
    "UnassignTask": Row(
        MANAGE_TASK,
        lambda its: t.UnassignTaskRequest(task_id=its.task.id),
        t.UnassignTaskRequest(request_id="x"),
    ),
    "UpdateTaskStatus": Row(
        MOVE_TASK,
        lambda its: t.UpdateTaskStatusRequest(task_id=its.task.id, status=2),
        t.UpdateTaskStatusRequest(status=99),
    ),
    "VerifyDependencies": Row(
        CHECK_TASKS,
        lambda its: t.VerifyDependenciesRequest(task_id=its.task.id),
        t.VerifyDependenciesRequest(dependencies=["x"]),
    ),
    "AddDependency": Row(
        MANAGE_TASK,
        lambda its: t.AddDependencyRequest(task_id=its.task.id, depends_on_id=its.done_id),
        t.AddDependencyRequest(depends_on_id="x"),
    ),
    "RemoveDependency": Row(
        MANAGE_TASK,
        lambda its: t.RemoveDependencyRequest(task_id=its.task.id, depends_on_id=its.done_id),
        t.RemoveDependencyRequest(depends_on_id="x"),
    ),
    "CountTasks": Row(
        LIST_TASKS,
        lambda its: t.CountTasksRequest(project_id=its.project.id),
        t.CountTasksRequest(room_id="x"),
        frozenset({Who.ASSIGNED}),
    ),
    "BatchCreateTasks": Row(
        CREATE_TASK,
        lambda its: t.BatchCreateTasksRequest(
            project_id=its.project.id, tasks=[{"task": {"title": "New"}}]
        ),
        t.BatchCreateTasksRequest(tasks=[{"ref": "x" * 101}]),
    ),
    "GetTaskGraph": Row(
        CHECK_TASKS,
        lambda its: t.GetTaskGraphRequest(project_id=its.project.id),
        t.GetTaskGraphRequest(depth=101),
    ),
    "ClaimTasks": Row(
        CLAIM_TASK,
        lambda its: t.ClaimTasksRequest(project_id=its.project.id, agent_id=its.agent.id),
        t.ClaimTasksRequest(max_tasks=-1),
    ),
    "CompleteTask": Row(
        HOLD_TASK,
        lambda its: t.CompleteTaskRequest(task_id=its.task.id, fencing_token=1),
        t.CompleteTaskRequest(fencing_token=-1),
        is_held=True,
    ),
    "SplitTask": Row(
        HOLD_TASK,
        lambda its: t.SplitTaskRequest(
            task_id=its.task.id, fencing_token=1, tasks=[{"task": {"title": "Part"}}]
        ),
        t.SplitTaskRequest(fencing_token=-1),
        is_held=True,
    ),
    "FailTask": Row(
        HOLD_TASK,
        lambda its: t.FailTaskRequest(task_id=its.task.id, fencing_token=1),
        t.FailTaskRequest(retry_after={}),
        is_held=True,
    ),
    "ReleaseTask": Row(
        HOLD_TASK,
        lambda its: t.ReleaseTaskRequest(task_id=its.task.id, fencing_token=1),
        t.ReleaseTaskRequest(fencing_token=-1),
        is_held=True,
    ),
    "HeartbeatTasks": Row(
        CLAIM_TASK,
        lambda its: t.HeartbeatTasksRequest(
            project_id=its.project.id,
            agent_id=its.agent.id,
            heartbeats=[{"task_id": its.task.id, "fencing_token": 1}],
        ),
        t.HeartbeatTasksRequest(heartbeats=[{}]),
    ),
    "CancelTask": Row(
        MANAGE_TASK,
        lambda its: t.CancelTaskRequest(task_id=its.task.id),
        t.CancelTaskRequest(reason="\0"),
    ),
    "RequestInput": Row(
        HOLD_TASK,
        lambda its: t.RequestInputRequest(
            task_id=its.task.id, fencing_token=1, input={"key": "new", "prompt": "Which?"}
        ),
        t.RequestInputRequest(fencing_token=-1),
        is_held=True,
    ),
    "AnswerInput": Row(
        MANAGE_TASK,
        lambda its: t.AnswerInputRequest(
            task_id=its.asking_id, key="asked", answer={"is": "given"}
        ),
        t.AnswerInputRequest(key="\0"),
    ),
    "RetryTask": Row(
        MANAGE_TASK,
        lambda its: t.RetryTaskRequest(task_id=its.failed_id),
        t.RetryTaskRequest(revision=-1),
    ),
    "ListAttempts": Row(
        READ_TASK,
        lambda its: t.ListAttemptsRequest(task_id=its.task.id),
        t.ListAttemptsRequest(page_size=-1),
    ),
}
EVENTS = {
    "ListEvents": Row(
        READ_EVENTS,
        lambda its: e.ListEventsRequest(project_id=its.project.id),
        e.ListEventsRequest(page_size=-1),
    ),
    "WatchEvents": Row(
        READ_EVENTS,
        lambda its: e.WatchEventsRequest(project_id=its.project.id),
        e.WatchEventsRequest(room_id="x"),
    ),
}
METHODS = {
    f"{service}/{method}": row
    for service, rows in {
        "tandem.agent.v1.AgentService": AGENTS,
        "tandem.agent.v1.ProjectService": PROJECTS,
        "tandem.agent.v1.UserService": USERS,
        "tandem.agent.v1.MemberService": MEMBERS_OF,
        "tandem.agent.v1.RoomService": ROOMS,
        "tandem.agent.v1.AuthService": AUTH,
        "tandem.task.v1.TaskService": TASKS,
        "tandem.event.v1.EventService": EVENTS,
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
