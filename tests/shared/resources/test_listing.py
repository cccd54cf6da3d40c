"""Lists are fetched in batches, and no further than the size of a page."""

import pytest

from shared.auth.caller import User
from shared.resources.listing import Lister
from shared.resources.ordering import by
from shared.resources.pagination import PAGE_BYTES, Order, Page, Query
from shared.schema import projects
from tests.world import World

MIB = 1024 * 1024
FILL = "UPDATE projects SET settings = "
TEXT = f"{FILL} jsonb_build_object('text', repeat('x', $1::int))"
# A number that takes 3 bytes of a message and few of the table, and hundreds as text.
DIGITS = f"{FILL} jsonb_build_object('n', array_fill(1e-300, ARRAY[$1::int / 304]))"


async def fetched(world: World, size: int, descending: bool = False) -> tuple[list[str], bool]:
    """The rows that a list fetches of 25 in batches of 10, and whether it says that it was cut."""
    lister = Lister(
        projects,
        projects.c,
        filters={},
        orders={"slug": by(projects.c.slug)},
        batch_size=10,
    )
    root = await world.user(superuser=True)
    caller = User(root.id, "root", "root@example.com", None, is_superuser=True)
    query = Query({}, Page("projects", size, Order("slug", descending), None, include_total=False))
    listing = await world.database.read(lambda c: lister.run(c, caller, query))
    return [row["slug"] for row in listing.rows], listing.truncated


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
