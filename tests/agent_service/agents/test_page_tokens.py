"""Page tokens: each fits the very list that gave it, unchanged."""

import base64
from typing import Any

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import AGENT_STATUS_OFFLINE, ListAgentsRequest
from tandem.agent.v1.project_service_pb2 import ListProjectsRequest, Project
from tests.refusals import refused
from tests.world import User, World

OTHER: list[dict[str, Any]] = [
    {"project_id": ""},
    {"order_by": "created_at"},
    {"order_by": "updated_at desc"},
    {"name_prefix": "a"},
    {"agent_type": "generic"},
    {"is_active": True},
    {"capability": "x"},
    {"statuses": [AGENT_STATUS_OFFLINE]},
]


async def first_token(alice: User, project: Project) -> str:
    for number in range(3):
        await alice.agent(project, name=f"a{number}")
    found = await alice.agents.ListAgents(ListAgentsRequest(project_id=project.id, page_size=1))
    token: str = found.next_page_token
    return token


async def refuse(alice: User, **asked: Any) -> None:
    call = alice.agents.ListAgents(ListAgentsRequest(**asked))
    assert list((await refused(call, Reason.INVALID_PAGE_TOKEN)).fields) == ["page_token"]


@pytest.mark.parametrize("other", OTHER, ids=lambda other: next(iter(other)))
async def test_it_fits_no_list_of_something_else(world: World, other: dict[str, Any]) -> None:
    alice = await world.user()
    project = await alice.project()
    token = await first_token(alice, project)
    await refuse(alice, **{"project_id": project.id, "page_token": token, **other})


async def test_it_fits_no_other_project(world: World) -> None:
    alice = await world.user()
    token = await first_token(alice, await alice.project())
    await refuse(alice, project_id=(await alice.project()).id, page_token=token)


async def test_it_fits_no_other_kind_of_list(world: World) -> None:
    alice = await world.user()
    for _ in range(2):
        await alice.project()
    found = await alice.projects.ListProjects(ListProjectsRequest(page_size=1))
    await refuse(alice, page_token=found.next_page_token)


async def test_it_may_be_used_with_another_page_size_and_again(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    token = await first_token(alice, project)
    for size in (1, 2, 1):
        request = ListAgentsRequest(project_id=project.id, page_size=size, page_token=token)
        found = await alice.agents.ListAgents(request)
        assert [agent.name for agent in found.agents] == ["a1", "a0"][:size]


async def test_every_change_of_a_token_is_seen(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    token = await first_token(alice, project)
    changed = [
        token[:position] + other + token[position + 1 :]
        for position in range(len(token))
        for other in "A_"
        if token[position] != other
    ]
    for wrong in (
        *changed,
        token[:-1],
        token[1:],
        f"{token}A",
        f"{token}=",
        f"{token}\n",
        f"!{token}",
    ):
        await refuse(alice, project_id=project.id, page_token=wrong)


@pytest.mark.parametrize("token", ["x", "....", "é", "A" * 2000, "[]", "MDE5YTAwMDA="])
async def test_what_never_was_a_token_is_refused(world: World, token: str) -> None:
    alice = await world.user()
    await refuse(alice, page_token=token)


async def test_a_token_signed_with_nothing_is_refused(world: World) -> None:
    alice = await world.user()
    key = b'["2026-01-01T00:00:00+00:00","00000000-0000-0000-0000-000000000000"]'
    await refuse(alice, page_token=base64.urlsafe_b64encode(bytes(16) + key).decode())


@pytest.mark.parametrize("character", ["\N{GRINNING FACE}", "\x01", '"', "\\", "/"])
async def test_the_longest_names_make_tokens_too(world: World, character: str) -> None:
    alice = await world.user()
    project = await alice.project()
    names = sorted(character * size for size in (253, 254, 255))
    for name in names:
        await alice.agent(project, name=name)
    found, token = [], ""
    for _ in names:
        answer = await alice.agents.ListAgents(
            ListAgentsRequest(project_id=project.id, order_by="name", page_size=1, page_token=token)
        )
        found += [agent.name for agent in answer.agents]
        token = answer.next_page_token
    assert found == names
