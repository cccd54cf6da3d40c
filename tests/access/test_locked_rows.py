"""A caller that may not change a row neither locks it nor waits for its lock."""

import pytest

from shared.errors import Reason
from shared.schema import metadata
from tests.access.stage import DECLARED, Stage
from tests.access.table import METHODS, Answer, Who
from tests.locks import under_way
from tests.refusals import refused
from tests.world import World

LOCK_EVERYTHING = "; ".join(f"SELECT FROM {table} FOR UPDATE" for table in metadata.tables)
STRANGERS = (Who.OTHER, Who.AGENT_NEIGHBOUR, Who.AGENT_STRANGER)


@pytest.mark.parametrize("name", METHODS)
async def test_a_refusal_does_not_wait_for_a_lock(world: World, name: str) -> None:
    stage = Stage(world, DECLARED[name], METHODS[name], await world.user())
    refusals = {who: stage.row.answer(who) for who in STRANGERS}
    its = await stage.things()
    callers = {who: await stage.caller(who, its) for who in refusals}
    async with under_way(world.url, LOCK_EVERYTHING) as blocked:
        for who, answer in refusals.items():
            if answer is not Answer.OK:
                call = stage.send(callers[who], stage.row.request(its))
                await refused(call, Reason[answer.name])
        assert not blocked.is_set()
