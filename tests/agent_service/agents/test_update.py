"""Updating agents: masks, revisions, names."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    AGENT_STATUS_BUSY,
    AGENT_STATUS_OFFLINE,
    Agent,
    GetAgentRequest,
    UpdateAgentRequest,
)
from tests.refusals import refused
from tests.world import User, World

FULL: dict[str, Any] = {
    "name": "Scout",
    "nickname": "S",
    "agent_type": "searcher",
    "capabilities": ["search"],
    "config": {"depth": 3},
    "is_active": False,
}


async def update(alice: User, *mask: str, **fields: Any) -> Agent:
    request = UpdateAgentRequest(agent=Agent(**fields), update_mask=FieldMask(paths=mask))
    updated: Agent = await alice.agents.UpdateAgent(request)
    return updated


async def full_agent(alice: User) -> Agent:
    return await alice.agent(await alice.project(), **FULL)


async def test_only_what_the_mask_names_is_changed(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    updated = await update(alice, "nickname", id=agent.id, nickname="T", name="ignored" * 99)
    assert updated.updated_at.ToDatetime() > agent.updated_at.ToDatetime()
    agent.nickname, agent.revision = "T", 2
    agent.updated_at.CopyFrom(updated.updated_at)
    assert updated == agent
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == agent


async def test_an_empty_mask_means_the_fields_that_are_set(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    updated = await update(alice, id=agent.id, nickname="", is_active=False, name="Other")
    assert (updated.name, updated.nickname, updated.is_active) == ("Other", "", False)
    assert updated.HasField("nickname")
    assert (updated.agent_type, list(updated.capabilities)) == ("searcher", ["search"])


async def test_a_star_means_everything_that_may_be_changed(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    updated = await update(alice, "*", id=agent.id, name="Bare")
    assert (updated.name, updated.agent_type, updated.is_active) == ("Bare", "generic", True)
    assert not updated.capabilities
    assert not updated.HasField("nickname")
    assert not updated.HasField("config")
    assert (updated.project_id, updated.status) == (agent.project_id, AGENT_STATUS_OFFLINE)


@pytest.mark.parametrize("path", ["nickname", "agent_type", "capabilities", "config", "is_active"])
async def test_a_path_whose_field_is_not_set_clears_it(world: World, path: str) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    updated = await update(alice, path, id=agent.id)
    default = await alice.agent(await alice.project())
    assert getattr(updated, path) == getattr(default, path)
    assert updated.revision == 2


@pytest.mark.parametrize("mask", ["name", "*"])
async def test_the_name_cannot_be_cleared(world: World, mask: str) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    found = await refused(update(alice, mask, id=agent.id), Reason.INVALID_FIELD)
    assert found.fields == {"agent.name": "is required"}


@pytest.mark.parametrize(
    "path",
    [
        *("id", "project_id", "status", "created_at", "updated_at", "revision"),
        *("nonsense", "", "Name", "agent.name", "config.depth", "name\0", "capabilities[0]"),
    ],
)
async def test_a_path_that_may_not_be_changed_is_named(world: World, path: str) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    call = update(alice, "name", path, id=agent.id, name="Other", status=AGENT_STATUS_BUSY)
    found = await refused(call, Reason.INVALID_UPDATE_MASK)
    assert list(found.fields) == ["update_mask"]
    assert found.fields["update_mask"].startswith(f"names {path}; allowed: name, nickname, ")
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == agent


async def test_a_star_stands_alone(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    call = update(alice, "*", "name", id=agent.id, name="Other")
    await refused(call, Reason.INVALID_UPDATE_MASK)


async def test_the_status_is_not_changed_by_update(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    updated = await update(alice, id=agent.id, status=AGENT_STATUS_BUSY, nickname="T")
    assert updated.status == AGENT_STATUS_OFFLINE


@pytest.mark.parametrize("mask", [(), ("*",), ("config", "capabilities")])
async def test_an_update_that_changes_nothing_leaves_no_trace(
    world: World, mask: tuple[str, ...]
) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    assert await update(alice, *mask, id=agent.id, **FULL) == agent
    assert await update(alice, id=agent.id) == agent


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    second = await update(alice, id=agent.id, nickname="T", revision=1)
    assert second.revision == 2
    call = update(alice, id=agent.id, nickname="U", revision=1)
    assert (await refused(call, Reason.REVISION_MISMATCH)).metadata == {"revision": "2"}
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == second
    call = update(alice, id=agent.id, nickname="U", revision=-1)
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["agent.revision"]


async def test_a_name_that_is_taken_is_refused(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    await alice.agent(project, name="Scout")
    found = await refused(update(alice, id=agent.id, name="Scout"), Reason.AGENT_NAME_TAKEN)
    assert found.metadata == {"name": "Scout"}
    assert found.details["ResourceInfo"].resource_type == "agent"
    assert (await update(alice, id=agent.id, name="scout")).name == "scout"


async def test_in_a_project_that_is_not_active_nothing_changes(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    await world.execute("UPDATE projects SET status = 'suspended'")
    found = await refused(update(alice, id=agent.id, name="Other"), Reason.PROJECT_NOT_ACTIVE)
    assert found.metadata == {"project_id": agent.project_id, "status": "PROJECT_STATUS_SUSPENDED"}
    await refused(update(alice, id=agent.id, revision=99), Reason.PROJECT_NOT_ACTIVE)
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == agent


async def test_an_agent_that_does_not_exist_is_named(world: World) -> None:
    alice = await world.user()
    found = await refused(update(alice, id=str(alice.id), name="Other"), Reason.AGENT_NOT_FOUND)
    assert found.metadata == {"agent_id": str(alice.id)}
    assert found.details["ResourceInfo"].resource_name == str(alice.id)


async def test_what_the_mask_does_not_name_is_not_looked_at(world: World) -> None:
    alice = await world.user()
    agent = await full_agent(alice)
    updated = await update(alice, "nickname", id=agent.id, nickname="T", config={"bad": "\0"})
    assert updated.config == agent.config


async def test_the_project_cannot_be_changed_and_may_be_sent_back(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    other = await alice.project()
    call = update(alice, id=agent.id, name="Other", project_id=other.id)
    found = await refused(call, Reason.INVALID_FIELD)
    assert found.fields == {"agent.project_id": "cannot be changed by an update"}
    updated = await update(alice, id=agent.id, name="Other", project_id=agent.project_id)
    assert (updated.name, updated.project_id) == ("Other", agent.project_id)
