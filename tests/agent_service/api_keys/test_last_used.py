"""When an API key was last used."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from agent_service.__main__ import build
from agent_service.api_keys import last_used as usage
from agent_service.api_keys.last_used import LastUsedWriter
from tandem.agent.v1.auth_service_pb2 import ApiKey, CreateApiKeyResponse, ExchangeApiKeyRequest
from tests.agent_service.api_keys.holder import Holder
from tests.locks import under_way
from tests.waiting import SECONDS, until
from tests.world import Channels, Client, running

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
CLOCK = "SELECT clock_timestamp()"
COUNT_FREE = "SELECT count(*) FROM (SELECT FROM agent_api_keys FOR UPDATE SKIP LOCKED) free"
END_WHO_WAITS = (
    "SELECT bool_and(pg_terminate_backend(pid)) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
)


async def made(holder: Holder, count: int) -> list[UUID]:
    """The ids of new keys."""
    return [UUID((await holder.create()).api_key.id) for _ in range(count)]


async def last_uses(holder: Holder, ids: Sequence[UUID]) -> list[datetime | None]:
    found = await holder.world.value(
        "SELECT array_agg(last_used_at ORDER BY array_position($1, id)) FROM agent_api_keys"
        " WHERE id = ANY($1::uuid[])",
        ids,
    )
    return list(found)


async def until_used(holder: Holder, ids: Sequence[UUID], at: datetime) -> None:
    async def are_used() -> bool:
        return await last_uses(holder, ids) == [at] * len(ids)

    await until(are_used)


async def first_use(holder: Holder, answer: CreateApiKeyResponse) -> datetime:
    """When a key was used that had not been used, as soon as that is written."""
    found: list[datetime] = []

    async def is_written() -> bool:
        used = await holder.last_used(answer.api_key)
        if used is not None:
            found.append(used)
        return used is not None

    await until(is_written)
    return found[0]


def failures(lines: list[EventDict]) -> int:
    return sum(line["event"] == "uses of API keys not written yet" for line in lines)


def used_at(key: ApiKey) -> datetime:
    return key.last_used_at.ToDatetime(tzinfo=UTC)


async def test_every_key_that_is_used_by_many_at_once_has_its_last_use(holder: Holder) -> None:
    answers = [await holder.create() for _ in range(20)]
    between: dict[str, tuple[datetime, datetime]] = {}

    async def use(index: int) -> None:
        answer = answers[index]
        for _ in range(49):
            await holder.exchange(answer.secret)
        before = await holder.world.value(CLOCK)
        await holder.exchange(answer.secret)
        between[answer.api_key.id] = before, await holder.world.value(CLOCK)

    await asyncio.gather(*map(use, range(20)))
    listed: list[ApiKey] = []

    async def last_uses_are_written() -> bool:
        listed[:] = await holder.list()
        return all(between[key.id][0] <= used_at(key) for key in listed)

    await until(last_uses_are_written)
    assert len(listed) == 20
    for key in listed:
        assert used_at(key) <= between[key.id][1]
        assert key.revision == 1
        assert key.updated_at == key.created_at


async def test_a_key_that_was_refused_was_not_used(holder: Holder) -> None:
    answer, other = await holder.create(), await holder.create()
    await holder.exchange(answer.secret)
    used = await first_use(holder, answer)
    await holder.revoke(answer.api_key)
    with pytest.raises(Exception, match="not valid"):
        await holder.exchange(answer.secret)
    await holder.exchange(other.secret)
    await first_use(holder, other)  # whatever was noted before is written then
    assert await holder.last_used(answer.api_key) == used


async def test_a_service_that_stops_writes_what_it_knows(holder: Holder) -> None:
    answer, world = await holder.create(), holder.world
    async with running(build(world.database, world.settings)) as (channel, _):
        client = Client(Channels(channel, channel), None)
        await client.auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key=answer.secret))
    assert await holder.last_used(answer.api_key) is not None


async def test_two_processes_that_write_at_once_lose_nothing(holder: Holder) -> None:
    """Each knows of other uses of the same keys, in the other order."""
    ids = await made(holder, 100)
    for round_number in range(10):
        one, two = LastUsedWriter(holder.world.database), LastUsedWriter(holder.world.database)
        at = NOON + round_number * 10 * SECOND
        for number, api_key_id in enumerate(ids):
            one.note(api_key_id, at + number % 2 * SECOND)
        for number, api_key_id in reversed(list(enumerate(ids))):
            two.note(api_key_id, at + (number + 1) % 2 * SECOND)
        await asyncio.gather(one.close(), two.close())
        assert await last_uses(holder, ids) == [at + SECOND] * 100


async def test_keys_are_locked_in_the_order_of_their_ids(holder: Holder) -> None:
    """Else two processes that write at once could wait for each other."""
    ids = sorted(await made(holder, 5))
    # It stands last in the table now, where a scan would find it last.
    await holder.world.execute("UPDATE agent_api_keys SET key_prefix = 'x' WHERE id = $1", ids[0])
    uses = LastUsedWriter(holder.world.database)
    for api_key_id in reversed(ids):
        uses.note(api_key_id, NOON)
    first = "SELECT FROM agent_api_keys WHERE id = $1 FOR UPDATE"
    async with under_way(holder.world.url, first, ids[0]) as blocked:
        await blocked.wait()
        assert await holder.world.value(COUNT_FREE) == 4
    await uses.close()
    assert await last_uses(holder, ids) == [NOON] * 5


async def test_an_older_use_does_not_replace_a_newer_one(holder: Holder) -> None:
    ids = await made(holder, 1)
    for first, second in ((NOON, NOON - SECOND), (NOON - SECOND, NOON - 2 * SECOND)):
        uses = LastUsedWriter(holder.world.database)
        uses.note(ids[0], first)
        uses.note(ids[0], second)
        await uses.close()
        assert await last_uses(holder, ids) == [NOON]


async def test_an_unused_one_writes_nothing_and_closes(holder: Holder) -> None:
    await LastUsedWriter(holder.world.database).close()


async def test_a_key_that_is_gone_is_in_nobodys_way(holder: Holder) -> None:
    ids = await made(holder, 2)
    await holder.world.execute("DELETE FROM agent_api_keys WHERE id = $1", ids[0])
    uses = LastUsedWriter(holder.world.database)
    for api_key_id in ids:
        uses.note(api_key_id, NOON)
    await uses.close()
    assert await last_uses(holder, ids) == [NOON]


async def test_what_could_not_be_written_is_written_later(
    fresh_holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "FLUSH_SECONDS", 0.1)
    ids = await made(fresh_holder, 5)
    await fresh_holder.world.execute("ALTER TABLE agent_api_keys RENAME TO gone")
    uses = LastUsedWriter(fresh_holder.world.database)
    with capture_logs() as lines:
        for api_key_id in ids:
            uses.note(api_key_id, NOON)
        await until(lambda: failures(lines) >= 1)
        uses.note(ids[0], NOON - SECOND)
        before = failures(lines)
        await until(lambda: failures(lines) > before)
    await fresh_holder.world.execute("ALTER TABLE gone RENAME TO agent_api_keys")
    await until_used(fresh_holder, ids, NOON)
    await uses.close()


async def test_a_connection_that_is_cut_while_it_writes_loses_nothing(
    fresh_holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "FLUSH_SECONDS", 0.1)
    ids = await made(fresh_holder, 5)
    uses = LastUsedWriter(fresh_holder.world.database)
    async with under_way(fresh_holder.world.url, "LOCK TABLE agent_api_keys") as blocked:
        for api_key_id in ids:
            uses.note(api_key_id, NOON)
        await blocked.wait()
        assert await fresh_holder.world.value(END_WHO_WAITS)
    await until_used(fresh_holder, ids, NOON)
    await uses.close()


async def test_a_close_without_a_database_ends(fresh_holder: Holder) -> None:
    ids = await made(fresh_holder, 1)
    await fresh_holder.world.execute("ALTER TABLE agent_api_keys RENAME TO gone")
    uses = LastUsedWriter(fresh_holder.world.database)
    uses.note(ids[0], NOON)
    async with asyncio.timeout(SECONDS):
        await uses.close()


async def test_no_more_keys_are_remembered_than_are_allowed(
    holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "KEYS", 2)
    ids = await made(holder, 3)
    uses = LastUsedWriter(holder.world.database)
    for at in (NOON, NOON + SECOND):
        for api_key_id in ids:
            uses.note(api_key_id, at)
    await uses.close()
    assert await last_uses(holder, ids) == [NOON + SECOND, NOON + SECOND, None]
