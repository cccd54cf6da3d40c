"""How long a process pauses between two sweeps, however the first of them has gone."""

from types import SimpleNamespace

import pytest

from task_service.sweep import rules
from task_service.sweep.rules import PAUSE_SECONDS, sweep_forever
from tests.task_service.sweep.swept import expire, state
from tests.task_service.team import Team
from tests.world import World

# A lease that has expired comes back within 2 seconds: the rest is for the sweep itself.
LONGEST_SECONDS = 1.2
AWAY = "ALTER TABLE task_leases RENAME TO gone"
BACK = "ALTER TABLE gone RENAME TO task_leases"


class Enough(Exception):  # noqa: N818
    """The test has seen what it wanted to."""


async def test_it_is_about_a_second_also_after_a_failure_and_less_while_there_is_more(
    team: Team, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = await team.owner.task(team.project)
    assert await (await team.worker()).claim()
    await expire(world, task.id)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds < PAUSE_SECONDS:
            return  # within a sweep, after a part of it
        pauses.append(seconds)
        if len(pauses) == 2:
            await world.execute(AWAY)
        if len(pauses) == 3:
            raise Enough

    monkeypatch.setattr(rules, "FOUND", 1)
    monkeypatch.setattr(rules, "asyncio", SimpleNamespace(sleep=sleep))
    try:
        with pytest.raises(Enough):
            await sweep_forever(world.database, world.settings)
    finally:
        await world.execute(BACK)
    more, no_more, failed = pauses
    assert more == PAUSE_SECONDS
    assert 0 < no_more <= LONGEST_SECONDS
    assert 0 < failed <= LONGEST_SECONDS
    assert (await state(team, task.id))[1] == "PENDING"
