"""Revoking all API keys of an agent or of a project."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import DeleteAgentRequest
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_STATUS_REVOKED,
    RevokeApiKeysRequest,
    RevokeApiKeysResponse,
)
from tests.agent_service.api_keys.holder import Holder
from tests.locks import under_way
from tests.refusals import outcomes, refused
from tests.world import Client

DAY = timedelta(days=1)
VALID = "SELECT count(*) FROM agent_api_keys WHERE status <> 'revoked'"


async def revoke_all(client: Client, **fields: Any) -> int:
    """End the keys of an agent or a project: how many they were."""
    request = RevokeApiKeysRequest(**fields)
    answer: RevokeApiKeysResponse = await client.auth.RevokeApiKeys(request)
    return answer.revoked


async def test_all_keys_of_an_agent_are_revoked_and_no_others(holder: Holder) -> None:
    mine = [await holder.create() for _ in range(3)]
    ended = await holder.revoke(mine[0].api_key)
    other = await holder.owner.api_key(await holder.owner.agent(holder.project))
    assert await revoke_all(holder.owner, agent_id=holder.agent.id) == 2
    for key in mine:
        await refused(holder.exchange(key.secret), Reason.API_KEY_INVALID)
    assert (await holder.exchange(other.secret)).access_token
    first, *revoked = await holder.list()
    assert first == ended
    for one in revoked:
        assert (one.status, one.revision) == (API_KEY_STATUS_REVOKED, 2)
        assert one.updated_at.ToDatetime() > one.created_at.ToDatetime()
    assert await revoke_all(holder.owner, agent_id=holder.agent.id) == 0
    assert await holder.list() == [ended, *revoked]


async def test_all_keys_of_a_project_are_revoked_and_no_others(holder: Holder) -> None:
    owner = holder.owner
    neighbour, idle = [await owner.agent(holder.project) for _ in range(2)]
    elsewhere = await owner.api_key(await owner.agent(await owner.project()))
    keys = [await holder.create(), await owner.api_key(neighbour), await owner.api_key(neighbour)]
    assert await revoke_all(owner, project_id=holder.project.id) == 3
    for key in keys:
        await refused(holder.exchange(key.secret), Reason.API_KEY_INVALID)
    assert (await holder.exchange(elsewhere.secret)).access_token
    assert await revoke_all(owner, agent_id=idle.id) == 0
    assert await revoke_all(owner, project_id=holder.project.id) == 0


@pytest.mark.parametrize("status", ["suspended", "archived"])
async def test_keys_are_revoked_in_a_project_that_is_not_active(
    holder: Holder, status: str
) -> None:
    for target in ({"agent_id": holder.agent.id}, {"project_id": holder.project.id}):
        await holder.world.execute("UPDATE projects SET status = 'active'")
        answer = await holder.create()
        await holder.world.execute("UPDATE projects SET status = $1", status)
        assert await revoke_all(holder.owner, **target) == 1
        await refused(holder.exchange(answer.secret), Reason.API_KEY_INVALID)


async def test_an_expired_key_is_revoked_too(holder: Holder) -> None:
    await holder.create()
    await holder.world.execute("UPDATE agent_api_keys SET expires_at = now()")
    assert await revoke_all(holder.owner, agent_id=holder.agent.id) == 1
    assert [key.status for key in await holder.list()] == [API_KEY_STATUS_REVOKED]


async def test_the_tokens_of_all_keys_end_within_seconds(holder: Holder) -> None:
    tokens = []
    for _ in range(2):
        secret = (await holder.create()).secret
        tokens.append((await holder.exchange(secret)).access_token)
        await holder.who(tokens[-1])
    await revoke_all(holder.owner, project_id=holder.project.id)
    await asyncio.sleep(1.1)
    for token in tokens:
        await refused(holder.who(token), Reason.CALLER_INACTIVE)


async def test_a_repeated_request_gets_the_first_answer(holder: Holder) -> None:
    await holder.create()
    target: dict[str, Any] = {"agent_id": holder.agent.id, "request_id": str(uuid4())}
    assert await revoke_all(holder.owner, **target) == 1
    later = await holder.create()
    assert await revoke_all(holder.owner, **target) == 1
    assert (await holder.exchange(later.secret)).access_token
    target = {"project_id": holder.project.id, "request_id": target["request_id"]}
    await refused(revoke_all(holder.owner, **target), Reason.REQUEST_ID_REUSED)


async def test_access_comes_first(holder: Holder) -> None:
    await holder.create()
    world, here = holder.world, holder.project.id
    stranger, editor, admin = [await world.user() for _ in range(3)]
    await world.member(here, editor, "editor")
    await world.member(here, admin, "admin")
    targets: list[dict[str, Any]] = [{"agent_id": holder.agent.id}, {"project_id": here}]
    for target in targets:
        for wrong in ({}, {"request_id": "x"}):
            await refused(revoke_all(stranger, **target, **wrong), Reason.NOT_PROJECT_OWNER)
            await refused(revoke_all(editor, **target, **wrong), Reason.INSUFFICIENT_ROLE)
    nowhere = str(uuid4())
    for call, reason in (
        (revoke_all(admin, agent_id=nowhere), Reason.AGENT_NOT_FOUND),
        (revoke_all(admin, project_id=nowhere), Reason.PROJECT_NOT_FOUND),
        (revoke_all(admin, agent_id="x"), Reason.INVALID_FIELD),
        (revoke_all(admin, project_id="x"), Reason.INVALID_FIELD),
        (revoke_all(admin), Reason.INVALID_FIELD),
    ):
        await refused(call, reason)
    assert await world.value(VALID) == 1
    assert await revoke_all(admin, project_id=here) == 1


@pytest.mark.parametrize("of", ["agent", "project"])
async def test_no_key_that_a_rotation_makes_survives_the_old_one(holder: Holder, of: str) -> None:
    target = {f"{of}_id": getattr(holder, of).id}
    for _ in range(10):
        keys = [(await holder.create()).api_key for _ in range(4)]
        found = await outcomes(
            *(holder.rotate(key, DAY) for key in keys), revoke_all(holder.owner, **target)
        )
        assert {*found} <= {"OK", "INVALID_STATUS_TRANSITION"}
        assert await holder.world.value(VALID) == 0


async def test_what_a_rotation_has_added_meanwhile_is_revoked(holder: Holder) -> None:
    """The first statement cannot see it: it began before the rotation has ended."""
    old = (await holder.create()).api_key
    rotation = """
        WITH old AS (UPDATE agent_api_keys SET revision = revision + 1 RETURNING *)
        INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)
        SELECT gen_random_uuid(), project_id, agent_id, 'new', 'new', 'new' FROM old
    """
    async with under_way(holder.world.url, rotation) as blocked:
        call = asyncio.ensure_future(revoke_all(holder.owner, project_id=holder.project.id))
        await blocked.wait()
    assert await call == 2
    assert {key.status for key in await holder.list()} == {API_KEY_STATUS_REVOKED}
    assert old.id in {key.id for key in await holder.list()}


async def test_a_key_that_is_created_meanwhile_is_revoked_or_comes_after(holder: Holder) -> None:
    for _ in range(5):
        created = [holder.create() for _ in range(4)]
        revoking = asyncio.ensure_future(revoke_all(holder.owner, agent_id=holder.agent.id))
        keys = await asyncio.gather(*created)
        number = await revoking
        left = await holder.world.value(VALID)
        assert number + left == len(keys)
        assert await revoke_all(holder.owner, agent_id=holder.agent.id) == left


async def test_revocations_that_meet_do_not_wait_for_each_other_in_a_circle(
    holder: Holder,
) -> None:
    keys = [await holder.create() for _ in range(12)]
    calls = (
        revoke_all(holder.owner, agent_id=holder.agent.id),
        revoke_all(holder.owner, project_id=holder.project.id),
    )
    assert sum(await asyncio.gather(*calls)) == len(keys)


@pytest.mark.parametrize("of", ["agent", "project"])
async def test_keys_are_locked_in_the_order_of_their_ids(holder: Holder, of: str) -> None:
    for _ in range(3):
        await holder.create()
    ids = "SELECT id FROM agent_api_keys ORDER BY id"
    first = f"UPDATE agent_api_keys SET created_at = now() WHERE id = ({ids} LIMIT 1)"  # noqa: S608
    await holder.world.execute(first)  # the last one in the table and its index
    lock = f"SELECT FROM agent_api_keys WHERE id = ({ids} OFFSET 1 LIMIT 1) FOR UPDATE"
    async with under_way(holder.world.url, lock) as blocked:
        target = {f"{of}_id": getattr(holder, of).id}
        call = asyncio.ensure_future(revoke_all(holder.owner, **target))
        await blocked.wait()
        free = f"SELECT array_agg(id) FROM ({ids} FOR UPDATE SKIP LOCKED) free"  # noqa: S608
        last: list[UUID] = await holder.world.value(free)
    assert await call == 3
    assert [str(key) for key in last] == [max(key.id for key in await holder.list())]


@pytest.mark.parametrize("of", ["agent", "project"])
async def test_keys_of_an_agent_that_goes_are_locked_after_it(holder: Holder, of: str) -> None:
    """As DeleteAgent does. The other way round the two would wait for each other."""
    await holder.create()
    lock = "SELECT FROM agents FOR UPDATE"
    async with under_way(holder.world.url, lock) as blocked:
        target = {f"{of}_id": getattr(holder, of).id}
        call = asyncio.ensure_future(revoke_all(holder.owner, **target))
        await asyncio.wait_for(blocked.wait(), timeout=4)
        free = "SELECT count(*) FROM (SELECT FROM agent_api_keys FOR UPDATE SKIP LOCKED) free"
        assert await holder.world.value(free) == 1
    assert await call == 1


async def test_an_agent_that_is_deleted_meanwhile_has_no_keys(holder: Holder) -> None:
    for _ in range(5):
        agent = await holder.owner.agent(holder.project)
        for _ in range(3):
            await holder.owner.api_key(agent)
        found = await outcomes(
            holder.owner.agents.DeleteAgent(DeleteAgentRequest(agent_id=agent.id)),
            revoke_all(holder.owner, project_id=holder.project.id),
        )
        assert found == ["OK", "OK"]
        assert await holder.world.value("SELECT count(*) FROM agent_api_keys") == 0
