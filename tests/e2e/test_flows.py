"""The product's promise, on real processes: what was acknowledged is there."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
import psutil
from uuid_utils.compat import uuid7

from shared.host.embedded_postgres import running_url
from tandem.agent.v1 import agent_service_pb2 as agents_pb
from tandem.agent.v1 import auth_service_pb2 as auth_pb
from tandem.agent.v1 import room_service_pb2 as rooms_pb
from tandem.agent.v1.agent_service_pb2_grpc import AgentServiceStub
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tandem.agent.v1.project_service_pb2_grpc import ProjectServiceStub
from tandem.agent.v1.room_service_pb2_grpc import RoomServiceStub
from tandem.task.v1 import task_service_pb2 as tasks_pb
from tandem.task.v1.task_service_pb2_grpc import TaskServiceStub
from tests.e2e.supervised import TANDEM, Run, Surroundings
from tests.local.embedded_postgres.folders import ask

SECONDS = 60
KEYS = "SELECT count(*) FROM agent_api_keys WHERE agent_id = $1"


@dataclass
class Session:
    """A user's calls to both services."""

    agent_channel: grpc.Channel
    task_channel: grpc.Channel
    metadata: tuple[tuple[str, str], ...]

    def agents(self, method: str, request: Any) -> Any:
        return self._call(AgentServiceStub(self.agent_channel), method, request)

    def auth(self, method: str, request: Any) -> Any:
        return self._call(AuthServiceStub(self.agent_channel), method, request)

    def rooms(self, method: str, request: Any) -> Any:
        return self._call(RoomServiceStub(self.agent_channel), method, request)

    def tasks(self, method: str, request: Any) -> Any:
        return self._call(TaskServiceStub(self.task_channel), method, request)

    def project(self) -> Project:
        request = CreateProjectRequest(project=Project(slug=f"p-{uuid7().hex}", name="Apollo"))
        project: Project = self._call(
            ProjectServiceStub(self.agent_channel), "CreateProject", request
        )
        return project

    def agent(self, project: Project) -> agents_pb.Agent:
        agent = agents_pb.Agent(project_id=project.id, name=f"agent {uuid7()}")
        created: agents_pb.Agent = self.agents(
            "CreateAgent", agents_pb.CreateAgentRequest(agent=agent)
        )
        return created

    def task(self, project: Project, **fields: Any) -> tasks_pb.Task:
        task = tasks_pb.Task(project_id=project.id, title="Find a landing site", **fields)
        created: tasks_pb.Task = self.tasks("CreateTask", tasks_pb.CreateTaskRequest(task=task))
        return created

    def _call(self, stub: object, method: str, request: Any) -> Any:
        return getattr(stub, method)(
            request, metadata=self.metadata, timeout=SECONDS, wait_for_ready=True
        )


@contextmanager
def session(tandem: Surroundings) -> Iterator[Session]:
    command = [str(TANDEM), "token", "--user", "ada"]
    token = subprocess.run(
        command, env=tandem.environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    with (
        grpc.insecure_channel(tandem.agent_address) as agent_channel,
        grpc.insecure_channel(tandem.task_address) as task_channel,
    ):
        yield Session(agent_channel, task_channel, (("authorization", f"Bearer {token}"),))


def test_what_was_acknowledged_is_there_after_everything_was_killed(tandem: Surroundings) -> None:
    with tandem.up() as run:
        run.ready()
        with session(tandem) as ada:
            project = ada.project()
            agent, task = ada.agent(project), ada.task(project)
        for process in [psutil.Process(run.process.pid), *run.everything()]:
            with suppress(psutil.NoSuchProcess):  # some end by themselves when another is killed
                process.kill()
    with tandem.up() as run:
        run.ready()
        with session(tandem) as ada:
            found = ada.agents("GetAgent", agents_pb.GetAgentRequest(agent_id=agent.id))
            assert found == agent
            assert ada.tasks("GetTask", tasks_pb.GetTaskRequest(task_id=task.id)) == task


def test_a_task_goes_from_assignment_to_completion(running: Run) -> None:
    with session(running.surroundings) as ada:
        project = ada.project()
        agent, task = ada.agent(project), ada.task(project)
        assign = tasks_pb.AssignTaskRequest(
            task_id=task.id,
            assigned_to=agent.id,
            assigned_to_type=tasks_pb.ASSIGNEE_TYPE_AGENT,
        )
        assert ada.tasks("AssignTask", assign).assigned_to == agent.id
        for status in (tasks_pb.TASK_STATUS_IN_PROGRESS, tasks_pb.TASK_STATUS_COMPLETED):
            move = tasks_pb.UpdateTaskStatusRequest(task_id=task.id, status=status)
            done = ada.tasks("UpdateTaskStatus", move)
        assert done.status == tasks_pb.TASK_STATUS_COMPLETED
        assert done.started_at.ToDatetime() < done.completed_at.ToDatetime()
        assert done.revision == 4


def test_a_deleted_agent_takes_its_keys_places_and_assignments_along(running: Run) -> None:
    url = running_url(running.surroundings.data_dir)
    assert url
    with session(running.surroundings) as ada:
        project = ada.project()
        agent = ada.agent(project)
        task = ada.task(
            project, assigned_to=agent.id, assigned_to_type=tasks_pb.ASSIGNEE_TYPE_AGENT
        )
        key = auth_pb.ApiKey(agent_id=agent.id)
        ada.auth("CreateApiKey", auth_pb.CreateApiKeyRequest(api_key=key))
        new = rooms_pb.Room(project_id=project.id, name="War room")
        room = ada.rooms("CreateRoom", rooms_pb.CreateRoomRequest(room=new))
        seat = rooms_pb.AddParticipantRequest(room_id=room.id, agent_id=agent.id)
        assert ada.rooms("AddParticipant", seat).agent_id == agent.id
        ada.agents("DeleteAgent", agents_pb.DeleteAgentRequest(agent_id=agent.id))
        found = ada.tasks("GetTask", tasks_pb.GetTaskRequest(task_id=task.id))
        assert (found.HasField("assigned_to"), found.revision) == (False, 2)
        assert ask(url, KEYS, UUID(agent.id)) == 0
        places = rooms_pb.ListParticipantsRequest(room_id=room.id)
        assert not ada.rooms("ListParticipants", places).participants
