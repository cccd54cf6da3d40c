"""Every method, called by every kind of caller, has the result that the table states."""

from collections.abc import Mapping

import pytest

from shared.errors import Reason
from tests.access.stage import DECLARED, Stage
from tests.access.table import METHODS, Answer, Things, Who
from tests.refusals import refused
from tests.world import World

# An agent that has called lately is still let in after such a change, and others lose the task or
# their role: they need new things, and leave them unfit for others.
CHANGED = {Who.AGENT_INACTIVE, Who.KEY_REVOKED, Who.ASSIGNED, Who.REMOVED}


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
    await expect(stage, {who: stage.row.answer(who) for who in Who})


@pytest.mark.parametrize("name", [name for name, row in METHODS.items() if row.spoiled_by])
async def test_access_comes_before_content(world: World, name: str) -> None:
    stage = Stage(world, DECLARED[name], METHODS[name], await world.user())
    masked = "update_mask" in DECLARED[name].input_type.fields_by_name
    invalid = Reason.INVALID_UPDATE_MASK if masked else Reason.INVALID_FIELD
    answers = {who: stage.row.answer(who) for who in Who}
    answers |= dict.fromkeys(stage.row.found_by_request, Answer.NOT_PROJECT_OWNER)
    expected = {
        who: invalid if answer in (Answer.OK, Answer.LEASE_LOST) else answer
        for who, answer in answers.items()
    }
    await expect(stage, expected, spoiled=True)


async def expect(
    stage: Stage, answers: Mapping[Who, Answer | Reason], *, spoiled: bool = False
) -> None:
    """Each caller calls and gets its answer. What a call leaves as it was serves the next."""
    its: Things | None = None
    changes = "request_id" in stage.method.input_type.fields_by_name
    for who, answer in answers.items():
        if its is None or who in CHANGED:
            its = await stage.things()
        await expect_one(stage, who, its, answer, spoiled=spoiled)
        if (answer is Answer.OK and changes) or who in CHANGED:
            its = None


async def expect_one(
    stage: Stage, who: Who, its: Things, answer: Answer | Reason, *, spoiled: bool
) -> None:
    request = stage.request(its, spoiled=spoiled)
    call = stage.send(await stage.caller(who, its), request)
    if answer is Answer.OK:
        await call
        return
    found = await refused(call, Reason[answer.name])
    if answer is Answer.NOT_PROJECT_OWNER:
        named = its.project.id in str(request)
        assert found.metadata == ({"project_id": its.project.id} if named else {})
