"""Lists are fetched in batches, and no further than the size of a page."""

from typing import Any

import pytest

from shared.auth.caller import User
from shared.auth.permissions import Permission
from shared.resources.listing import Lister
from shared.resources.measuring import JSON_EXPANSION
from shared.resources.ordering import by
from shared.resources.pagination import PAGE_BYTES, Listing, Order, Page, Query
from shared.schema import projects
from tests.plans import Recorder
from tests.world import World

MIB = 1024 * 1024
SET = "UPDATE projects SET"
FILL = f"{SET} settings = "
TEXT = f"{FILL} jsonb_build_object('text', repeat('x', $1::int))"
# A number that takes 3 bytes of a message and few of the table, and hundreds as text.
DIGITS = f"{FILL} jsonb_build_object('n', array_fill(1e-300, ARRAY[$1::int / 304]))"


async def fetched(world: World, size: int, descending: bool = False) -> tuple[list[str], bool]:
    """The rows that a list fetches of 25 in batches of 10, and whether it says that it was cut."""
    listing, _ = await ran(world, size, descending)
    return [row["slug"] for row in listing.rows], listing.truncated


async def ran(world: World, size: int, descending: bool = False) -> tuple[Listing, list[bool]]:
    """What a list fetches in batches of 10, and of each statement whether it measures its rows."""
    lister = Lister(
        projects,
        projects.c,
        filters={},
        orders={"slug": by(projects.c.slug)},
        batch_size=10,
        permission=Permission.READ_PROJECT,
    )
    root = await world.user(superuser=True)
    caller = User(root.id, "root", "root@example.com", None, is_superuser=True)
    query = Query({}, Page("projects", size, Order("slug", descending), None, include_total=False))

    async def recorded(connection: Any) -> tuple[Listing, list[bool]]:
        recorder = Recorder(connection)
        listing = await lister.run(recorder, caller, query)  # type: ignore[arg-type]
        return listing, ["OVER" in sql for sql, _ in recorder.asked]

    return await world.database.read(recorded)


async def slugs(world: World, count: int = 25) -> list[str]:
    """Projects, whose slugs these are."""
    alice = await world.user()
    return [(await alice.project(slug=f"p{number:02}")).slug for number in range(count)]


async def test_light_rows_are_fetched_to_the_end(world: World) -> None:
    made = await slugs(world)
    assert await fetched(world, size=1000) == (made, False)


async def test_a_page_and_one_more_are_enough(world: World) -> None:
    made = await slugs(world)
    assert await fetched(world, size=12) == (made[:13], False)


@pytest.mark.parametrize("fill", [TEXT, DIGITS])
@pytest.mark.parametrize("descending", [False, True])
async def test_heavy_rows_are_fetched_no_further_than_a_page_holds(
    world: World, fill: str, descending: bool
) -> None:
    made = await slugs(world)
    await world.execute(fill, PAGE_BYTES // 7)
    found, truncated = await fetched(world, size=1000, descending=descending)
    # The row with which they are more than a page is the last.
    assert found == sorted(made, reverse=descending)[: len(found)]
    assert 7 <= len(found) <= 8  # of the 10 of a batch
    assert truncated


@pytest.mark.parametrize("fill", [TEXT, DIGITS])
async def test_of_rows_larger_than_a_page_only_one_is_fetched(world: World, fill: str) -> None:
    made = await slugs(world, count=5)
    await world.execute(fill, 4 * MIB)
    assert await fetched(world, size=2) == (made[:1], True)


async def test_the_last_row_ends_a_list_however_heavy_it_is(world: World) -> None:
    made = await slugs(world, count=3)
    await world.execute(f"{TEXT} WHERE slug = 'p02'", 4 * MIB)
    assert await fetched(world, size=1000) == (made, False)


async def test_no_batch_is_fetched_behind_one_that_fills_a_page(world: World) -> None:
    made = await slugs(world)
    await world.execute(TEXT, PAGE_BYTES // 12)
    assert await fetched(world, size=1000) == (made[:20], True)


LIGHT = PAGE_BYTES // 10
LIGHT_JSON = LIGHT // JSON_EXPANSION


def incompressible(size: int) -> str:
    """What makes a row's `settings` as large as that."""
    digests = "SELECT encode(sha256((n || slug)::bytea), 'base64') FROM generate_series(1, 2000) n"
    text = f"left(array_to_string(ARRAY({digests}), ''), {size})"
    return f"settings = jsonb_build_object('text', {text})"


@pytest.mark.parametrize(
    "fill",
    [
        f"description = repeat('x', {LIGHT})",
        incompressible(LIGHT_JSON - 50),
        "description = NULL, settings = NULL",
    ],
    ids=["text", "json", "nothing"],
)
async def test_light_rows_are_not_measured(world: World, fill: str) -> None:
    made = await slugs(world, count=12)
    await world.execute(f"{SET} {fill} WHERE slug < 'p09'")
    listing, measured = await ran(world, size=1000)
    assert [row["slug"] for row in listing.rows] == made
    assert measured == [False, False]
    shown = [row[name] or "" for row in listing.rows for name in ("description", "settings")]
    stored = "SELECT sum(octet_length(concat(description, settings))) FROM projects"
    assert sum(map(len, shown)) == await world.value(stored)


@pytest.mark.parametrize(
    "fill",
    [
        f"description = repeat('x', {LIGHT} + 1)",
        incompressible(LIGHT_JSON + 50),
        "settings = jsonb_build_object('few bytes', repeat('x', 5000))",
    ],
    ids=["text", "json", "compressed"],
)
async def test_from_the_first_large_row_on_they_are_measured(world: World, fill: str) -> None:
    made = await slugs(world)
    await world.execute(f"{SET} {fill} WHERE slug = 'p15'")
    listing, measured = await ran(world, size=1000)
    assert [row["slug"] for row in listing.rows] == made
    assert measured == [False, False, True, True]
    large = listing.rows[15]
    assert len(large["description"] or large["settings"]) >= 5000
