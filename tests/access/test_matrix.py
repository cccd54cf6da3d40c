"""Every method, called by every kind of caller, has the result that the table states."""

import pytest

from shared.errors import Reason
from tests.access.stage import DECLARED, Stage
from tests.access.table import METHODS, Answer, Who
from tests.refusals import refused
from tests.world import World


def test_every_method_has_its_row() -> None:
    assert {*METHODS} == {*DECLARED}, "Each method of the protos needs a row in METHODS."
    assert len(METHODS) > 30


def test_every_request_that_is_more_than_an_id_can_be_spoiled() -> None:
    for name, row in METHODS.items():
        if {"request_id", "page_size"} & {*DECLARED[name].input_type.fields_by_name}:
            assert row.spoiled_by, f"{name}: say in the table what makes its content invalid."


@pytest.mark.parametrize("name", METHODS)
async def test_who_may_call(world: World, name: str) -> None:
    stage = Stage(world, DECLARED[name], METHODS[name], await world.user())
    for who in Who:
        await expect(stage, who, stage.row.answer(who))


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.spoiled_by])
async def test_access_comes_before_content(world: World, name: str) -> None:
    stage = Stage(world, DECLARED[name], METHODS[name], await world.user())
    masked = "update_mask" in DECLARED[name].input_type.fields_by_name
    invalid = Reason.INVALID_UPDATE_MASK if masked else Reason.INVALID_FIELD
    for who in Who:
        answer = stage.row.answer(who)
        if who in stage.row.found_by_request:
            answer = Answer.NOT_PROJECT_OWNER
        await expect(stage, who, invalid if answer is Answer.OK else answer, spoiled=True)


async def expect(stage: Stage, who: Who, answer: Answer | Reason, *, spoiled: bool = False) -> None:
    its = await stage.things()
    request = stage.request(its, spoiled=spoiled)
    call = stage.send(await stage.caller(who, its), request)
    if answer is Answer.OK:
        await call
        return
    found = await refused(call, Reason[answer.name])
    if answer is Answer.NOT_PROJECT_OWNER:
        named = its.project.id in str(request)
        assert found.metadata == ({"project_id": its.project.id} if named else {})
