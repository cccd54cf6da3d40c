"""Keys from an address that fails often are looked up one after the other."""

import asyncio

import grpc
import pytest

from agent_service.api_keys import keys, lane
from agent_service.api_keys.lane import CALLS, PAUSE_SECONDS, Lane
from agent_service.api_keys.throttle import PEER_LIMIT
from shared.errors import Reason, Refusal
from tests.agent_service.api_keys.holder import Holder
from tests.refusals import outcome


async def test_one_is_looked_up_after_the_other() -> None:
    pauses: list[float] = []
    together: list[int] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)

    async def look_up() -> None:
        async with one_lane.turn():
            together.append(1)
            await asyncio.sleep(0)
            assert sum(together) == 1
            together.append(-1)

    one_lane = Lane(pause)
    calls = [look_up() for _ in range(CALLS + 5)]
    found = await asyncio.gather(*calls, return_exceptions=True)
    assert found[:CALLS] == [None] * CALLS
    assert pauses == [PAUSE_SECONDS] * CALLS
    for refusal in found[CALLS:]:
        assert isinstance(refusal, Refusal)
        assert (refusal.reason, refusal.retry_after) == (Reason.LIMIT_EXCEEDED, 2.0)
    await look_up()


async def test_calls_that_are_given_up_leave_the_lane() -> None:
    one_lane = Lane()

    async def wait() -> None:
        async with one_lane.turn():
            await asyncio.Event().wait()

    calls = [asyncio.ensure_future(wait()) for _ in range(CALLS)]
    await asyncio.sleep(0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    async with one_lane.turn():
        pass


async def test_an_address_that_fails_often_waits_for_its_turn(
    fresh_holder: Holder, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = (await fresh_holder.create()).secret
    for _ in range(PEER_LIMIT):
        await outcome(fresh_holder.exchange(keys.make().text))
    monkeypatch.setattr(lane, "PAUSE_SECONDS", 3600.0)
    await fresh_holder.exchange(secret)
    await outcome(fresh_holder.exchange(keys.make().text))
    for one in (secret, keys.make().text):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await fresh_holder.exchange(one, within=0.5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    monkeypatch.undo()
    assert (await fresh_holder.exchange(secret)).access_token
