"""Every method that changes something takes a request id, and with one changes it once."""

from typing import Any
from uuid import uuid4

import pytest

from shared.errors import Reason
from shared.schema import metadata
from tests.access.stage import DECLARED, Stage
from tests.access.table import METHODS, Answer, Who
from tests.refusals import refused
from tests.world import World

IDEMPOTENT = [n for n in METHODS if "request_id" in DECLARED[n].input_type.fields_by_name]
# What is the same however often it is said: that an agent is there, and goes on.
REPEATABLE = {"tandem.task.v1.TaskService/HeartbeatTasks"}
READING = [name for name in METHODS if name not in {*IDEMPOTENT, *REPEATABLE}]
# When a key was last used is no change of the key, and written later.
ROWS = "SELECT jsonb_agg(to_jsonb(t) - 'last_used_at' ORDER BY t::text) FROM {} t"


async def staged(world: World, name: str) -> Stage:
    row = METHODS[name]
    is_for_superusers = row.answer(Who.OWNER) is not Answer.OK
    return Stage(world, DECLARED[name], row, await world.user(superuser=is_for_superusers))


async def state(world: World) -> list[Any]:
    return [await world.value(ROWS.format(table)) for table in metadata.tables]


@pytest.mark.parametrize("name", READING)
async def test_a_method_without_request_id_changes_nothing(world: World, name: str) -> None:
    stage = await staged(world, name)
    its = await stage.things()
    before = await state(world)
    await stage.send(stage.owner, stage.row.request(its))
    assert await state(world) == before, f"The request of {name} needs a request_id."


@pytest.mark.parametrize("name", IDEMPOTENT)
async def test_a_repeated_mutation_gets_the_first_answer(world: World, name: str) -> None:
    stage = await staged(world, name)
    request: Any = stage.row.request(await stage.things())
    other: Any = stage.row.request(await stage.things())
    request.request_id = other.request_id = str(uuid4())
    first = await stage.send(stage.owner, request)
    after = await state(world)
    assert await stage.send(stage.owner, request) == first
    assert await state(world) == after, f"{name} happens twice: use idempotent_call."
    found = await refused(stage.send(stage.owner, other), Reason.REQUEST_ID_REUSED)
    assert found.metadata == {"request_id": request.request_id}
    assert await state(world) == after


@pytest.mark.parametrize("name", IDEMPOTENT)
async def test_a_malformed_request_id_is_refused(world: World, name: str) -> None:
    stage = await staged(world, name)
    request: Any = stage.row.request(await stage.things())
    before = await state(world)
    for wrong in ("x", "0" * 32, f"urn:uuid:{uuid4()}"):
        request.request_id = wrong
        found = await refused(stage.send(stage.owner, request), Reason.INVALID_FIELD)
        assert list(found.fields) == ["request_id"]
    assert await state(world) == before
