"""What users see who are no members: the tasks assigned to them, and the rooms that they are in.

The services unassign a member who is removed; so here the rows are the users' own by SQL.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from agent_service.rooms.queries import REMOVE_PARTICIPANT
from shared.auth.caller import User as Caller
from shared.errors import Reason
from shared.events.recording import ALONE, SYSTEM
from tandem.agent.v1.agent_service_pb2 import Agent, DeleteAgentRequest, GetAgentRequest
from tandem.agent.v1.project_service_pb2 import GetProjectRequest, Project
from tandem.agent.v1.room_service_pb2 import (
    AddParticipantRequest,
    CreateRoomRequest,
    GetRoomRequest,
    ListParticipantsRequest,
    ListRoomsRequest,
    RemoveParticipantRequest,
    Room,
    UpdateRoomRequest,
)
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    TASK_STATUS_COMPLETED,
    TASK_STATUS_IN_PROGRESS,
    AssignTaskRequest,
    BatchGetTasksRequest,
    CreateTaskRequest,
    DeleteTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    Task,
    UnassignTaskRequest,
    UpdateTaskRequest,
    UpdateTaskStatusRequest,
    VerifyDependenciesRequest,
)
from tests.refusals import refused
from tests.world import User, World

ASSIGN = "UPDATE tasks SET assigned_user_id = $1 WHERE id = $2"
SEAT = """
INSERT INTO chat_participants (id, project_id, room_id, user_id)
SELECT gen_random_uuid(), project_id, id, $2 FROM chat_rooms WHERE id = $1
"""
ORDERS = [
    f"{name}{direction}"
    for name in ("created_at", "updated_at", "due_date", "priority")
    for direction in ("", " desc")
]


@dataclass
class Desk:
    """A user with tasks in two projects of another user, among tasks that are not theirs."""

    owner: User
    user: User
    here: Project
    mine: list[Task]
    there: Task
    other: Task

    async def listed(self, **fields: Any) -> list[str]:
        ids: list[str] = []
        request = ListTasksRequest(page_size=1, include_total=True, **fields)
        while True:
            page = await self.user.tasks.ListTasks(request)
            ids += [task.id for task in page.tasks]
            request.page_token = page.next_page_token
            if not request.page_token:
                assert page.total_size == len(ids)
                return ids


@pytest.fixture
async def desk(world: World) -> Desk:
    owner, user = await world.user(), await world.user()
    here, elsewhere = await owner.project(), await owner.project()
    mine = [await owner.task(here, priority=priority) for priority in (1, 3, 0)]
    there, other = await owner.task(elsewhere), await owner.task(here)
    for task in (*mine, there):
        await world.execute(ASSIGN, user.id, task.id)
    return Desk(owner, user, here, mine, there, other)


async def test_an_assigned_user_gets_its_tasks_alone(desk: Desk) -> None:
    get, batch = desk.user.tasks.GetTask, desk.user.tasks.BatchGetTasks
    ids = [task.id for task in (*desk.mine, desk.there)]
    for task_id in ids:
        assert (await get(GetTaskRequest(task_id=task_id))).id == task_id
    found = await batch(BatchGetTasksRequest(task_ids=ids[::-1]))
    assert [task.id for task in found.tasks] == ids[::-1]
    await refused(get(GetTaskRequest(task_id=desk.other.id)), Reason.NOT_PROJECT_OWNER)
    both = BatchGetTasksRequest(task_ids=[*ids, desk.other.id])
    await refused(batch(both), Reason.NOT_PROJECT_OWNER)


@pytest.mark.parametrize("order_by", ORDERS)
async def test_an_assigned_user_lists_its_tasks_alone(desk: Desk, order_by: str) -> None:
    here = {task.id for task in desk.mine}
    every = await desk.listed(order_by=order_by)
    assert sorted(every) == sorted({*here, desk.there.id})
    within = await desk.listed(order_by=order_by, project_id=desk.here.id)
    assert within == [task_id for task_id in every if task_id in here]
    as_assignee = await desk.listed(order_by=order_by, assigned_to=str(desk.user.id))
    assert as_assignee == every
    of_both = {"project_id": desk.here.id, "assigned_to": str(desk.user.id)}
    assert await desk.listed(order_by=order_by, **of_both) == within
    assert await desk.listed(order_by=order_by, priorities=[3]) == [desk.mine[1].id]


async def test_a_member_is_shown_its_own_tasks_once(world: World, desk: Desk) -> None:
    await world.member(desk.here.id, desk.user, "viewer")
    here = sorted(task.id for task in (*desk.mine, desk.other))
    assert sorted(await desk.listed(project_id=desk.here.id)) == here
    assert sorted(await desk.listed()) == sorted([*here, desk.there.id])


async def test_an_assigned_user_moves_its_tasks_and_does_nothing_else(desk: Desk) -> None:
    user, task = desk.user, desk.mine[0]
    for status in (TASK_STATUS_IN_PROGRESS, TASK_STATUS_COMPLETED):
        move = UpdateTaskStatusRequest(task_id=task.id, status=status)
        assert (await user.tasks.UpdateTaskStatus(move)).status == status
    to: dict[str, Any] = {"assigned_to": str(user.id), "assigned_to_type": 2}
    for call in (
        user.tasks.UpdateTaskStatus(
            UpdateTaskStatusRequest(task_id=desk.other.id, status=TASK_STATUS_IN_PROGRESS)
        ),
        user.tasks.UpdateTask(UpdateTaskRequest(task=Task(id=task.id, title="Mine"))),
        user.tasks.DeleteTask(DeleteTaskRequest(task_id=task.id)),
        user.tasks.AssignTask(AssignTaskRequest(task_id=task.id, **to)),
        user.tasks.UnassignTask(UnassignTaskRequest(task_id=task.id)),
        user.tasks.VerifyDependencies(VerifyDependenciesRequest(task_id=task.id)),
        user.tasks.CreateTask(
            CreateTaskRequest(task=Task(project_id=desk.here.id, title="Another"))
        ),
        user.projects.GetProject(GetProjectRequest(project_id=desk.here.id)),
        user.rooms.ListRooms(ListRoomsRequest(project_id=desk.here.id)),
    ):
        await refused(call, Reason.NOT_PROJECT_OWNER)


async def test_a_task_that_is_reassigned_is_not_the_users_any_more(desk: Desk) -> None:
    task = desk.mine[0]
    await desk.owner.tasks.UnassignTask(UnassignTaskRequest(task_id=task.id))
    call = desk.user.tasks.GetTask(GetTaskRequest(task_id=task.id))
    await refused(call, Reason.NOT_PROJECT_OWNER)
    assert task.id not in await desk.listed()


async def test_a_participant_sees_the_room_and_who_is_in_it_and_leaves(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    room, other = await alice.room(project, agent), await alice.room(project, agent)
    await world.execute(SEAT, room.id, bob.id)
    assert await bob.rooms.GetRoom(GetRoomRequest(room_id=room.id)) == room
    request = ListParticipantsRequest(room_id=room.id, include_total=True)
    seats = await bob.rooms.ListParticipants(request)
    assert seats == await alice.rooms.ListParticipants(request)
    assert (len(seats.participants), seats.total_size) == (2, 2)
    for call in (
        bob.rooms.GetRoom(GetRoomRequest(room_id=other.id)),
        bob.rooms.ListParticipants(ListParticipantsRequest(room_id=other.id)),
        bob.rooms.ListRooms(ListRoomsRequest(project_id=project.id)),
        bob.rooms.UpdateRoom(UpdateRoomRequest(room=Room(id=room.id, name="Mine"))),
        bob.rooms.RemoveParticipant(RemoveParticipantRequest(room_id=room.id, agent_id=agent.id)),
        bob.rooms.RemoveParticipant(
            RemoveParticipantRequest(room_id=room.id, user_id=str(alice.id))
        ),
        bob.rooms.AddParticipant(AddParticipantRequest(room_id=room.id, user_id=str(alice.id))),
    ):
        await refused(call, Reason.NOT_PROJECT_OWNER)
    leave = RemoveParticipantRequest(room_id=room.id, user_id=str(bob.id))
    malformed = RemoveParticipantRequest(room_id=room.id, user_id=str(bob.id), request_id="x")
    await refused(bob.rooms.RemoveParticipant(malformed), Reason.INVALID_FIELD)
    await bob.rooms.RemoveParticipant(leave)
    for _ in range(2):
        call = bob.rooms.GetRoom(GetRoomRequest(room_id=room.id))
        await refused(call, Reason.NOT_PROJECT_OWNER)
    await refused(bob.rooms.RemoveParticipant(leave), Reason.NOT_PROJECT_OWNER)


async def test_a_viewer_leaves_a_room_but_takes_nobody_out(world: World) -> None:
    alice, bob, carol = [await world.user() for _ in range(3)]
    project = await alice.project()
    room = await alice.room(project)
    for user in (bob, carol):
        await world.member(project.id, user, "viewer")
        seat = AddParticipantRequest(room_id=room.id, user_id=str(user.id))
        await alice.rooms.AddParticipant(seat)
    other = RemoveParticipantRequest(room_id=room.id, user_id=str(carol.id))
    await refused(bob.rooms.RemoveParticipant(other), Reason.INSUFFICIENT_ROLE)
    await bob.rooms.RemoveParticipant(
        RemoveParticipantRequest(room_id=room.id, user_id=str(bob.id))
    )
    again = RemoveParticipantRequest(room_id=room.id, user_id=str(bob.id))
    await refused(bob.rooms.RemoveParticipant(again), Reason.INSUFFICIENT_ROLE)
    left = await bob.rooms.ListParticipants(ListParticipantsRequest(room_id=room.id))
    assert [seat.user_id for seat in left.participants] == [str(carol.id)]


async def test_who_may_remove_a_participant_is_decided_as_it_is_removed(world: World) -> None:
    """So a role that is lost after an earlier look is of no use."""
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    room = await alice.room(project, agent)
    who: dict[str, Any] = {"of_room": UUID(room.id), "agent_id": UUID(agent.id), "user_id": None}
    for user, removed in ((bob, False), (alice, True)):
        caller = Caller(user.id, "user", "user@example.com", None, is_superuser=False)
        offered = {**SYSTEM, **caller.rights}
        remove = partial(ALONE.run, change=REMOVE_PARTICIPANT, offered=offered, parameters=who)
        assert (await world.database.single(remove) is not None) is removed


async def test_rows_say_which_agent_created_them_as_long_as_it_exists(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    scout: Agent = await alice.agent(project)
    scopes = ["API_KEY_SCOPE_CREATE_TASKS", "API_KEY_SCOPE_MANAGE_ROOMS"]
    agent = await alice.exchanged((await alice.api_key(scout, scopes=scopes)).secret)
    task = await agent.tasks.CreateTask(
        CreateTaskRequest(
            task=Task(
                project_id=project.id,
                title="Task",
                assigned_to=scout.id,
                assigned_to_type=ASSIGNEE_TYPE_AGENT,
            )
        )
    )
    room = await agent.rooms.CreateRoom(
        CreateRoomRequest(room=Room(project_id=project.id, name="Room"))
    )
    for row in (task, room):
        assert (row.created_by_agent_id, row.HasField("created_by")) == (scout.id, False)
    mine = await alice.task(project)
    assert (mine.created_by, mine.HasField("created_by_agent_id")) == (str(alice.id), False)
    await alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=scout.id))
    await refused(alice.agents.GetAgent(GetAgentRequest(agent_id=scout.id)), Reason.AGENT_NOT_FOUND)
    for row in (
        await alice.tasks.GetTask(GetTaskRequest(task_id=task.id)),
        await alice.rooms.GetRoom(GetRoomRequest(room_id=room.id)),
    ):
        assert not row.HasField("created_by_agent_id")
