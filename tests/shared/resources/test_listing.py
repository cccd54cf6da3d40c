"""Lists are fetched in batches, and no further than the size of a page."""

from sqlalchemy import select

from shared.auth.caller import User
from shared.resources.listing import Lister
from shared.resources.pagination import PAGE_BYTES, Order, Page, Query
from shared.schema import projects
from tests.world import World

BY_SLUG = Order("slug", descending=False)


async def fetched(world: World, weight: int, size: int) -> tuple[int, bool]:
    """How many rows a list of 25 fetches in batches of 10, and whether it is truncated."""
    alice = await world.user()
    for number in range(25):
        await alice.project(slug=f"p{number:02}")
    lister = Lister(
        select(*projects.c),
        projects.c.id,
        filters={},
        orders={"slug": projects.c.slug},
        row_bytes=lambda _row: weight,
        batch_size=10,
    )
    caller = User(alice.id, "alice", "alice@example.com", None, is_superuser=False)
    query = Query({}, Page("projects", size, BY_SLUG, None, include_total=False))
    listing = await world.database.read(lambda c: lister.run(c, caller, query))
    assert [row["slug"] for row in listing.rows] == [f"p{n:02}" for n in range(len(listing.rows))]
    return len(listing.rows), listing.truncated


async def test_light_rows_are_fetched_to_the_end(world: World) -> None:
    assert await fetched(world, weight=1, size=1000) == (25, False)


async def test_a_page_and_one_more_are_enough(world: World) -> None:
    assert await fetched(world, weight=1, size=12) == (13, False)


async def test_heavy_rows_are_fetched_no_further_than_a_page_holds(
    world: World,
) -> None:
    assert await fetched(world, weight=PAGE_BYTES // 12, size=1000) == (20, True)
