"""Each project has a head of its log, also one of an older version that knows of no logs."""

import asyncio
from itertools import chain
from uuid import UUID

import pytest

from shared.events import heads
from shared.events.heads import add_missing
from shared.events.vocabulary import NIL
from tests.event_log import append
from tests.schema.rows import add_project
from tests.world import World

HEADS = "SELECT array_agg(project_id) FROM event_heads WHERE first = 1 AND last = 0"
LOG_IDS = "SELECT count(DISTINCT log_id) FROM event_heads"


async def projects(world: World, count: int) -> set[UUID]:
    """New projects, written past the services as an older version does: without a head."""
    made = [await world.owner.transaction(add_project) for _ in range(count)]
    return {project.id for project in made}


async def test_a_project_without_a_head_gets_one_and_so_does_the_log_of_users(world: World) -> None:
    older = await projects(world, 3)
    await world.execute("DELETE FROM event_heads")
    assert set(await add_missing(world.database)) == {NIL, *older}
    assert set(await world.value(HEADS)) == {NIL, *older}
    assert await world.value(LOG_IDS) == 4
    assert await add_missing(world.database) == []


async def test_a_head_that_is_there_stays_as_it_is(world: World) -> None:
    (project_id,) = await projects(world, 1)
    await world.owner.read(lambda connection: append(connection, project_id, 3))
    head = "SELECT head::text FROM event_heads AS head WHERE project_id = $1"
    before = await world.value(head, project_id)
    await add_missing(world.database)
    assert await world.value(head, project_id) == before


async def test_several_services_add_heads_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads, "AT_ONCE", 2)
    older = await projects(world, 9)
    await world.execute("DELETE FROM event_heads")
    added = await asyncio.gather(*(add_missing(world.database) for _ in range(4)))
    assert sorted(chain(*added)) == sorted({NIL, *older})
    assert set(await world.value(HEADS)) == {NIL, *older}
