"""Creating API keys."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import DeleteAgentRequest
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_STATUS_ACTIVE,
    ApiKey,
    CreateApiKeyRequest,
    CreateApiKeyResponse,
)
from tests.agent_service.api_keys.holder import Holder
from tests.locks import under_way
from tests.refusals import refused

DAY = timedelta(days=1)


async def test_a_key_is_what_was_asked_for(holder: Holder) -> None:
    end = datetime.now(UTC) + 30 * DAY
    answer = await holder.create(capabilities=["read", "write"], expires_at=end)
    key = answer.api_key
    assert (key.project_id, key.agent_id) == (holder.project.id, holder.agent.id)
    assert key.capabilities == ["read", "write"]
    assert key.expires_at.ToDatetime(tzinfo=UTC) == end
    assert (key.status, key.revision) == (API_KEY_STATUS_ACTIVE, 1)
    assert key.created_by_id == str(holder.owner.id)
    assert not key.HasField("last_used_at")
    assert key.key_prefix == f"tdm_{key.key_id}"
    assert answer.secret.startswith(f"{key.key_prefix}_")
    assert [key] == await holder.list()


async def test_a_key_that_is_asked_for_nothing_never_ends(holder: Holder) -> None:
    key = (await holder.create()).api_key
    assert not key.HasField("expires_at")
    assert key.capabilities == []


async def test_only_the_hash_of_a_key_is_kept(holder: Holder) -> None:
    secret = (await holder.create()).secret
    kept = await holder.world.value("SELECT api_key_hash FROM agent_api_keys")
    assert kept == hashlib.sha256(secret.encode()).hexdigest()


async def test_what_the_service_sets_is_not_taken_from_the_client(holder: Holder) -> None:
    made_up: dict[str, Any] = {
        "id": "x",
        "project_id": str(uuid4()),
        "key_id": "mine",
        "key_prefix": "mine",
        "status": 2,
        "created_by_id": str(uuid4()),
        "revision": -7,
        "last_used_at": Timestamp(seconds=1),
    }
    key = (await holder.create(**made_up)).api_key
    assert UUID(key.id).version == 7
    assert key.project_id == holder.project.id
    assert "mine" not in (key.key_id, key.key_prefix)
    assert (key.status, key.revision) == (API_KEY_STATUS_ACTIVE, 1)
    assert key.created_by_id == str(holder.owner.id)
    assert not key.HasField("last_used_at")


@pytest.mark.parametrize("days", [1, 365])
async def test_exactly_a_day_and_a_year_are_in_time(holder: Holder, days: int) -> None:
    await holder.create(expires_at=datetime.now(UTC) + days * DAY)


@pytest.mark.parametrize(
    "end",
    [
        datetime.now(UTC) - DAY,
        datetime.now(UTC) + DAY / 2,
        datetime.now(UTC) + 366 * DAY,
        Timestamp(),
        Timestamp(seconds=253402300799),
        Timestamp(seconds=2**62),
        Timestamp(nanos=-1),
    ],
)
async def test_another_end_is_refused(holder: Holder, end: object) -> None:
    found = await refused(holder.create(expires_at=end), Reason.INVALID_FIELD)
    assert list(found.fields) == ["api_key.expires_at"]
    if isinstance(end, datetime):
        assert found.fields["api_key.expires_at"] == "must be 1 to 365 days ahead"


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"agent_id": ""}, "api_key.agent_id"),
        ({"agent_id": "x"}, "api_key.agent_id"),
        ({"capabilities": ["a", "a"]}, "api_key.capabilities"),
        ({"capabilities": [""]}, "api_key.capabilities[0]"),
        ({"capabilities": ["a\0b"]}, "api_key.capabilities[0]"),
        ({"capabilities": ["x" * 101]}, "api_key.capabilities[0]"),
        ({"capabilities": [f"{n}" for n in range(101)]}, "api_key.capabilities"),
        ({"capabilities": [f"{n:0100}" for n in range(41)]}, "api_key.capabilities"),
        ({"request_id": "x"}, "request_id"),
    ],
)
async def test_a_wrong_field_is_named(holder: Holder, fields: dict[str, Any], path: str) -> None:
    found = await refused(holder.create(**fields), Reason.INVALID_FIELD)
    assert list(found.fields) == [path]


async def test_a_request_for_no_key_is_refused(holder: Holder) -> None:
    call = holder.owner.auth.CreateApiKey(CreateApiKeyRequest())
    assert list((await refused(call, Reason.INVALID_FIELD)).fields) == ["api_key.agent_id"]


async def test_as_many_capabilities_as_are_allowed_fit_into_a_token(holder: Holder) -> None:
    names = [f"{n:036}" for n in range(100)]
    assert 4000 <= len(json.dumps(names)) <= 4096
    secret = (await holder.create(capabilities=names)).secret
    token = (await holder.exchange(secret)).access_token
    told = await holder.who(token)
    assert told.capabilities == names


async def test_an_agent_that_does_not_exist_gets_no_key(holder: Holder) -> None:
    nobody = str(uuid4())
    found = await refused(holder.create(agent_id=nobody), Reason.AGENT_NOT_FOUND)
    assert found.metadata == {"agent_id": nobody}


async def test_a_stranger_learns_nothing_else(holder: Holder) -> None:
    stranger = await holder.world.user()
    for fields in ({}, {"capabilities": [""]}, {"expires_at": Timestamp()}):
        key = ApiKey(agent_id=holder.agent.id, **fields)
        call = stranger.auth.CreateApiKey(CreateApiKeyRequest(api_key=key))
        await refused(call, Reason.NOT_PROJECT_OWNER)


async def test_a_project_that_is_not_active_gets_no_key(holder: Holder) -> None:
    await holder.world.execute("UPDATE projects SET status = 'suspended'")
    await refused(holder.create(), Reason.PROJECT_NOT_ACTIVE)
    assert await holder.list() == []


async def test_an_inactive_agent_gets_a_key_that_is_of_no_use_yet(holder: Holder) -> None:
    await holder.world.execute("UPDATE agents SET is_active = false")
    secret = (await holder.create()).secret
    await refused(holder.exchange(secret), Reason.API_KEY_INVALID)
    await holder.world.execute("UPDATE agents SET is_active = true")
    assert (await holder.exchange(secret)).access_token


async def test_a_repeated_request_gets_the_same_secret(holder: Holder) -> None:
    request_id = str(uuid4())
    calls = [holder.create(request_id) for _ in range(5)]
    answers: list[CreateApiKeyResponse] = await asyncio.gather(*calls)
    assert all(answer == answers[0] for answer in answers)
    assert await holder.create(request_id) == answers[0]
    assert len(await holder.list()) == 1
    assert (await holder.exchange(answers[0].secret)).access_token
    await refused(holder.create(request_id, capabilities=["x"]), Reason.REQUEST_ID_REUSED)


@pytest.mark.parametrize("table", ["agents", "projects"])
async def test_a_key_for_an_agent_being_deleted_finds_none(holder: Holder, table: str) -> None:
    async with under_way(holder.world.url, f"DELETE FROM {table}") as blocked:  # noqa: S608
        call = asyncio.ensure_future(holder.create())
        await blocked.wait()
    found = await refused(call, Reason.AGENT_NOT_FOUND)
    assert found.metadata == {"agent_id": holder.agent.id}


async def test_a_key_by_a_user_being_deleted_is_nobodys(holder: Holder) -> None:
    root = await holder.world.user(superuser=True)
    request = CreateApiKeyRequest(api_key=ApiKey(agent_id=holder.agent.id))
    delete = "DELETE FROM users WHERE id = $1"
    async with under_way(holder.world.url, delete, root.id) as blocked:
        call = asyncio.ensure_future(root.auth.CreateApiKey(request))
        await blocked.wait()
    await refused(call, Reason.CALLER_INACTIVE)


async def test_keys_go_with_their_agent(holder: Holder) -> None:
    secret = (await holder.create()).secret
    await holder.owner.agents.DeleteAgent(DeleteAgentRequest(agent_id=holder.agent.id))
    await refused(holder.exchange(secret), Reason.API_KEY_INVALID)
    await refused(holder.list(), Reason.AGENT_NOT_FOUND)
