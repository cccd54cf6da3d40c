"""Exchanging API keys for tokens."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID

import jwt
import pytest
from sqlalchemy import select

from agent_service.__main__ import build
from agent_service.api_keys import keys
from shared.auth.access import usable
from shared.database.pool import Connection
from shared.database.statement import Statement
from shared.errors import Reason
from tandem.agent.v1.agent_service_pb2 import GetAgentRequest
from tandem.agent.v1.auth_service_pb2 import CALLER_TYPE_AGENT, ExchangeApiKeyRequest
from tests.agent_service.api_keys.holder import Holder
from tests.locks import under_way
from tests.refusals import outcomes, refused
from tests.world import SECRET, Client, running

MINUTE = timedelta(minutes=1)


async def test_a_key_is_exchanged_for_a_token_of_its_agent(holder: Holder) -> None:
    answer = await holder.create(capabilities=["read"])
    token = (await holder.exchange(answer.secret)).access_token
    told = await holder.who(token)
    assert (told.caller_type, told.caller_id) == (CALLER_TYPE_AGENT, holder.agent.id)
    assert (told.project_id, list(told.capabilities)) == (holder.project.id, ["read"])
    calling = Client(holder.world.channels, token)
    found = await calling.agents.GetAgent(GetAgentRequest(agent_id=holder.agent.id))
    assert found == holder.agent


async def test_a_token_says_whose_it_is_and_for_what(holder: Holder) -> None:
    answer = await holder.create(capabilities=["read", "write"])
    granted = await holder.exchange(answer.secret)
    said = jwt.decode(
        granted.access_token, SECRET.get_secret_value(), algorithms=["HS256"], audience="tandem"
    )
    assert (said["typ"], said["sub"], said["iss"]) == ("agent", holder.agent.id, "tandem")
    assert said["project_id"] == holder.project.id
    assert said["api_key_id"] == answer.api_key.id
    assert said["capabilities"] == ["read", "write"]
    assert said["exp"] == granted.expires_at.seconds
    assert said["exp"] - said["iat"] <= 15 * 60
    assert granted.expires_at.ToDatetime(tzinfo=UTC) > datetime.now(UTC) + 14 * MINUTE


async def test_at_its_end_a_key_is_not_usable_any_more(holder: Holder) -> None:
    await holder.create()

    async def at_its_end(connection: Connection) -> bool:
        await connection.execute("UPDATE agent_api_keys SET expires_at = now()")
        row = await Statement("Usable?", select(usable())).row(connection)
        return row is not None and bool(row[0])

    assert not await holder.world.database.transaction(at_its_end)


async def test_a_token_does_not_outlive_its_key(holder: Holder) -> None:
    secret = (await holder.create()).secret
    await holder.world.execute("UPDATE agent_api_keys SET expires_at = now() + interval '5min'")
    end = (await holder.exchange(secret)).expires_at.ToDatetime(tzinfo=UTC)
    assert 4 * MINUTE < end - datetime.now(UTC) <= 5 * MINUTE


async def test_who_sends_a_key_does_not_matter(holder: Holder) -> None:
    request = ExchangeApiKeyRequest(api_key=(await holder.create()).secret)
    stranger, ghost = await holder.world.user(), await holder.world.user(active=False)
    garbage = Client(holder.world.channels, "garbage")
    for client in (holder.owner, stranger, ghost, garbage):
        assert (await client.auth.ExchangeApiKey(request)).access_token


async def test_the_keys_of_a_suspended_project_are_exchanged(holder: Holder) -> None:
    secret = (await holder.create()).secret
    await holder.world.execute("UPDATE projects SET status = 'suspended'")
    assert (await holder.exchange(secret)).access_token


async def wrong_keys(holder: Holder) -> dict[str, str]:
    """A key of each kind that is refused."""
    good, other = await holder.create(), await holder.create()
    neighbour = await holder.owner.agent(holder.project)
    theirs = await holder.create(agent_id=neighbour.id)
    changes = {
        "revoked": "status = 'revoked'",
        "marked as expired": "status = 'expired'",
        "past its end": "expires_at = now()",
    }
    ended = {name: await holder.create() for name in changes}
    for name, change in changes.items():
        update = f"UPDATE agent_api_keys SET {change} WHERE id = $1"  # noqa: S608
        await holder.world.execute(update, UUID(ended[name].api_key.id))
    inactive = await holder.owner.agent(holder.project, is_active=False)
    secret_of = {key.secret: key.secret.split("_", 2)[2] for key in (good, other, theirs)}
    return {
        **{name: answer.secret for name, answer in ended.items()},
        "of an inactive agent": (await holder.create(agent_id=inactive.id)).secret,
        "unknown": keys.make().text,
        "with another secret": f"{good.api_key.key_prefix}_{'A' * 43}",
        "with the secret of another key": (f"{good.api_key.key_prefix}_{secret_of[other.secret]}"),
        "of another agent with an own secret": (
            f"{theirs.api_key.key_prefix}_{secret_of[good.secret]}"
        ),
        "cut": good.secret[:-1],
        "longer": f"{good.secret}A",
        "in capitals": good.secret.upper(),
        "with a space": f" {good.secret}",
        "its id alone": good.api_key.key_prefix,
        "its hash": keys.hash_of(good.secret),
        "nothing": "",
        "SQL": "tdm_' OR 1=1; --_x",
        "SQL for a key id": f"tdm_' OR 'a'='a_{secret_of[good.secret]}",
        "any key id": f"tdm_%_{secret_of[good.secret]}",
        "with U+0000": good.secret[:20] + "\0" + good.secret[21:],
        "beyond ASCII": "tdm_ключ_" + "é" * 150,
        "of 200 characters": "_" * 200,
    }


async def test_every_wrong_key_gets_the_same_answer(fresh_holder: Holder) -> None:
    said = set()
    for name, secret in (await wrong_keys(fresh_holder)).items():
        found = await refused(fresh_holder.exchange(secret), Reason.API_KEY_INVALID)
        assert not secret or secret not in str(found), name
        said.add((found.message, found.trailers["grpc-status-details-bin"]))
    assert len(said) == 1


async def test_every_wrong_key_takes_the_same_way(
    fresh_holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is done for a key that does not exist, and for one that is right but for one thing."""
    done: list[str] = []
    row, matches = Statement.row, keys.matches

    async def watched_row(self: Statement, connection: object, **parameters: object) -> object:
        done.append(self.sql)
        return await row(self, connection, **parameters)  # type: ignore[arg-type]

    def watched_matches(text: str, stored_hash: str) -> bool:
        done.append(f"compare {len(stored_hash)} digits")
        return matches(text, stored_hash)

    wrong = await wrong_keys(fresh_holder)
    monkeypatch.setattr(Statement, "row", watched_row)
    monkeypatch.setattr(keys, "matches", watched_matches)
    ways = set()
    for secret in wrong.values():
        done.clear()
        await refused(fresh_holder.exchange(secret), Reason.API_KEY_INVALID)
        ways.add(tuple(done))
    assert len(ways) == 1
    assert len(ways.pop()) == 2


async def test_what_is_too_long_for_a_key_is_refused_unread(holder: Holder) -> None:
    for text in ("x" * 201, (await holder.create()).secret + "x" * 200):
        found = await refused(holder.exchange(text), Reason.INVALID_FIELD)
        assert list(found.fields) == ["api_key"]
        assert text not in str(found)


async def test_after_a_revocation_no_exchange_succeeds(fresh_holder: Holder) -> None:
    """Not at another process either."""
    world = fresh_holder.world
    async with running(build(world.database, world.settings)) as (channel, _):
        other = Client(type(world.channels)(channel, channel), None)
        for _ in range(10):
            answer = await fresh_holder.create()
            request = ExchangeApiKeyRequest(api_key=answer.secret)
            meanwhile = [
                asyncio.ensure_future(client.auth.ExchangeApiKey(request))
                for client in (other, world.nobody()) * 4
            ]
            await fresh_holder.revoke(answer.api_key)
            for client in (other, world.nobody()):
                await refused(client.auth.ExchangeApiKey(request), Reason.API_KEY_INVALID)
            await outcomes(*meanwhile)


async def test_an_exchange_during_a_revocation_does_not_wait_for_it(holder: Holder) -> None:
    answer = await holder.create()
    change = "UPDATE agent_api_keys SET status = 'revoked'"
    async with under_way(holder.world.url, change):
        assert (await holder.exchange(answer.secret)).access_token
    await refused(holder.exchange(answer.secret), Reason.API_KEY_INVALID)
