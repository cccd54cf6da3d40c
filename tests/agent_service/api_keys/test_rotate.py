"""Rotating API keys."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from google.protobuf.duration_pb2 import Duration

from shared.errors import Reason
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_STATUS_ACTIVE,
    API_KEY_STATUS_EXPIRED,
    RotateApiKeyRequest,
)
from tests.agent_service.api_keys.holder import Holder
from tests.locks import under_way
from tests.refusals import outcomes, refused

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def about(found: datetime, wanted: datetime) -> bool:
    return abs(found.replace(tzinfo=UTC) - wanted) < MINUTE


async def test_a_successor_is_for_the_same_and_ends_the_old_one(holder: Holder) -> None:
    old = await holder.create(capabilities=["read"])
    new = await holder.rotate(old.api_key)
    assert new.api_key.id != old.api_key.id
    assert new.api_key.agent_id == holder.agent.id
    assert new.api_key.capabilities == ["read"]
    assert (new.api_key.status, new.api_key.revision) == (API_KEY_STATUS_ACTIVE, 1)
    assert new.api_key.created_by_id == str(holder.owner.id)
    await refused(holder.exchange(old.secret), Reason.API_KEY_INVALID)
    told = await holder.who((await holder.exchange(new.secret)).access_token)
    assert (told.caller_id, list(told.capabilities)) == (holder.agent.id, ["read"])
    ended, listed = await holder.list()
    assert (ended.id, ended.status, ended.revision) == (old.api_key.id, API_KEY_STATUS_EXPIRED, 2)
    assert listed.id == new.api_key.id


async def test_the_old_key_lives_through_its_grace(holder: Holder) -> None:
    old = await holder.create()
    new = await holder.rotate(old.api_key, HOUR)
    for secret in (old.secret, new.secret):
        assert (await holder.exchange(secret)).access_token
    ending = (await holder.list())[0]
    assert ending.status == API_KEY_STATUS_ACTIVE
    assert about(ending.expires_at.ToDatetime(), datetime.now(UTC) + HOUR)
    await holder.world.execute("UPDATE agent_api_keys SET expires_at = expires_at - interval '1h'")
    await refused(holder.exchange(old.secret), Reason.API_KEY_INVALID)
    assert (await holder.exchange(new.secret)).access_token


async def test_a_grace_gives_no_key_a_longer_life(holder: Holder) -> None:
    end = datetime.now(UTC) + DAY
    old = await holder.create(expires_at=end)
    await holder.world.execute("UPDATE agent_api_keys SET expires_at = now() + interval '1 minute'")
    await holder.rotate(old.api_key, DAY)
    assert about((await holder.list())[0].expires_at.ToDatetime(), datetime.now(UTC) + MINUTE)


async def test_a_successor_lives_as_long_again(holder: Holder) -> None:
    old = await holder.create(expires_at=datetime.now(UTC) + 90 * DAY)
    await holder.world.execute(
        "UPDATE agent_api_keys SET created_at = created_at - interval '80 days',"
        " expires_at = expires_at - interval '80 days'"
    )
    new = await holder.rotate(old.api_key, HOUR)
    assert about(new.api_key.expires_at.ToDatetime(), datetime.now(UTC) + 90 * DAY)


async def test_a_successor_of_what_never_ends_never_ends(holder: Holder) -> None:
    new = await holder.rotate((await holder.create()).api_key)
    assert not new.api_key.HasField("expires_at")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("status = 'revoked'", "revoked"),
        ("status = 'expired'", "expired"),
        ("expires_at = now()", "expired"),
    ],
)
async def test_only_a_usable_key_is_rotated(holder: Holder, change: str, found: str) -> None:
    key = (await holder.create()).api_key
    await holder.world.execute(f"UPDATE agent_api_keys SET {change}")  # noqa: S608
    call = holder.rotate(key, HOUR)
    said = await refused(call, Reason.INVALID_STATUS_TRANSITION)
    status = f"API_KEY_STATUS_{found.upper()}"
    assert said.metadata == {"from": status, "to": "API_KEY_STATUS_ACTIVE", "allowed": ""}
    assert len(await holder.list()) == 1


@pytest.mark.parametrize("grace", [timedelta(), DAY])
async def test_a_grace_is_up_to_a_day(holder: Holder, grace: timedelta) -> None:
    await holder.rotate((await holder.create()).api_key, grace)


@pytest.mark.parametrize(
    "grace",
    [
        Duration(seconds=-1),
        Duration(nanos=-1),
        Duration(seconds=86400, nanos=1),
        Duration(seconds=86399, nanos=2**31 - 1),
        Duration(seconds=2**62),
        Duration(seconds=-(2**62)),
    ],
)
async def test_another_grace_is_refused(holder: Holder, grace: Duration) -> None:
    key = (await holder.create()).api_key
    request = RotateApiKeyRequest(api_key_id=key.id, grace_period=grace)
    call = holder.owner.auth.RotateApiKey(request)
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["grace_period"]
    assert await holder.list() == [key]


async def test_access_comes_first(holder: Holder) -> None:
    key, stranger = (await holder.create()).api_key, await holder.world.user()
    for seconds in (0, -1):
        request = RotateApiKeyRequest(api_key_id=key.id, grace_period=Duration(seconds=seconds))
        await refused(stranger.auth.RotateApiKey(request), Reason.NOT_PROJECT_OWNER)
    call = stranger.auth.RotateApiKey(RotateApiKeyRequest(api_key_id=str(uuid4())))
    await refused(call, Reason.API_KEY_NOT_FOUND)
    assert await holder.list() == [key]


async def test_a_project_that_is_not_active_gets_no_key(holder: Holder) -> None:
    old = await holder.create()
    await holder.world.execute("UPDATE projects SET status = 'suspended'")
    await refused(holder.rotate(old.api_key), Reason.PROJECT_NOT_ACTIVE)
    assert (await holder.exchange(old.secret)).access_token
    await holder.revoke(old.api_key)
    await refused(holder.rotate(old.api_key), Reason.PROJECT_NOT_ACTIVE)


async def test_a_repeated_request_gets_the_same_secret(holder: Holder) -> None:
    old, request_id = (await holder.create()).api_key, str(uuid4())
    answers = await asyncio.gather(*(holder.rotate(old, request_id=request_id) for _ in range(5)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await holder.list()) == 2
    assert (await holder.exchange(answers[0].secret)).access_token


async def test_one_of_many_rotations_without_a_grace_wins(holder: Holder) -> None:
    for _ in range(5):
        old = (await holder.create()).api_key
        before = len(await holder.list())
        found = await outcomes(*(holder.rotate(old) for _ in range(8)))
        assert found == ["INVALID_STATUS_TRANSITION"] * 7 + ["OK"]
        assert len(await holder.list()) == before + 1


async def test_each_rotation_within_the_grace_gives_a_key(holder: Holder) -> None:
    old = (await holder.create()).api_key
    answers = await asyncio.gather(*(holder.rotate(old, HOUR) for _ in range(8)))
    assert len({answer.secret for answer in answers}) == 8
    for answer in answers:
        assert (await holder.exchange(answer.secret)).access_token


async def test_a_rotation_that_waited_judges_by_the_time_after_that(holder: Holder) -> None:
    """When it began the key was usable still, and its end is later than that."""
    old = (await holder.create()).api_key
    change = "UPDATE agent_api_keys SET expires_at = clock_timestamp() + interval '0.2 seconds'"
    async with under_way(holder.world.url, change) as blocked:
        call = asyncio.ensure_future(holder.rotate(old))
        await blocked.wait()
        await asyncio.sleep(0.3)
    await refused(call, Reason.INVALID_STATUS_TRANSITION)


async def test_a_rotation_of_a_key_being_revoked_is_refused(holder: Holder) -> None:
    old = (await holder.create()).api_key
    change = "UPDATE agent_api_keys SET status = 'revoked'"
    async with under_way(holder.world.url, change) as blocked:
        call = asyncio.ensure_future(holder.rotate(old, DAY))
        await blocked.wait()
    await refused(call, Reason.INVALID_STATUS_TRANSITION)
    assert len(await holder.list()) == 1


async def test_a_key_rotated_and_revoked_at_once_is_revoked(holder: Holder) -> None:
    for _ in range(10):
        old = await holder.create()
        found = await outcomes(holder.rotate(old.api_key, DAY), holder.revoke(old.api_key))
        assert found in (["OK", "OK"], ["INVALID_STATUS_TRANSITION", "OK"])
        await refused(holder.exchange(old.secret), Reason.API_KEY_INVALID)


@pytest.mark.parametrize("table", ["agents", "projects"])
async def test_a_rotation_while_the_agent_goes_finds_no_key(holder: Holder, table: str) -> None:
    old = (await holder.create()).api_key
    async with under_way(holder.world.url, f"DELETE FROM {table}") as blocked:  # noqa: S608
        call = asyncio.ensure_future(holder.rotate(old))
        await blocked.wait()
    await refused(call, Reason.API_KEY_NOT_FOUND)


@pytest.mark.parametrize("table", ["projects", "agents"])
async def test_a_rotation_waits_for_a_deletion_before_it_locks_what_that_will_lock(
    holder: Holder, table: str
) -> None:
    """Else each could wait for the other."""
    old = (await holder.create()).api_key
    lock = f"SELECT FROM {table} FOR UPDATE"
    async with under_way(holder.world.url, lock) as blocked:
        call = asyncio.ensure_future(holder.rotate(old))
        await blocked.wait()
        for later in {"projects": ["agents", "agent_api_keys"], "agents": ["agent_api_keys"]}[
            table
        ]:
            free = f"SELECT count(*) FROM (SELECT FROM {later} FOR UPDATE SKIP LOCKED) free"  # noqa: S608
            assert await holder.world.value(free) == 1
    assert (await call).secret
