"""Reading agents: one, many, and what may be done with them."""

from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from agent_service.agents.messages import batch
from agent_service.agents.queries import GET_MANY
from shared.auth.caller import User
from shared.errors import Reason, Refusal
from tandem.agent.v1.agent_service_pb2 import (
    BatchGetAgentsRequest,
    GetAgentRequest,
    VerifyAgentAccessRequest,
    VerifyAgentAccessResponse,
)
from tests.refusals import refused
from tests.world import World


@pytest.mark.parametrize(
    "agent_id",
    ["", "x", "00000000", "{00000000-0000-0000-0000-000000000000}", "0" * 32, "\0" * 36],
)
async def test_a_malformed_id_is_no_id(world: World, agent_id: str) -> None:
    alice = await world.user()
    call = alice.agents.GetAgent(GetAgentRequest(agent_id=agent_id))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["agent_id"]


async def test_an_id_may_be_in_capitals(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    assert await alice.agents.GetAgent(GetAgentRequest(agent_id=agent.id.upper())) == agent


async def test_many_are_answered_in_the_order_of_their_ids(world: World) -> None:
    alice = await world.user()
    first, second = await alice.project(), await alice.project()
    a, b, c = [await alice.agent(project) for project in (first, second, first)]
    ids = [c.id, a.id, c.id, b.id]
    found = await alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=ids))
    assert list(found.agents) == [c, a, c, b]


async def test_those_that_are_missing_fail_the_batch_and_are_named(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    gone = [str(uuid7()) for _ in range(3)]
    ids = [agent.id, gone[1], gone[0], gone[1].upper(), agent.id, gone[2]]
    call = alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=ids))
    found = await refused(call, Reason.AGENT_NOT_FOUND)
    named = ",".join([gone[1], gone[0], gone[2]])
    assert found.metadata == {"agent_id": gone[1], "agent_ids": named, "total": "3"}
    assert found.details["ResourceInfo"].resource_name == gone[1]
    assert found.message == f"There is no agent {gone[1]}, and 2 others are missing too."
    call = alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=ids[:3]))
    found = await refused(call, Reason.AGENT_NOT_FOUND)
    assert found.message == f"There is no agent {gone[1]}, and 1 other is missing too."


async def test_of_very_many_that_are_missing_a_hundred_are_named(world: World) -> None:
    alice = await world.user()
    gone = [str(uuid7()) for _ in range(1000)]
    call = alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=gone))
    found = await refused(call, Reason.AGENT_NOT_FOUND)
    assert found.metadata["agent_ids"].split(",") == gone[:100]
    assert found.metadata["total"] == "1000"


async def test_one_of_somebody_else_fails_the_batch(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    ids = [
        (await alice.agent(await alice.project())).id,
        (await bob.agent(await bob.project())).id,
    ]
    for caller in (alice, bob):
        call = caller.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=ids))
        await refused(call, Reason.NOT_PROJECT_OWNER)


async def test_the_first_id_that_fails_decides_which_error_it_is(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    mine, his = [(await user.agent(await user.project())).id for user in (alice, bob)]
    gone = str(uuid7())
    for ids, reason in (
        ([mine, his, gone], Reason.NOT_PROJECT_OWNER),
        ([mine, gone, his], Reason.AGENT_NOT_FOUND),
    ):
        call = alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=ids))
        await refused(call, reason)


async def test_a_batch_has_limits(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    found = await alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=[agent.id] * 1000))
    assert len(found.agents) == 1000
    for ids in ([], [agent.id] * 1001):
        call = alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=ids))
        assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["agent_ids"]
    call = alice.agents.BatchGetAgents(BatchGetAgentsRequest(agent_ids=[agent.id, "x"]))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["agent_ids[1]"]


async def test_a_batch_too_large_for_a_client_is_refused(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project(), config={"text": "x" * 60_000})
    request = BatchGetAgentsRequest(agent_ids=[agent.id] * 50)
    assert len((await alice.agents.BatchGetAgents(request)).agents) == 50
    request = BatchGetAgentsRequest(agent_ids=[agent.id] * 100)
    found = await refused(alice.agents.BatchGetAgents(request), Reason.LIMIT_EXCEEDED)
    assert found.metadata == {"limit_bytes": str(3 * 1024 * 1024)}


async def test_no_more_of_a_batch_is_fetched_than_a_client_could_take(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    ids = [UUID((await alice.agent(project)).id) for _ in range(3)]
    fill = "UPDATE agents SET config = jsonb_build_object('n', array_fill(1e-300, ARRAY[$1::int]))"
    owner = User(alice.id, "alice", "alice@example.com", None, is_superuser=False).rights

    async def configs(numbers: int) -> list[bool]:
        await world.execute(fill, numbers)
        rows = await world.database.read(lambda c: GET_MANY.statement.rows(c, owner, ids=ids))
        assert {row["are_too_large"] for row in rows} == {not row["config"] for row in rows}
        return [bool(row["config"]) for row in rows]

    assert await configs(numbers=13_000) == [True] * 3
    assert await configs(numbers=15_000) == [False] * 3
    await world.execute("UPDATE agents SET config = NULL")
    request = BatchGetAgentsRequest(agent_ids=map(str, ids))
    assert len((await alice.agents.BatchGetAgents(request)).agents) == 3
    await world.execute(fill, 15_000)
    await refused(alice.agents.BatchGetAgents(request), Reason.LIMIT_EXCEEDED)


async def test_no_more_of_a_batch_is_built_than_a_client_could_take(world: World) -> None:
    alice = await world.user()
    await alice.agent(await alice.project(), config={"text": "x" * 60_000})
    row = await world.database.read(lambda c: c.fetchrow("SELECT * FROM agents"))
    assert row is not None
    rows = iter([row] * 1000)
    with pytest.raises(Refusal, match="LIMIT_EXCEEDED"):
        await batch(rows)
    assert 940 < len(list(rows)) < 950


async def test_what_may_be_done_with_an_agent_is_said(world: World) -> None:
    alice = await world.user()
    agent = await alice.agent(await alice.project())
    request = VerifyAgentAccessRequest(agent_id=agent.id)
    found = await alice.agents.VerifyAgentAccess(request)
    assert found == VerifyAgentAccessResponse(can_view=True, can_change=True)
    await world.execute("UPDATE projects SET status = 'suspended'")
    found = await alice.agents.VerifyAgentAccess(request)
    assert found == VerifyAgentAccessResponse(can_view=True, can_change=False)
