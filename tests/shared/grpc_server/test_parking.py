"""Parked calls: they are no calls at work, are limited, get their turn, and end when they must."""

import asyncio
from collections import Counter
from typing import Any

import grpc
import pytest

from shared.errors import Reason
from shared.grpc_server import parking
from shared.grpc_server.admission import CALLS_PER_CONNECTION, MIB, Shares, Wait, Waiting
from shared.grpc_server.parking import PARKED_PER_CALLER, Parking, ParkingLot
from tandem.task.v1.task_service_pb2 import GetTaskRequest, WaitTaskRequest
from tests.clock import settled
from tests.log_lines import logged
from tests.refusals import outcome, refused
from tests.shared.grpc_server.parker import Park, opened
from tests.waiting import until
from tests.world import Client, World

# Of the places, what one caller alone gets.
SHARE = CALLS_PER_CONNECTION // 2


def wait(client: Client) -> Any:
    return client.tasks.WaitTask(WaitTaskRequest(task_id="x"))


def get(client: Client) -> Any:
    return client.tasks.GetTask(GetTaskRequest(task_id="x"))


async def ended(call: Any) -> str:
    """The code."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"


async def park(park: Park, client: Client, calls: int) -> "list[asyncio.Task[str]]":
    before = park.parked
    waits = [asyncio.ensure_future(ended(wait(client))) for _ in range(calls)]
    await until(lambda: park.parked == before + calls)
    return waits


async def test_parked_calls_are_no_calls_at_work(world: World) -> None:
    async with opened(world) as here:
        alice = here.client(await world.user())
        waits = await park(here, alice, PARKED_PER_CALLER)
        assert (here.places.held, here.places.free) == ({}, CALLS_PER_CONNECTION)
        here.parker.work.set()
        assert await outcome(get(alice)) == "OK"
        here.parker.gate.set()
        assert Counter(await asyncio.gather(*waits)) == {"OK": PARKED_PER_CALLER}
        assert len(here.lot) == 0


async def test_a_caller_can_have_so_many(world: World) -> None:
    async with opened(world) as here:
        alice, bob = here.client(await world.user()), here.client(await world.user())
        await park(here, alice, PARKED_PER_CALLER)
        found = await refused(wait(alice), Reason.LIMIT_EXCEEDED)
        assert found.details["RetryInfo"].retry_delay.seconds == 10
        await park(here, bob, 1)
        assert len(here.lot) == PARKED_PER_CALLER + 1


async def test_a_process_can_have_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parking, "MAXIMUM_PARKED", 3)
    async with opened(world) as here:
        alice, bob = here.client(await world.user()), here.client(await world.user())
        waits = await park(here, alice, 3)
        found = await refused(wait(bob), Reason.LIMIT_EXCEEDED)
        assert found.details["RetryInfo"].retry_delay.seconds == 10
        waits.pop().cancel()
        await until(lambda: len(here.lot) == 2)
        await park(here, bob, 1)
        here.parker.work.set()
        assert await outcome(get(alice)) == "OK", "to park is refused, no other call is"


async def test_what_has_parked_is_not_refused_when_it_parks_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parking, "PARKED_PER_CALLER", 1)
    async with opened(world) as here:
        alice = here.client(await world.user())
        here.parker.rounds = 3
        waits = await park(here, alice, 1)
        here.parker.gate.set()
        here.parker.work.set()
        assert await asyncio.gather(*waits) == ["OK"]


async def test_they_are_at_work_again_by_turns_and_are_never_refused(world: World) -> None:
    async with opened(world) as here:
        alice, bob = here.client(await world.user()), here.client(await world.user())
        waits = await park(here, alice, PARKED_PER_CALLER)
        here.parker.gate.set()
        await until(lambda: here.queued == PARKED_PER_CALLER - SHARE)
        assert here.parker.at_work == SHARE
        await refused(get(alice), Reason.LIMIT_EXCEEDED)
        other = asyncio.ensure_future(outcome(wait(bob)))
        await until(lambda: here.parker.at_work == SHARE + 1)
        assert not other.done()
        here.parker.work.set()
        assert Counter(await asyncio.gather(*waits, other)) == {"OK": PARKED_PER_CALLER + 1}
        assert (here.places.held, here.places.free) == ({}, CALLS_PER_CONNECTION)
        assert not here.lot.queue


@pytest.mark.parametrize("is_queued", [False, True])
async def test_everything_is_released_when_the_client_goes(world: World, is_queued: bool) -> None:
    async with opened(world) as here:
        alice = here.client(await world.user())
        waits = await park(here, alice, SHARE + 3)
        if is_queued:
            here.parker.gate.set()
            await until(lambda: here.queued == 3)
        async with logged(SHARE + 3, at_rest=False) as lines:
            for call in waits:
                call.cancel()
        assert {line["code"] for line in lines} == {"CANCELLED"}
        assert len(here.lot) == here.parked == here.queued == 0
        assert (here.places.held, here.places.free) == ({}, CALLS_PER_CONNECTION)


@pytest.mark.parametrize("is_queued", [False, True])
async def test_a_stop_ends_them_at_once_and_the_client_calls_again(
    world: World, is_queued: bool
) -> None:
    async with opened(world) as here:
        alice = here.client(await world.user())
        parked = SHARE + 3
        waits = await park(here, alice, parked)
        if is_queued:
            here.parker.gate.set()
            await until(lambda: here.queued == 3)
        async with logged(3 if is_queued else parked, at_rest=False) as lines:
            stopping = asyncio.create_task(here.server.drain())
            await until(lambda: len(here.lot) == (SHARE if is_queued else 0))
        assert {(line["code"], line["log_level"]) for line in lines} == {("UNAVAILABLE", "info")}
        here.parker.work.set()
        await stopping
        ends = Counter(await asyncio.gather(*waits))
        assert ends["UNAVAILABLE"] == (3 if is_queued else parked)
        assert ends["OK"] == parked - ends["UNAVAILABLE"]
        assert here.places.held == {}


async def test_a_stop_waits_until_they_have_told_their_clients(world: World) -> None:
    async with opened(world) as here:
        alice = here.client(await world.user())
        await park(here, alice, 5)
        here.lot.end()
        assert sum(here.places.held.values()) == 5, "or drain would not wait for them"
        await until(lambda: not here.places.held)


async def test_a_call_that_parks_while_the_process_stops_is_turned_away(world: World) -> None:
    async with opened(world) as here:
        alice = here.client(await world.user())
        here.lot.end()
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await wait(alice)
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_callers_get_turns_one_after_the_other() -> None:
    places = Shares(1)
    lot = ParkingLot(places, Waiting(10))
    got: list[str] = []

    async def work(holder: str) -> None:
        async with Parking(lot, holder, ""):
            await asyncio.sleep(0)
        got.append(holder)

    assert places.take("another")
    for _ in range(4):  # as the interceptor has counted them, but none is free
        for holder in ("a", "b"):
            places.overdraw(holder)
    calls = [asyncio.create_task(work(holder)) for holder in ["a"] * 4 + ["b"] * 4]
    await settled()
    while len(got) < 8:
        places.release(got[-1] if got else "another")
        lot.give_turns()
        await settled()
    assert got == ["a", "b"] * 4
    await asyncio.gather(*calls)


async def test_there_is_no_turn_while_the_client_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Parked calls that all end at once could have answers without limit."""
    monkeypatch.setattr(parking, "FEW_WAITING", 0)
    monkeypatch.setattr(parking, "TURN_SECONDS", 0.001)
    places, answers = Shares(16), Waiting(10)
    lot = ParkingLot(places, answers)
    places.take("a")
    unread = asyncio.create_task(asyncio.sleep(0))
    answers[unread] = Wait("a", 1e12, 64 * MIB, "connection")

    async def work() -> None:
        async with Parking(lot, "a", "connection"):
            pass

    call = asyncio.create_task(work())
    await asyncio.sleep(0.02)
    assert not call.done()
    del answers[unread]
    await asyncio.wait_for(call, 60)
    await unread
