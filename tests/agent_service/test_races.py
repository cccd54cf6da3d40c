"""Real concurrent calls on the same row: the database decides, and each answer says so."""

import asyncio
from functools import partial

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    AGENT_STATUS_BUSY,
    AGENT_STATUS_OFFLINE,
    AGENT_STATUS_ONLINE,
    Agent,
    CreateAgentRequest,
    DeleteAgentRequest,
    GetAgentRequest,
    SetAgentStatusRequest,
    UpdateAgentRequest,
)
from tandem.agent.v1.project_service_pb2 import (
    CreateProjectRequest,
    DeleteProjectRequest,
    Project,
    UpdateProjectRequest,
)
from tests.locks import under_way
from tests.refusals import outcomes, refused
from tests.world import World

CALLS = 8


async def test_one_of_many_gets_a_slug(world: World) -> None:
    users = [await world.user() for _ in range(CALLS)]
    request = CreateProjectRequest(project=Project(slug="tandem", name="Tandem"))
    found = await outcomes(*(user.projects.CreateProject(request) for user in users))
    assert found == ["OK"] + ["PROJECT_SLUG_TAKEN"] * (CALLS - 1)
    assert await world.value("SELECT count(*) FROM projects") == 1


async def test_one_of_many_is_renamed_to_a_name(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agents = [await alice.agent(project) for _ in range(CALLS)]
    found = await outcomes(
        *(
            alice.agents.UpdateAgent(UpdateAgentRequest(agent=Agent(id=agent.id, name="Scout")))
            for agent in agents
        )
    )
    assert found == ["AGENT_NAME_TAKEN"] * (CALLS - 1) + ["OK"]
    assert await world.value("SELECT count(*) FROM agents WHERE name = 'Scout'") == 1


async def test_one_of_many_updates_with_a_revision_wins(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    found = await outcomes(
        *(
            alice.agents.UpdateAgent(
                UpdateAgentRequest(agent=Agent(id=agent.id, nickname=f"{n}", revision=1))
            )
            for n in range(CALLS)
        )
    )
    assert found == ["OK"] + ["REVISION_MISMATCH"] * (CALLS - 1)
    assert await world.value("SELECT revision FROM agents") == 2


async def test_one_of_many_updates_of_a_project_with_a_revision_wins(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    found = await outcomes(
        *(
            alice.projects.UpdateProject(
                UpdateProjectRequest(project=Project(id=project.id, name=f"{n}", revision=1))
            )
            for n in range(CALLS)
        )
    )
    assert found == ["OK"] + ["REVISION_MISMATCH"] * (CALLS - 1)
    assert await world.value("SELECT revision FROM projects") == 2


async def test_every_update_without_a_revision_counts(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    found = await outcomes(
        *(
            alice.agents.UpdateAgent(UpdateAgentRequest(agent=Agent(id=agent.id, nickname=f"{n}")))
            for n in range(CALLS)
        )
    )
    assert found == ["OK"] * CALLS
    assert await world.value("SELECT revision FROM agents") == 1 + CALLS


async def test_two_moves_at_once_see_each_other(world: World) -> None:
    """Only an online agent becomes busy: the second call must see what the first has changed."""
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    for _ in range(20):
        await world.execute("UPDATE agents SET status = 'online', revision = 1")
        found = await outcomes(
            *(
                alice.agents.SetAgentStatus(SetAgentStatusRequest(agent_id=agent.id, status=status))
                for status in (AGENT_STATUS_OFFLINE, AGENT_STATUS_BUSY)
            )
        )
        kept = await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id))
        assert kept.status == AGENT_STATUS_OFFLINE
        assert (found, kept.revision) in (
            (["OK", "OK"], 3),
            (["INVALID_STATUS_TRANSITION", "OK"], 2),
        )


async def test_a_move_waits_for_the_one_before_and_judges_by_it(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    await world.execute("UPDATE agents SET status = 'online'")
    request = SetAgentStatusRequest(agent_id=agent.id, status=AGENT_STATUS_BUSY)
    async with under_way(world.url, "UPDATE agents SET status = 'error'") as blocked:
        call = asyncio.ensure_future(alice.agents.SetAgentStatus(request))
        await blocked.wait()
    found = await refused(call, Reason.INVALID_STATUS_TRANSITION)
    assert found.metadata["from"] == "AGENT_STATUS_ERROR"


async def test_one_of_many_deletions_wins(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    request = DeleteAgentRequest(agent_id=agent.id)
    found = await outcomes(*(alice.agents.DeleteAgent(request) for _ in range(CALLS)))
    assert found == ["AGENT_NOT_FOUND"] * (CALLS - 1) + ["OK"]


async def test_a_deletion_is_decided_by_the_revision_that_the_change_before_has_left(
    world: World,
) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    of_agent = DeleteAgentRequest(agent_id=agent.id, revision=1)
    of_project = DeleteProjectRequest(project_id=project.id, revision=1)
    for table, delete in (
        ("agents", partial(alice.agents.DeleteAgent, of_agent)),
        ("projects", partial(alice.projects.DeleteProject, of_project)),
    ):
        change = f"UPDATE {table} SET revision = 2"  # noqa: S608
        async with under_way(world.url, change) as blocked:
            call = asyncio.ensure_future(delete())
            await blocked.wait()
        await refused(call, Reason.REVISION_MISMATCH)
        assert await world.value(f"SELECT count(*) FROM {table}") == 1  # noqa: S608


async def test_an_agent_created_in_a_project_being_deleted_finds_none(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    async with under_way(world.url, "DELETE FROM projects") as blocked:
        call = asyncio.ensure_future(alice.agent(project))
        await blocked.wait()
    assert (await refused(call, Reason.PROJECT_NOT_FOUND)).metadata == {"project_id": project.id}


async def test_agents_created_while_their_project_goes_leave_nothing(world: World) -> None:
    alice = await world.user()
    for _ in range(5):
        project = await alice.project()
        agents = [Agent(project_id=project.id, name=f"{n}") for n in range(CALLS)]
        calls = [alice.agents.CreateAgent(CreateAgentRequest(agent=agent)) for agent in agents]
        end = alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
        found = await outcomes(*calls[:4], end, *calls[4:])
        assert set(found) <= {"OK", "PROJECT_NOT_FOUND"}
        assert await world.value("SELECT count(*) FROM agents") == 0


async def test_a_move_of_an_agent_being_deleted_finds_none(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(10):
        agent = await alice.agent(project)
        move = SetAgentStatusRequest(agent_id=agent.id, status=AGENT_STATUS_ONLINE)
        found = await outcomes(
            alice.agents.SetAgentStatus(move),
            alice.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id)),
        )
        assert found in (["OK", "OK"], ["AGENT_NOT_FOUND", "OK"])
