"""The limits of every field, at creation and at update alike."""

import math
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import (
    AGENT_STATUS_BUSY,
    AGENT_STATUS_OFFLINE,
    Agent,
    CreateAgentRequest,
    GetAgentRequest,
    UpdateAgentRequest,
)
from tests.refusals import refused
from tests.world import World

ASTRAL = "\N{GRINNING FACE}"
KIB = 1024


def config_of(size: int) -> Any:
    """A config of exactly `size` bytes, serialized."""
    config: Any = {"k": "x" * (size - 32)}
    while (missing := size - Agent(config=config).config.ByteSize()) > 0:
        config["k"] += "x" * missing
    return config


ALLOWED: list[dict[str, Any]] = [
    {"name": "n" * 255},
    {"name": ASTRAL * 255},
    {"name": " "},
    {"name": "\x01"},
    {"nickname": ""},
    {"nickname": ASTRAL * 255},
    {"agent_type": ASTRAL * 100},
    {"capabilities": [f"{i:0100}" for i in range(100)]},
    {"capabilities": ["b", "a", "B"]},
    {"config": {}},
    {"config": config_of(64 * KIB)},
    {"config": {"": "", "a": [None, True, {"b": [[]]}], "half": 0.5, "zero": 0.0}},
    {"config": {"big": 1e300, "over 64 bits": 2.0**64, "small": 5e-324, "lowest": -1.7e308}},
    {"config": {"2**53": 2.0**53, "nested": [{"also": 1e19}]}},
    {"is_active": False},
    {"max_leases": 1},
    {"max_leases": 1000},
]
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"name": "n" * 256}, "agent.name"),
    ({"name": ASTRAL * 256}, "agent.name"),
    ({"name": "a\0b"}, "agent.name"),
    ({"nickname": "n" * 256}, "agent.nickname"),
    ({"nickname": "\0"}, "agent.nickname"),
    ({"agent_type": "t" * 101}, "agent.agent_type"),
    ({"agent_type": "\0"}, "agent.agent_type"),
    ({"max_leases": -1}, "agent.max_leases"),
    ({"max_leases": 1001}, "agent.max_leases"),
    ({"capabilities": [f"{i}" for i in range(101)]}, "agent.capabilities"),
    ({"capabilities": ["a", "b", "a"]}, "agent.capabilities"),
    ({"capabilities": ["a", ""]}, "agent.capabilities[1]"),
    ({"capabilities": ["c" * 101]}, "agent.capabilities[0]"),
    ({"capabilities": ["a", "b", "\0"]}, "agent.capabilities[2]"),
    ({"config": config_of(64 * KIB + 1)}, "agent.config"),
    ({"config": {"a": "\0"}}, "agent.config"),
    ({"config": {"a": [{"b": {"\0": 1}}]}}, "agent.config"),
    ({"config": {"a": math.nan}}, "agent.config"),
    ({"config": {"a": [{"b": math.inf}]}}, "agent.config"),
    ({"config": {"a": -math.inf}}, "agent.config"),
]


def names(case: Any) -> str:
    return next(iter(case)) if isinstance(case, dict) else ""


@pytest.mark.parametrize("fields", ALLOWED, ids=names)
async def test_what_is_allowed_is_kept_exactly(world: World, fields: dict[str, Any]) -> None:
    alice = await world.user()
    project = await alice.project()
    created = await alice.agent(project, **fields)
    other = await alice.agent(await alice.project())
    changes = Agent(id=other.id, **fields)
    updated = await alice.agents.UpdateAgent(
        UpdateAgentRequest(agent=changes, update_mask=FieldMask(paths=fields))
    )
    for answer in (created, updated):
        for name in fields:
            assert getattr(answer, name) == getattr(changes, name)
        kept = await alice.agents.GetAgent(GetAgentRequest(agent_id=answer.id))
        assert kept == answer


@pytest.mark.parametrize(("fields", "path"), REFUSED, ids=names)
async def test_what_is_not_allowed_is_named(
    world: World, fields: dict[str, Any], path: str
) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    new = Agent(**{"project_id": project.id, "name": "New", **fields})
    call = alice.agents.CreateAgent(CreateAgentRequest(agent=new))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == [path]
    call = alice.agents.UpdateAgent(UpdateAgentRequest(agent=Agent(id=agent.id, **fields)))
    found = await refused(call, Reason.INVALID_FIELD)
    assert list(found.fields) == [path]
    assert "\0" not in found.message + found.fields[path]
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id)) == agent


async def test_output_only_fields_are_ignored(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(
        project,
        id=project.id,
        status=AGENT_STATUS_BUSY,
        created_at={"seconds": 1},
        updated_at={"seconds": 1},
        revision=7,
    )
    assert agent.id != project.id
    assert (agent.status, agent.revision) == (AGENT_STATUS_OFFLINE, 1)
    assert agent.created_at == agent.updated_at
    assert agent.created_at.seconds > 1


@pytest.mark.parametrize("given", [{"id": "x"}, {"revision": -1}, {"status": 99}], ids=names)
async def test_output_only_fields_are_not_even_looked_at(
    world: World, given: dict[str, Any]
) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project(), **given)
    assert (agent.revision, agent.status) == (1, AGENT_STATUS_OFFLINE)


async def test_defaults(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    assert (agent.agent_type, agent.is_active, list(agent.capabilities)) == ("generic", True, [])
    assert not agent.HasField("nickname")
    assert not agent.HasField("config")


async def test_a_body_with_nothing_in_it_says_what_is_required(world: World) -> None:
    alice = await world.user()
    found = await refused(alice.agents.CreateAgent(CreateAgentRequest()), Reason.INVALID_FIELD)
    assert found.fields == {"agent.project_id": "is required", "agent.name": "is required"}
    found = await refused(alice.agents.UpdateAgent(UpdateAgentRequest()), Reason.INVALID_FIELD)
    assert found.fields == {"agent.id": "is required"}
