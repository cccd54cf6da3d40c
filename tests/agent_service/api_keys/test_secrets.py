"""The secret of an API key is shown once, and can be found nowhere afterwards."""

import base64
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from agent_service.__main__ import build
from shared.auth.signing import sign_user_token
from shared.errors import Reason
from shared.settings import SecretStr
from tandem.agent.v1.auth_service_pb2 import ApiKey, CreateApiKeyRequest, RotateApiKeyRequest
from tests.agent_service.api_keys.holder import Holder
from tests.refusals import refused
from tests.world import Channels, Client, World, running

TABLES = "SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = 'public'"


async def dump(world: World) -> str:
    """All that the database keeps, with bytes as hexadecimal digits."""
    tables = await world.value(TABLES)
    texts = [
        await world.value(f"SELECT coalesce(string_agg(t::text, ' '), '') FROM {table} t")  # noqa: S608
        for table in tables
    ]
    return " ".join(texts)


def spellings(text: str) -> list[str]:
    """How a text could stand in a dump."""
    return [text, text.encode().hex(), base64.b64encode(text.encode()).decode().rstrip("=")]


async def test_the_database_has_no_secret(holder: Holder) -> None:
    created = await holder.create(str(uuid4()))
    rotated = await holder.rotate(created.api_key, request_id=str(uuid4()))
    await holder.revoke(rotated.api_key, request_id=str(uuid4()))
    kept = await dump(holder.world)
    assert await holder.world.value("SELECT count(*) FROM request_ids") == 3
    for answer in (created, rotated):
        assert answer.api_key.key_id in kept
        secret = answer.secret.split("_", 2)[2]
        for text in (*spellings(answer.secret), *spellings(secret)):
            assert text not in kept


async def test_an_answer_that_is_passed_off_as_another_ones_is_not_opened(holder: Holder) -> None:
    """A writer of the database without the key of the service reads no secret by it."""
    first, second = str(uuid4()), str(uuid4())
    await holder.create(first)
    await holder.create(second)
    await holder.world.execute(
        "UPDATE request_ids SET answer = (SELECT answer FROM request_ids WHERE request_id = $1)",
        UUID(first),
    )
    assert (await holder.create(first)).secret
    await unopened(holder, second)


async def test_an_answer_of_another_method_is_not_opened(holder: Holder) -> None:
    """Also not under the same request id of the same caller."""
    request_id = str(uuid4())
    created = await holder.create(request_id)
    await holder.rotate(created.api_key, request_id=request_id)
    await holder.world.execute(
        "UPDATE request_ids SET answer = (SELECT answer FROM request_ids WHERE method LIKE $1)",
        "%RotateApiKey",
    )
    await unopened(holder, request_id)


@pytest.mark.parametrize("answer", ["", "x", "answer of some length, not encrypted"])
async def test_an_answer_that_was_changed_is_not_opened(holder: Holder, answer: str) -> None:
    request_id = str(uuid4())
    await holder.create(request_id)
    await holder.world.execute("UPDATE request_ids SET answer = $1", answer.encode())
    await unopened(holder, request_id)


async def unopened(holder: Holder, request_id: str) -> None:
    found = await refused(holder.create(request_id), Reason.REQUEST_ID_REUSED)
    assert found.metadata == {"request_id": request_id}
    assert "can be read no more" in found.message


async def test_an_answer_is_not_opened_with_another_key(holder: Holder) -> None:
    """What was done before the service got another key is done, and is not done again."""
    world, request_id = holder.world, str(uuid4())
    new = CreateApiKeyRequest(api_key=ApiKey(agent_id=holder.agent.id), request_id=request_id)
    created = await holder.owner.auth.CreateApiKey(new)
    again = RotateApiKeyRequest(api_key_id=created.api_key.id, request_id=request_id)
    await holder.owner.auth.RotateApiKey(again)
    other = SecretStr("another secret of the tests, long enough, too")
    settings = replace(world.settings, jwt_secret=other)
    async with running(build(world.database, settings)) as (channel, _):
        token = sign_user_token(
            settings, other.get_secret_value(), holder.owner.id, timedelta(hours=1)
        )
        client = Client(Channels(channel, channel), token)
        await refused(client.auth.CreateApiKey(new), Reason.REQUEST_ID_REUSED)
        await refused(client.auth.RotateApiKey(again), Reason.REQUEST_ID_REUSED)
    assert len(await holder.list()) == 2
