"""What members are shown, beside owners: their projects' rows in every list, and nothing else."""

import random
from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import ListAgentsRequest
from tandem.agent.v1.member_service_pb2 import ListMembersRequest
from tandem.agent.v1.project_service_pb2 import (
    GetProjectRequest,
    ListProjectsRequest,
    Project,
    TransferProjectRequest,
    UpdateProjectRequest,
)
from tandem.agent.v1.room_service_pb2 import ListParticipantsRequest, ListRoomsRequest
from tandem.task.v1.task_service_pb2 import GetTaskRequest, ListTasksRequest, Task
from tests.refusals import refused
from tests.world import Client, User, World

ROLES = ("viewer", "editor", "admin")
AGENT = "ASSIGNEE_TYPE_AGENT"
# Each list, its request, and its orders.
LISTS: dict[str, tuple[str, Any, tuple[str, ...]]] = {
    "projects": ("ListProjects", ListProjectsRequest, ("created_at", "updated_at", "name")),
    "agents": ("ListAgents", ListAgentsRequest, ("created_at", "updated_at", "name")),
    "rooms": ("ListRooms", ListRoomsRequest, ("created_at", "updated_at", "name")),
    "tasks": (
        "ListTasks",
        ListTasksRequest,
        ("created_at", "updated_at", "due_date", "priority"),
    ),
}
ORDERED = [
    (kind, f"{order}{direction}")
    for kind, (_, _, orders) in LISTS.items()
    for order in orders
    for direction in ("", " desc")
]
SHARE_OF_MEMBERS = 0.4
ASSIGN = "UPDATE tasks SET assigned_user_id = $1 WHERE id = $2"


async def shown(client: Client, kind: str, size: int = 2, **fields: Any) -> list[str]:
    """The ids of every page of a list, which says how many there are."""
    method, request, _ = LISTS[kind]
    ids: list[str] = []
    token = ""
    while True:
        page = await getattr(getattr(client, kind), method)(
            request(page_size=size, page_token=token, include_total=True, **fields)
        )
        ids += [row.id for row in getattr(page, kind)]
        token = page.next_page_token
        if not token:
            assert page.total_size == len(ids), (kind, fields)
            return ids


@dataclass
class Model:
    """Who may read what: by user, the ids of the rows of each kind."""

    may_read: dict[str, dict[str, set[str]]] = field(default_factory=dict)

    def add(self, readers: set[str], kind: str, row_id: str) -> None:
        for reader in readers:
            self.may_read.setdefault(reader, {}).setdefault(kind, set()).add(row_id)

    def of(self, reader: str, kind: str) -> set[str]:
        return self.may_read.get(reader, {}).get(kind, set())


@pytest.mark.parametrize("seed", range(3))
async def test_every_list_shows_what_a_model_says(world: World, seed: int) -> None:
    chance, model = random.Random(seed), Model()  # noqa: S311
    users = [await world.user() for _ in range(4)]
    for _ in range(6):
        await fill_project(world, chance, model, users)
    for user in users:
        for kind, order in ORDERED:
            ids = await shown(user, kind, order_by=order)
            assert len(ids) == len({*ids}), "none comes twice"
            assert {*ids} == model.of(str(user.id), kind), (kind, order)


async def fill_project(
    world: World, chance: random.Random, model: Model, users: list[User]
) -> None:
    """A project of one of them, of which some of the others are members."""
    owner, assignee = chance.choice(users), chance.choice(users)
    project = await owner.project()
    readers = {str(owner.id)}
    for user in users:
        if user is not owner and chance.random() < SHARE_OF_MEMBERS:
            await world.member(project.id, user, chance.choice(ROLES))
            readers.add(str(user.id))
    model.add(readers, "projects", project.id)
    for _ in range(chance.randrange(3)):
        model.add(readers, "agents", (await owner.agent(project)).id)
        model.add(readers, "rooms", (await owner.room(project)).id)
        model.add(readers, "tasks", (await owner.task(project)).id)
    # The assignee may be of the project, or have been once.
    task = await owner.task(project)
    await world.execute(ASSIGN, assignee.id, task.id)
    model.add({*readers, str(assignee.id)}, "tasks", task.id)


@pytest.mark.parametrize("role", ROLES)
async def test_a_member_lists_what_the_owner_does(world: World, role: str) -> None:
    alice, bob = await world.user(), await world.user()
    project, other = await alice.project(), await alice.project()
    for each in (project, other):
        await alice.room(each, await alice.agent(each))
        for priority in ("TASK_PRIORITY_HIGH", "TASK_PRIORITY_UNSPECIFIED"):
            await alice.task(each, priority=priority)
    await world.member(project.id, bob, role)
    for kind, (_, _, orders) in LISTS.items():
        within: dict[str, Any] = {} if kind == "projects" else {"project_id": project.id}
        for order in orders:
            of_owner = await shown(alice, kind, order_by=order, **within)
            if kind == "projects":
                of_owner.remove(other.id)
            assert of_owner
            assert await shown(bob, kind, order_by=order, **within) == of_owner
            assert await shown(bob, kind, order_by=order) == of_owner
        if within:
            await refused(shown(bob, kind, project_id=other.id), Reason.NOT_PROJECT_OWNER)


async def test_an_agent_with_the_scope_lists_what_a_viewer_does(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "viewer")
    scout = await alice.agent(project)
    room = await alice.room(project, scout)
    each: list[dict[str, Any]] = [{}, {"assigned_to": scout.id, "assigned_to_type": AGENT}]
    for fields in each:
        await alice.task(project, **fields)
    await alice.task(await alice.project())
    key = await alice.api_key(scout, scopes=["API_KEY_SCOPE_READ_PROJECT"])
    agent = await alice.exchanged(key.secret)
    for kind in LISTS:
        ids = await shown(bob, kind)
        assert ids
        assert await shown(agent, kind) == ids, kind
    members = ListMembersRequest(project_id=project.id)
    seats = ListParticipantsRequest(room_id=room.id)
    assert await agent.members.ListMembers(members) == await bob.members.ListMembers(members)
    assert await agent.rooms.ListParticipants(seats) == await bob.rooms.ListParticipants(seats)


async def test_an_admin_can_neither_take_a_project_nor_end_it(world: World) -> None:
    """What else an admin may not is in the table; this is what a role must not lead to."""
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "admin")
    take = TransferProjectRequest(project_id=project.id, owner_id=str(bob.id))
    await refused(bob.projects.TransferProject(take), Reason.INSUFFICIENT_ROLE)
    # The owner is said by the service, whatever an update sends back.
    own = Project(id=project.id, owner_id=str(bob.id), name="Mine")
    changed = await bob.projects.UpdateProject(UpdateProjectRequest(project=own))
    assert (changed.owner_id, changed.name) == (str(alice.id), "Mine")


async def test_a_member_of_one_project_is_a_stranger_in_another(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    here, there = await alice.project(), await alice.project()
    await world.member(here.id, bob, "admin")
    task: Task = await alice.task(there)
    get = GetProjectRequest(project_id=there.id)
    await refused(bob.projects.GetProject(get), Reason.NOT_PROJECT_OWNER)
    await refused(bob.tasks.GetTask(GetTaskRequest(task_id=task.id)), Reason.NOT_PROJECT_OWNER)
    assert await shown(bob, "tasks") == []
