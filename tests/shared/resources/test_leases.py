"""How long a task pauses between attempts."""

from sqlalchemy import func, select

from shared.database.statement import Statement
from shared.resources.leases import backoff
from shared.schema import tasks
from tests.schema.rows import add_project
from tests.world import World

PAUSES = Statement(
    "The pauses of tasks, in seconds.",
    select(tasks.c.attempt, func.extract("epoch", backoff()).label("seconds")).select_from(tasks),
)
ADD = (
    "INSERT INTO tasks (id, project_id, title, attempt, fence) SELECT gen_random_uuid(), $1, 'T',"
    " a, f FROM unnest('{1,2,3,10,11,12,32767}'::int[]) AS a, generate_series(1, 200) AS f"
)


async def test_a_pause_doubles_to_an_hour_and_is_a_fifth_shorter_or_longer(world: World) -> None:
    project = await world.owner.transaction(add_project)
    await world.execute(ADD, project.id)
    rows = await world.database.read(PAUSES.rows)
    for attempt, middle in {1: 5, 2: 10, 3: 20, 10: 2560, 11: 3600, 32767: 3600}.items():
        pauses = [float(row["seconds"]) for row in rows if row["attempt"] == attempt]
        assert len(pauses) == 200
        assert 0.8 * middle <= min(pauses) < 0.85 * middle
        assert 1.15 * middle < max(pauses) <= 1.2 * middle
    assert rows == await world.database.read(PAUSES.rows), "and each is always the same"
