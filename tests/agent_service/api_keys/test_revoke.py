"""Revoking API keys."""

import asyncio
from uuid import uuid4

import pytest

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_STATUS_REVOKED,
    RevokeApiKeyRequest,
)
from tests.agent_service.api_keys.holder import Holder
from tests.locks import under_way
from tests.refusals import refused


async def test_a_revoked_key_is_of_no_use_from_then_on(holder: Holder) -> None:
    answer = await holder.create()
    await holder.exchange(answer.secret)
    revoked = await holder.revoke(answer.api_key)
    assert (revoked.status, revoked.revision) == (API_KEY_STATUS_REVOKED, 2)
    assert revoked.updated_at.ToDatetime() > revoked.created_at.ToDatetime()
    await refused(holder.exchange(answer.secret), Reason.API_KEY_INVALID)
    assert await holder.list() == [revoked]


async def test_a_key_that_is_revoked_again_stays_as_it_is(holder: Holder) -> None:
    key = (await holder.create()).api_key
    first = await holder.revoke(key)
    assert await holder.revoke(key) == first
    again = [holder.revoke(key) for _ in range(5)]
    assert all(answer == first for answer in await asyncio.gather(*again))


async def test_one_key_is_revoked_and_no_other(holder: Holder) -> None:
    gone, other = await holder.create(), await holder.create()
    await holder.revoke(gone.api_key)
    assert (await holder.exchange(other.secret)).access_token


@pytest.mark.parametrize("status", ["suspended", "archived"])
async def test_keys_are_revoked_in_a_project_that_is_not_active(
    holder: Holder, status: str
) -> None:
    answer = await holder.create()
    await holder.world.execute("UPDATE projects SET status = $1", status)
    assert (await holder.revoke(answer.api_key)).status == API_KEY_STATUS_REVOKED
    await refused(holder.exchange(answer.secret), Reason.API_KEY_INVALID)


async def test_an_expired_key_can_be_revoked(holder: Holder) -> None:
    key = (await holder.create()).api_key
    await holder.world.execute("UPDATE agent_api_keys SET expires_at = now()")
    assert (await holder.revoke(key)).status == API_KEY_STATUS_REVOKED


async def test_a_token_ends_within_seconds_of_its_key(holder: Holder) -> None:
    answer = await holder.create()
    token = (await holder.exchange(answer.secret)).access_token
    await holder.who(token)
    await holder.revoke(answer.api_key)
    await asyncio.sleep(1.1)
    await refused(holder.who(token), Reason.CALLER_INACTIVE)


async def test_a_repeated_request_gets_the_first_answer(holder: Holder) -> None:
    key, request_id = (await holder.create()).api_key, str(uuid4())
    first = await holder.revoke(key, request_id)
    assert await holder.revoke(key, request_id) == first


async def test_access_comes_first(holder: Holder) -> None:
    key, stranger = (await holder.create()).api_key, await holder.world.user()
    for request_id in ("", "x"):
        request = RevokeApiKeyRequest(api_key_id=key.id, request_id=request_id)
        await refused(stranger.auth.RevokeApiKey(request), Reason.NOT_PROJECT_OWNER)
    call = stranger.auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=str(uuid4())))
    await refused(call, Reason.API_KEY_NOT_FOUND)
    assert await holder.list() == [key]


async def test_a_key_id_is_no_id_of_a_key(holder: Holder) -> None:
    key = (await holder.create()).api_key
    call = holder.owner.auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=key.key_id))
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["api_key_id"]


async def test_a_key_that_is_revoked_while_its_agent_goes_is_not_found(holder: Holder) -> None:
    key = (await holder.create()).api_key
    async with under_way(holder.world.url, "DELETE FROM agents") as blocked:
        call = asyncio.ensure_future(holder.revoke(key))
        await blocked.wait()
    await refused(call, Reason.API_KEY_NOT_FOUND)
