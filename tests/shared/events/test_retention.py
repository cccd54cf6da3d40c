"""A log is cut at its oldest end: by age, between transactions, and a bounded part at once."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import orjson
import pytest
from structlog.testing import capture_logs

from shared.database.transaction import unavailable
from shared.events import retention
from shared.events.retention import (
    CUT,
    CUT_EVENTS,
    CUT_IN_TURN,
    CUTS_AT_ONCE,
    FORGET,
    LOGS_PER_LOOK,
    LOOK,
    sweep,
    sweep_forever,
)
from shared.events.vocabulary import NIL
from shared.settings import Settings
from tests.event_log import append
from tests.locks import under_way
from tests.plans import cost_of
from tests.schema.rows import add_project
from tests.waiting import until
from tests.world import World

DAYS = 90
SHAPE = """
SELECT first || ' of ' || last || ': ' || coalesce(
    (SELECT string_agg(sequence::text, ' ' ORDER BY sequence) FROM events AS e
     WHERE e.project_id = h.project_id), 'nothing')
FROM event_heads AS h WHERE project_id = $1
"""
COUNT = """
SELECT (first, last, (SELECT min(sequence) FROM events AS e WHERE e.project_id = h.project_id),
    (SELECT count(*) FROM events AS e WHERE e.project_id = h.project_id))::text
FROM event_heads AS h WHERE project_id = $1
"""


@pytest.fixture(autouse=True)
def without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "SWEEP_PAUSE_SECONDS", 0)


async def a_project(world: World) -> UUID:
    return (await world.owner.transaction(add_project)).id


async def log(world: World, project_id: UUID, *batches: tuple[int, int]) -> None:
    """Append transactions: how many events, and how many days ago."""
    for size, days in batches:
        await add(world, project_id, size, days=days)


async def add(world: World, project_id: UUID, size: int, days: float) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    await world.owner.read(lambda connection: append(connection, project_id, size, at=at))


async def cut(world: World, project_id: UUID) -> Any:
    return await world.database.single(partial(CUT.row, project_id=project_id, days=DAYS))


@pytest.mark.parametrize(
    ("batches", "left"),
    [
        ([(2, 10), (1, 5)], "1 of 3: 1 2 3"),
        ([(2, 91), (2, 10)], "3 of 4: 3 4"),
        ([(1, 91), (2, 91), (1, 89)], "4 of 4: 4"),
        ([(2, 91), (1, 91)], "4 of 3: nothing"),
        # Time is that of the transaction's begin: what is older behind what is not waits for it.
        ([(1, 91), (1, 10), (1, 91)], "2 of 3: 2 3"),
    ],
)
async def test_the_oldest_transactions_go_when_their_time_is_over(
    world: World, batches: Sequence[tuple[int, int]], left: str
) -> None:
    project_id, other = await a_project(world), await a_project(world)
    for each in (project_id, other):
        await log(world, each, *batches)
    await cut(world, project_id)
    assert await world.value(SHAPE, project_id) == left
    await sweep(world.database, DAYS)
    assert await world.value(SHAPE, project_id) == await world.value(SHAPE, other) == left
    await add(world, project_id, 1, days=0)
    last = await world.value("SELECT last FROM event_heads WHERE project_id = $1", project_id)
    assert (await world.value(SHAPE, project_id)).endswith(f" {last}"), "numbers go on"


async def test_a_cut_is_bounded_and_never_parts_a_transaction(world: World) -> None:
    project_id = await a_project(world)
    await log(world, project_id, (600, 99), (399, 99), (2, 99), (10, 99), (1, 9))
    row = await cut(world, project_id)
    assert (row["removed"], row["has_more"]) == (999, True)
    assert await world.value(COUNT, project_id) == "(1000,1012,1000,13)"
    row = await cut(world, project_id)
    assert (row["removed"], row["has_more"]) == (12, False)
    assert await world.value(COUNT, project_id) == "(1012,1012,1012,1)"


@pytest.mark.parametrize("behind", [[], [(3, 99)], [(1, 9)], [(CUT_EVENTS, 99)]])
@pytest.mark.parametrize("more", [1, CUT_EVENTS - 1, CUT_EVENTS, CUT_EVENTS + 1, 5 * CUT_EVENTS])
async def test_a_transaction_that_is_larger_than_a_cut_goes_as_a_whole(
    world: World, behind: list[tuple[int, int]], more: int
) -> None:
    project_id, size = await a_project(world), CUT_EVENTS + more
    await log(world, project_id, (size, 99), *behind)
    row = await cut(world, project_id)
    assert row["removed"] == size
    left = sum(size for size, _ in behind)
    shape = await world.value(COUNT, project_id)
    assert shape == f"({size + 1},{size + left},{size + 1 if left else ''},{left})"


async def test_a_cut_is_bounded_by_whatever_plan(world: World) -> None:
    project_id = await a_project(world)
    await log(world, project_id, *[(50, 99)] * 25)
    others = ("hashjoin", "mergejoin", "hashagg", "sort", "material")
    indexes = ("indexscan", "indexonlyscan", "bitmapscan")
    off = "; ".join(f"SET LOCAL enable_{kind} = off" for kind in (*others, *indexes))

    async def by_nested_loops(connection: Any) -> Any:
        await connection.execute(off)
        return await CUT.row(connection, project_id=project_id, days=DAYS)

    assert (await world.owner.transaction(by_nested_loops))["removed"] == CUT_EVENTS


async def test_a_cut_reads_no_more_of_a_long_log(world: World) -> None:
    """Also if PostgreSQL plans it without knowing the project."""
    costs = []
    for batches in (30, 90):
        project_id = await a_project(world)
        await log(world, project_id, (40, 99), *[(100, 9)] * batches)
        call = partial(CUT.row, project_id=project_id, days=DAYS)
        costs.append(await cost_of(world.database, call))
    assert all("events" not in cost.sequential for cost in costs)
    assert all(cost.rows < 3 * CUT_EVENTS for cost in costs)
    look = await cost_of(world.database, partial(LOOK.rows, start=NIL, days=DAYS))
    assert "events" not in look.sequential
    assert look.rows < 20, "of each log one event"


async def test_a_reader_sees_both_changes_or_neither(world: World) -> None:
    """The removal waits for a session that has one of the events, and so has not happened yet."""
    project_id = await a_project(world)
    await log(world, project_id, (2, 99), (2, 9))
    locked = "SELECT FROM events WHERE project_id = $1 AND sequence = 2 FOR UPDATE"
    async with under_way(world.url, locked, project_id) as blocked:
        cutting = asyncio.create_task(cut(world, project_id))
        await blocked.wait()
        assert await world.value(SHAPE, project_id) == "1 of 4: 1 2 3 4"
    await cutting
    assert await world.value(SHAPE, project_id) == "3 of 4: 3 4"


WRITE = """
WITH head AS (UPDATE event_heads SET last = last + 1 WHERE project_id = $1 RETURNING last)
INSERT INTO events (project_id, sequence, batch, at, type, resource_type, resource_id, revision,
    actor_type, after)
SELECT $1, last, last, now() - interval '91 days', 't', 't', $1, 1, 'user', '{}' FROM head
"""


async def test_whoever_has_the_head_is_not_waited_for_at_first(world: World) -> None:
    project_id = await a_project(world)
    await log(world, project_id, (2, 99))
    async with under_way(world.url, WRITE, project_id):
        assert await cut(world, project_id) is None


async def test_a_head_that_is_always_taken_is_waited_for(world: World) -> None:
    """What was written meanwhile stays: it was not there when the statement began."""
    project_id = await a_project(world)
    await log(world, project_id, (2, 99))
    async with under_way(world.url, WRITE, project_id) as blocked:
        sweeping = asyncio.create_task(sweep(world.database, DAYS))
        await blocked.wait()
    await sweeping
    assert await world.value(SHAPE, project_id) == "3 of 3: 3"
    await sweep(world.database, DAYS)
    assert await world.value(SHAPE, project_id) == "4 of 3: nothing"


async def test_two_that_cut_one_log_cut_it_once(world: World) -> None:
    project_id = await a_project(world)
    await log(world, project_id, *[(300, 99)] * 5, (1, 9))
    in_turn = partial(CUT_IN_TURN.row, project_id=project_id, days=DAYS)
    locked = "SELECT FROM event_heads WHERE project_id = $1 FOR UPDATE"
    async with under_way(world.url, locked, project_id) as blocked:
        both = [asyncio.create_task(world.database.single(in_turn)) for _ in range(2)]
        await blocked.wait()
    assert sorted([row["removed"] for each in both if (row := await each)]) == [600, 900]
    assert await world.value(COUNT, project_id) == "(1501,1501,1501,1)"


@pytest.mark.parametrize(
    ("settings", "kept"),
    [
        ({"event_retention_days": 20}, "3 of 3: 3"),
        ({"event_retention_days": 20.0}, "3 of 3: 3"),
        ({"event_retention_days": 3650}, "1 of 3: 1 2 3"),
        ({"event_retention_days": 3651}, "2 of 3: 2 3"),
        ({"event_retention_days": 0}, "2 of 3: 2 3"),
        ({"event_retention_days": 20.5}, "2 of 3: 2 3"),
        ({"event_retention_days": 1e300}, "2 of 3: 2 3"),
        ({"event_retention_days": "20"}, "2 of 3: 2 3"),
        ({"event_retention_days": None}, "2 of 3: 2 3"),
        ({"event_retention_days": [20]}, "2 of 3: 2 3"),
        ({"other": 20}, "2 of 3: 2 3"),
        ([20], "2 of 3: 2 3"),
    ],
)
async def test_a_project_states_for_how_long_events_are_kept(
    world: World, settings: Any, kept: str
) -> None:
    project_id = await a_project(world)
    await log(world, project_id, (1, 91), (1, 30), (1, 10))
    stored = orjson.dumps(settings).decode()
    change = "UPDATE projects SET settings = $2::text::jsonb WHERE id = $1"
    await world.execute(change, project_id, stored)
    assert await sweep(world.database, DAYS) is False
    assert await world.value(SHAPE, project_id) == kept


async def test_the_log_of_a_deleted_project_goes_with_its_last_event(world: World) -> None:
    gone, stated, other = [await a_project(world) for _ in range(3)]
    for each in (gone, stated, NIL, other):
        await log(world, each, (1, 91), (1, 30))
    await world.execute("UPDATE event_heads SET retention_days = 20 WHERE project_id = $1", stated)
    await world.execute("DELETE FROM projects WHERE id = ANY($1)", [gone, stated])
    await sweep(world.database, DAYS)
    assert await world.value(SHAPE, gone) == "2 of 2: 2"
    assert await world.value(SHAPE, stated) is None
    await sweep(world.database, 20)
    assert await world.value(SHAPE, gone) is None
    assert await world.value(SHAPE, other) == await world.value(SHAPE, NIL) == "3 of 2: nothing"
    assert await world.value("SELECT count(*) FROM events") == 0


async def test_an_empty_log_of_a_project_that_is_there_is_never_removed(world: World) -> None:
    """Whatever a look said before: each of the two is enough."""
    project_id = await a_project(world)
    for each in (project_id, NIL):
        await log(world, each, (1, 99))
    await sweep(world.database, DAYS)
    rows = await world.database.read(partial(LOOK.rows, start=NIL, days=DAYS))
    assert {row["project_id"]: row["is_gone"] for row in rows} == {NIL: False, project_id: False}
    for each in (project_id, NIL):
        await world.database.single(partial(FORGET.run, project_id=each))
        assert (await world.value(SHAPE, each)).endswith("nothing")


async def test_every_log_has_its_turn(world: World) -> None:
    heads = (
        "INSERT INTO event_heads (project_id, log_id)"
        " SELECT gen_random_uuid(), gen_random_uuid() FROM generate_series(1, $1)"
    )
    projects = [UUID(int=1), UUID(int=2**128 - 1)]
    for each in projects:
        await log(world, each, (1, 99), (1, 9))
    await world.execute(heads, LOGS_PER_LOOK)
    await sweep(world.database, DAYS)
    assert [await world.value(SHAPE, each) for each in projects] == ["2 of 2: 2"] * 2
    left = await world.value("SELECT array_agg(project_id) FROM event_heads")
    assert set(left) - {NIL} == set(projects), "the others are of no project, and empty"


async def test_a_round_ends_and_says_that_there_is_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "CUTS_AT_ONCE", 2)
    long, short = await a_project(world), await a_project(world)
    await log(world, long, *[(CUT_EVENTS, 99)] * 3)
    await log(world, short, (1, 99))
    assert await sweep(world.database, DAYS) is True
    assert await world.value(SHAPE, short) == "2 of 1: nothing"
    left = "SELECT count(*) FROM events WHERE project_id = $1"
    assert await world.value(left, long) == CUT_EVENTS
    assert await sweep(world.database, DAYS) is False
    assert await world.value(left, long) == 0
    assert CUTS_AT_ONCE * CUT_EVENTS <= 100_000


async def test_it_is_swept_until_it_is_cancelled_and_after_a_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "SWEEP_RETRY_SECONDS", 0)
    monkeypatch.setattr(retention, "SWEEP_EVERY_SECONDS", 0)
    monkeypatch.setattr(retention, "HEADS_EVERY_SECONDS", 0.01)
    project_id, days = await a_project(world), 20

    async def fails(*_: object) -> bool:
        monkeypatch.setattr(retention, "sweep", sweep)
        raise unavailable()

    monkeypatch.setattr(retention, "sweep", fails)
    with capture_logs() as said:
        sweeper = asyncio.create_task(
            sweep_forever(world.database, Settings(event_retention_days=days))
        )
        for _ in range(2):
            await log(world, project_id, (1, days + 1))
            await until(lambda: nothing_is_left(world))
        sweeper.cancel()
        await asyncio.wait([sweeper])
    assert [line["event"] for line in said] == ["events not swept"]
    heads = await world.value("SELECT array_agg(project_id) FROM event_heads")
    assert {NIL, project_id} == set(heads), "those that are missing are added"


async def nothing_is_left(world: World) -> bool:
    found: int = await world.value("SELECT count(*) FROM events")
    return found == 0
