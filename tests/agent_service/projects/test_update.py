"""Updating projects: masks, status, revisions, slugs."""

from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import GetAgentRequest
from tandem.agent.v1.project_service_pb2 import (
    PROJECT_STATUS_ACTIVE,
    PROJECT_STATUS_ARCHIVED,
    PROJECT_STATUS_SUSPENDED,
    GetProjectRequest,
    Project,
    ProjectStatus,
    UpdateProjectRequest,
)
from tests.refusals import refused
from tests.world import User, World

FULL: dict[str, Any] = {
    "slug": "tandem",
    "name": "Tandem",
    "description": "Two",
    "settings": {"a": 1},
}


async def update(alice: User, *mask: str, **fields: Any) -> Project:
    request = UpdateProjectRequest(project=Project(**fields), update_mask=FieldMask(paths=mask))
    updated: Project = await alice.projects.UpdateProject(request)
    return updated


async def test_only_what_the_mask_names_is_changed(world: World) -> None:
    alice = await world.user()
    project = await alice.project(**FULL)
    updated = await update(alice, "name", id=project.id, name="Other", slug="IGNORED")
    assert updated.updated_at.ToDatetime() > project.updated_at.ToDatetime()
    project.name, project.revision = "Other", 2
    project.updated_at.CopyFrom(updated.updated_at)
    assert updated == project
    request = GetProjectRequest(project_id=project.id)
    assert await alice.projects.GetProject(request) == project


async def test_an_empty_mask_means_the_fields_that_are_set(world: World) -> None:
    alice = await world.user()
    project = await alice.project(**FULL)
    updated = await update(alice, id=project.id, description="", slug="other")
    assert (updated.slug, updated.description, updated.name) == ("other", "", "Tandem")


@pytest.mark.parametrize("path", ["description", "settings"])
async def test_a_path_whose_field_is_not_set_clears_it(world: World, path: str) -> None:
    alice = await world.user()
    project = await alice.project(**FULL)
    updated = await update(alice, path, id=project.id)
    assert not updated.HasField(path)  # type: ignore[arg-type]
    assert updated.revision == 2


async def test_a_time_of_retention_that_is_none_is_refused_and_only_if_it_is_said(
    world: World,
) -> None:
    alice = await world.user()
    project = await alice.project(settings={"event_retention_days": 30})
    wrong = {"event_retention_days": 0}
    found = await refused(update(alice, id=project.id, settings=wrong), Reason.INVALID_FIELD)
    rule = "must be a whole number from 1 to 3650"
    assert found.fields == {"project.settings.event_retention_days": rule}
    await world.execute("UPDATE projects SET settings = $1", wrong)  # as before there was a rule
    updated = await update(alice, id=project.id, name="Other")
    assert dict(updated.settings) == wrong
    await update(alice, id=project.id, settings={"event_retention_days": 1})


@pytest.mark.parametrize("path", ["slug", "name"])
async def test_what_is_required_cannot_be_cleared(world: World, path: str) -> None:
    alice = await world.user()
    project = await alice.project(**FULL)
    found = await refused(update(alice, path, id=project.id), Reason.INVALID_FIELD)
    assert found.fields == {f"project.{path}": "is required"}


@pytest.mark.parametrize(
    "path",
    ["id", "owner_id", "created_at", "updated_at", "revision", "x", "project.name", "settings.a"],
)
async def test_a_path_that_may_not_be_changed_is_named(world: World, path: str) -> None:
    alice = await world.user()
    project = await alice.project(**FULL)
    call = update(alice, path, "name", id=project.id, name="Other")
    found = await refused(call, Reason.INVALID_UPDATE_MASK)
    assert path in found.fields["update_mask"]


@pytest.mark.parametrize("mask", [(), ("*",), ("settings", "status")])
async def test_an_update_that_changes_nothing_leaves_no_trace(
    world: World, mask: tuple[str, ...]
) -> None:
    alice = await world.user()
    project = await alice.project(**FULL)
    fields = {**FULL, "id": project.id, "status": PROJECT_STATUS_ACTIVE}
    assert await update(alice, *mask, **fields) == project
    assert await update(alice, id=project.id) == project


async def test_the_status_decides_what_can_be_changed_in_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    for revision, status in enumerate((PROJECT_STATUS_SUSPENDED, PROJECT_STATUS_ARCHIVED), 2):
        updated = await update(alice, id=project.id, status=status)
        assert (updated.status, updated.revision) == (status, revision)
        found = await refused(alice.agent(project), Reason.PROJECT_NOT_ACTIVE)
        assert found.metadata == {"project_id": project.id, "status": ProjectStatus.Name(status)}
        assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == agent
    await update(alice, id=project.id, status=PROJECT_STATUS_ACTIVE)
    await alice.agent(project)


async def test_a_status_that_is_none_is_refused(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    call = update(alice, id=project.id, status=9)
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["project.status"]


async def test_a_revision_has_to_match(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    second = await update(alice, id=project.id, name="T", revision=1)
    call = update(alice, id=project.id, name="U", revision=1)
    assert (await refused(call, Reason.REVISION_MISMATCH)).metadata == {"revision": "2"}
    request = GetProjectRequest(project_id=project.id)
    assert await alice.projects.GetProject(request) == second


async def test_a_slug_that_is_taken_is_refused(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    await bob.project(slug="tandem")
    project = await alice.project()
    call = update(alice, id=project.id, slug="tandem")
    assert (await refused(call, Reason.PROJECT_SLUG_TAKEN)).metadata == {"slug": "tandem"}


async def test_a_project_that_does_not_exist_is_named(world: World) -> None:
    alice = await world.user()
    call = update(alice, id=str(alice.id), name="Other")
    found = await refused(call, Reason.PROJECT_NOT_FOUND)
    assert found.metadata == {"project_id": str(alice.id)}
