"""A caller that may not change a row neither locks it nor waits for its lock."""

import pytest

from shared.errors import Reason
from shared.schema import metadata
from tests.access.stage import DECLARED, Stage
from tests.access.table import METHODS, Answer, Who
from tests.locks import under_way
from tests.refusals import refused
from tests.world import World

LOCK_ALL = "; ".join(
    f"SELECT FROM {table} FOR UPDATE" for table in metadata.tables if table != "agent_api_keys"
)
# The keys that the callers exchanged are written to when it is noted that they were used.
LOCK_KEY = "SELECT FROM agent_api_keys WHERE id = '{}' FOR UPDATE"
STRANGERS = (*(Who.OTHER, Who.VIEWER, Who.AGENT_NEIGHBOUR, Who.AGENT_READS, Who.AGENT_STRANGER),)


@pytest.mark.parametrize("name", METHODS)
async def test_a_refusal_does_not_wait_for_a_lock(world: World, name: str) -> None:
    stage = Stage(world, DECLARED[name], METHODS[name], await world.user())
    refusals = {who: stage.row.answer(who) for who in STRANGERS}
    its = await stage.things()
    callers = {who: await stage.caller(who, its) for who in refusals}
    lock = f"{LOCK_ALL}; {LOCK_KEY.format(its.key.api_key.id)}"
    async with under_way(world.url, lock) as blocked:
        for who, answer in refusals.items():
            # Whether an agent that may claim tasks holds this one is no question of access.
            if answer not in (Answer.OK, Answer.LEASE_LOST):
                call = stage.send(callers[who], stage.row.request(its))
                await refused(call, Reason[answer.name])
        assert not blocked.is_set()
