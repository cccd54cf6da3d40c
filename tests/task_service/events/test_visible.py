"""Who reads a log: as lists of the project, and what remains of it when that is deleted."""

from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from shared.auth import caller as callers
from shared.auth.permissions import Scope
from shared.errors import Reason, Refusal
from shared.events.vocabulary import NIL
from tandem.agent.v1.agent_service_pb2 import Agent
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest, Project
from task_service.events.reading import Query, read_page
from task_service.events.selection import Facts, Selection
from task_service.events.visible import sight
from tests.event_log import append
from tests.refusals import refused
from tests.task_service.events.test_list import add, clear, log_of, numbers, page
from tests.world import World

END = "UPDATE event_heads SET owner_id = $2, deleted_at = now() WHERE project_id = $1"
PROJECT, AGENT = UUID(int=1), UUID(int=2)
IN_PROJECT = callers.Agent(AGENT, "agent", PROJECT, [])


def task_of(assignee: Any, kind: str | None = "agent") -> dict[str, Any]:
    return {"status": "pending", "assigned_to": str(assignee), "assigned_to_type": kind}


# Events by what they are, and whether the agent AGENT sees them without a scope.
EVENTS: list[tuple[dict[str, Any], bool]] = [
    ({"resource_type": "agent", "resource_id": AGENT, "after": {"status": "busy"}}, True),
    ({"resource_type": "agent", "resource_id": uuid4(), "after": {"status": "busy"}}, False),
    ({"after": task_of(AGENT)}, True),
    ({"after": task_of(AGENT), "before": {"status": "review"}}, True),
    ({"after": task_of(uuid4())}, False),
    ({"after": task_of(uuid4()), "before": task_of(AGENT)}, True),
    ({"after": {"status": "pending"}, "before": task_of(AGENT)}, True),
    ({"after": {"status": "pending"}, "before": task_of(uuid4())}, False),
    # The id of an agent may also be that of a user.
    ({"after": task_of(AGENT, "user")}, False),
    ({"after": task_of(AGENT, None), "before": task_of(AGENT, "user")}, False),
    ({"after": {"status": "pending"}}, False),
    ({"resource_type": "api_key", "after": {"agent_id": str(AGENT)}}, False),
    ({"resource_type": "participant", "after": {"agent_id": str(AGENT)}}, False),
    ({"resource_type": "room", "resource_id": AGENT, "after": task_of(AGENT)}, False),
    ({"resource_type": "project", "after": {}, "actor_type": "agent", "actor_id": AGENT}, False),
]


async def test_an_agent_without_the_scope_sees_what_is_its_own(world: World) -> None:
    alice, project = await log_of(world)
    agent = await alice.agent(project)
    await clear(world, project)
    for columns, _ in EVENTS:
        await add(world, project, **renamed(columns, agent))
    its = await alice.as_agent(agent)
    await clear(world, project, len(EVENTS))
    found = await page(its, project)
    assert numbers(found) == [number for number, (_, own) in enumerate(EVENTS, 1) if own]
    assert found.through_sequence == len(EVENTS)
    reader = await alice.exchanged(
        (await alice.api_key(agent, scopes=["API_KEY_SCOPE_READ_PROJECT"])).secret
    )
    await clear(world, project, len(EVENTS))
    assert numbers(await page(reader, project)) == [*range(1, len(EVENTS) + 1)]


@pytest.mark.parametrize(("columns", "own"), EVENTS)
def test_python_says_the_same(columns: dict[str, Any], own: bool) -> None:
    """As watches decide it."""
    row = {"type": "", "resource_type": "task", "resource_id": uuid4(), "before": None, **columns}
    head: Any = {"is_deleted": False, "found_role": None, "owner_id": None}
    facts = Facts.of(row)
    assert Selection().of(sight(IN_PROJECT, PROJECT, head)).matches(facts) is own
    reads = callers.Agent(AGENT, "agent", PROJECT, [], frozenset({Scope.READ_PROJECT}))
    assert Selection().of(sight(reads, PROJECT, head)).matches(facts)


def renamed(columns: dict[str, Any], agent: Agent) -> dict[str, Any]:
    """The columns with the id of this agent in place of AGENT."""
    text = orjson.dumps(columns, default=str).replace(str(AGENT).encode(), agent.id.encode())
    renamed: dict[str, Any] = orjson.loads(text)
    return renamed


async def test_nobody_sees_more_by_a_filter(world: World) -> None:
    alice, project = await log_of(world)
    agent, other = await alice.agent(project), await alice.agent(project)
    await add(world, project, after=task_of(other.id), resource_id=UUID(int=7))
    its = await alice.as_agent(agent)
    for filters in ({"resource_id": str(UUID(int=7))}, {"resource_types": [1]}):
        found: Any = await page(its, project, **filters)
        assert numbers(found) == []


async def test_the_log_of_a_deleted_project_is_left_to_its_last_owner_and_superusers(
    world: World,
) -> None:
    alice, project = await log_of(world, 3)
    root = await world.user(superuser=True)
    member, stranger = await world.user(), await world.user()
    await world.member(project.id, member, "admin")
    elsewhere = await stranger.agent(await stranger.project())
    agent = await stranger.as_agent(elsewhere)
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
    await world.execute(END, UUID(project.id), alice.id)
    for user in (alice, root):
        assert numbers(await page(user, project))[:3] == [1, 2, 3]
    for other in (member, stranger, agent):
        found = await refused(page(other, project), Reason.PROJECT_NOT_FOUND)
        assert found.metadata == {"project_id": project.id}
        await refused(page(other, project, page_size=-1), Reason.PROJECT_NOT_FOUND)
    await refused(page(alice, project, page_size=-1), Reason.INVALID_FIELD)


async def test_the_owner_of_a_project_that_was_handed_over_reads_its_log_no_more(
    world: World,
) -> None:
    alice, project = await log_of(world)
    bob = await world.user()
    await world.execute(END, UUID(project.id), alice.id)  # the head says nothing while it lives
    await world.execute("UPDATE projects SET owner_id = $1", bob.id)
    await page(bob, project)
    await refused(page(alice, project), Reason.NOT_PROJECT_OWNER)


async def test_changes_of_users_are_for_superusers(world: World) -> None:
    root, alice = await world.user(superuser=True), await world.user()
    agent = await alice.as_agent(await alice.agent(await alice.project()))
    await world.owner.read(lambda c: append(c, NIL, resource_type="user", type="user.created"))
    nil = Project(id=str(NIL))
    assert numbers(await page(root, nil))
    for other in (alice, agent):
        await refused(page(other, nil), Reason.PROJECT_NOT_FOUND)


@pytest.mark.parametrize("project_id", ["", "x", str(NIL).replace("-", "")])
async def test_a_malformed_project_is_a_bad_field(world: World, project_id: str) -> None:
    root = await world.user(superuser=True)
    found = await refused(page(root, Project(id=project_id)), Reason.INVALID_FIELD)
    assert [*found.fields] == ["project_id"]


async def test_a_project_that_there_is_not_is_not_found(world: World) -> None:
    for user in (await world.user(), await world.user(superuser=True)):
        await refused(page(user, Project(id=str(uuid4()))), Reason.PROJECT_NOT_FOUND)


async def test_no_event_is_read_that_is_not_shown(world: World) -> None:
    """The statement itself leaves them out, whatever is done with its rows."""
    _, project = await log_of(world, 5)
    stranger = callers.User(uuid4(), "name", "email", None, is_superuser=False)
    seen: list[Any] = []

    class Recorder:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        async def fetch(self, sql: str, *arguments: Any) -> Any:
            rows = await self._connection.fetch(sql, *arguments)
            seen.extend(row["sequence"] for row in rows)
            return rows

    async def unit_of_work(connection: Any) -> None:
        recorder: Any = Recorder(connection)
        await read_page(recorder, stranger, UUID(project.id), Query({}, 0, None, 10))

    with pytest.raises(Refusal):
        await world.database.read(unit_of_work)
    assert seen == [None]
