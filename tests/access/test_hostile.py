"""No method takes what no field may have: it names the field, changes nothing and has no fault."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from shared.errors import Reason
from shared.resources.validation import SET_BY_SERVICE
from tests.access import hostile
from tests.access.stage import DECLARED, Stage
from tests.access.table import METHODS
from tests.access.test_request_ids import state
from tests.refusals import outcome, refused
from tests.world import World

# Fields of which a wrong value can have a reason of its own.
REASONS = {
    "page_token": "INVALID_PAGE_TOKEN",
    "order_by": "INVALID_ORDER_BY",
    "update_mask": "INVALID_UPDATE_MASK",
    "api_key": "API_KEY_INVALID",
    "roots.task_ids": "TASK_NOT_FOUND",  # if the first is no task, which comes before the rest
}


class Raw:
    """A request that is sent with what is no text in the place of hostile.MARK."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def SerializeToString(self) -> bytes:
        content: bytes = self._request.SerializeToString()
        return content.replace(hostile.MARK.encode(), hostile.SURROGATES)


@contextmanager
def no_fault() -> Iterator[None]:
    with capture_logs() as lines:
        yield
    faults = [line for line in lines if line["log_level"] not in ("info", "debug")]
    assert not faults


def is_ignored(name: str, path: str) -> bool:
    """Whether only services set it, so that a request to create something may have any."""
    is_update = name.rpartition("/")[2].startswith("Update")
    return "." in path and path.rpartition(".")[2] in SET_BY_SERVICE and not is_update


@pytest.mark.parametrize("name", METHODS)
async def test_what_no_field_may_have_is_refused_and_changes_nothing(
    world: World, name: str
) -> None:
    stage = Stage(world, DECLARED[name], METHODS[name], await world.user(superuser=True))
    its = await stage.things()
    before = await state(world)
    with no_fault():
        for each in hostile.wrong(stage.row.request(its)):
            if is_ignored(name, each.path):
                continue
            request: Any = stage.row.request(its)
            each.put(request)
            await expect(stage, request, each)
        for each in hostile.texts(stage.row.request(its)):
            request = stage.row.request(its)
            each.put(request)
            raw: Any = Raw(request)
            await refused(stage.send(stage.owner, raw), Reason.INVALID_FIELD)
    assert await state(world) == before


async def expect(stage: Stage, request: Any, each: hostile.Hostile) -> None:
    found = await outcome(stage.send(stage.owner, request))
    if found == REASONS.get(each.path):
        return
    what = f"{each.path} = {str(each.value)[:100]!r}"
    assert found == "INVALID_FIELD", what
    refusal = await refused(stage.send(stage.owner, request), Reason.INVALID_FIELD)
    of_it = f"{each.path}.", f"{each.path}["
    assert any(f"{path}.".startswith(of_it) for path in refusal.fields), (
        f"{what}: {refusal.message}"
    )


@pytest.mark.parametrize("name", METHODS)
async def test_the_highest_numbers_and_times_are_no_fault(world: World, name: str) -> None:
    stage = Stage(world, DECLARED[name], METHODS[name], await world.user(superuser=True))
    its = await stage.things()
    with no_fault():
        for each in hostile.extremes(stage.row.request(its)):
            request: Any = stage.row.request(its)
            each.put(request)
            found = await outcome(stage.send(stage.owner, request))
            assert found in {"OK", *Reason.__members__} - {"INTERNAL"}, each.path
