"""Creating projects, and the limits of their fields."""

import math
from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.agent.v1.project_service_pb2 import (
    PROJECT_STATUS_ACTIVE,
    PROJECT_STATUS_SUSPENDED,
    CreateProjectRequest,
    GetProjectRequest,
    Project,
    UpdateProjectRequest,
)
from tests.refusals import refused
from tests.world import World

KIB = 1024
ALLOWED: list[dict[str, Any]] = [
    {"slug": "a"},
    {"slug": "0-a_b.c"},
    {"slug": "s" * 100},
    {"name": "\N{GRINNING FACE}" * 255},
    {"description": ""},
    {"description": "é" * (32 * KIB)},
    {"settings": {}},
    {"settings": {"limits": [1, 2.5, None, {"deep": True}]}},
    *({"settings": {"event_retention_days": days}} for days in (1, 3650)),
    {"settings": {"of": {"event_retention_days": "any"}}},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(({"slug": slug}, "project.slug") for slug in ("A", "-a", ".a", "a b", "a\n", "é", "a\0")),
    ({"slug": "s" * 101}, "project.slug"),
    ({"name": "n" * 256}, "project.name"),
    ({"name": "\0"}, "project.name"),
    ({"description": "é" * (32 * KIB) + "x"}, "project.description"),
    ({"description": "\0"}, "project.description"),
    ({"settings": {"a": "x" * (64 * KIB)}}, "project.settings"),
    ({"settings": {"a": {"\0": 1}}}, "project.settings"),
    ({"settings": {"a": [math.nan]}}, "project.settings"),
    *(
        ({"settings": {"event_retention_days": days}}, "project.settings.event_retention_days")
        for days in (0, 3651, 1.5, -1, 1e300, "90", True, None, [90], {"days": 90})
    ),
]


def names(case: Any) -> str:
    return next(iter(case)) if isinstance(case, dict) else ""


async def test_a_project_is_answered_as_it_is_kept(world: World) -> None:
    alice = await world.user()
    project = await alice.project(slug="tandem", name="Tandem")
    assert (project.owner_id, project.slug) == (str(alice.id), "tandem")
    assert (project.status, project.revision) == (PROJECT_STATUS_ACTIVE, 1)
    assert not project.HasField("description")
    assert not project.HasField("settings")
    request = GetProjectRequest(project_id=project.id)
    assert await alice.projects.GetProject(request) == project


@pytest.mark.parametrize("fields", ALLOWED, ids=names)
async def test_what_is_allowed_is_kept_exactly(world: World, fields: dict[str, Any]) -> None:
    alice = await world.user()
    project = await alice.project(**fields)
    wanted = Project(**fields)
    for name in fields:
        assert getattr(project, name) == getattr(wanted, name)
    request = GetProjectRequest(project_id=project.id)
    assert await alice.projects.GetProject(request) == project


@pytest.mark.parametrize(("fields", "path"), REFUSED, ids=names)
async def test_what_is_not_allowed_is_named(
    world: World, fields: dict[str, Any], path: str
) -> None:
    alice = await world.user()
    new = Project(**{"slug": "new", "name": "New", **fields})
    call = alice.projects.CreateProject(CreateProjectRequest(project=new))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == [path]
    project = await alice.project()
    changes = Project(id=project.id, **fields)
    call = alice.projects.UpdateProject(UpdateProjectRequest(project=changes))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == [path]


async def test_slug_and_name_are_required(world: World) -> None:
    alice = await world.user()
    call = alice.projects.CreateProject(CreateProjectRequest())
    found = await refused(call, Reason.INVALID_FIELD)
    assert found.fields == {"project.slug": "is required", "project.name": "is required"}


async def test_what_the_service_sets_is_ignored(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project(
        id="x", owner_id=str(bob.id), status=PROJECT_STATUS_SUSPENDED, revision=-1
    )
    assert project.owner_id == str(alice.id)
    assert (project.status, project.revision) == (PROJECT_STATUS_ACTIVE, 1)
    assert (await alice.project(status=99)).status == PROJECT_STATUS_ACTIVE


async def test_a_slug_belongs_to_one_project_of_all(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    await alice.project(slug="tandem")
    found = await refused(bob.project(slug="tandem"), Reason.PROJECT_SLUG_TAKEN)
    assert found.metadata == {"slug": "tandem"}
    assert found.details["ResourceInfo"].resource_name == "tandem"


async def test_a_user_who_is_deleted_meanwhile_owns_nothing(world: World) -> None:
    alice = await world.user()
    await alice.auth.WhoAmI(WhoAmIRequest())
    await world.execute("DELETE FROM users WHERE id = $1", alice.id)
    await refused(alice.project(), Reason.CALLER_INACTIVE)
