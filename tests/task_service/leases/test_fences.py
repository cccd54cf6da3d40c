"""Who may end a lease, and with which token: what is refused has changed nothing."""

import asyncio
from uuid import uuid4

import pytest

from shared.errors import Reason
from tests.refusals import outcome as outcome_of
from tests.refusals import refused
from tests.task_service.leases.held import (
    ENDINGS,
    LEASES,
    READY,
    STATE,
    Held,
    claimed,
    events,
    held,
)
from tests.task_service.team import Team
from tests.world import World

# What the first agent does before another claims the task.
BEFORE = ("release", "fail")


@pytest.mark.parametrize("way", ENDINGS)
@pytest.mark.parametrize("before", BEFORE)
async def test_a_lease_that_has_ended_ends_no_other(
    team: Team, world: World, before: str, way: str
) -> None:
    first = await held(team)
    if before == "release":
        await first.release()
    else:
        await first.fail(retryable=True)
        await world.execute(READY, first.id)
    second = await claimed(await team.worker(), first.id)
    assert second.fence > first.fence
    state = await world.value(STATE)
    found = await refused(getattr(first, way)(), Reason.LEASE_LOST)
    outcome = "RELEASED" if before == "release" else "FAILED"
    ended = {"task_id": str(first.id), "outcome": f"ATTEMPT_OUTCOME_{outcome}"}
    assert found.metadata == ended
    assert await world.value(STATE) == state


@pytest.mark.parametrize("way", ENDINGS)
async def test_the_same_agent_needs_the_token_of_its_latest_lease(
    team: Team, world: World, way: str
) -> None:
    first = await held(team)
    await first.release()
    second = await claimed(first.worker, first.id)
    state = await world.value(STATE)
    for fence in (second.fence + 1, 2**62):
        await refused(getattr(second, way)(fencing_token=fence), Reason.LEASE_LOST)
    if way != "release":
        await refused(getattr(first, way)(), Reason.LEASE_LOST)
    # Even for those who may end the lease of any agent.
    for by in (team.owner, await world.user(superuser=True)):
        await refused(getattr(second, way)(by, fencing_token=second.fence + 1), Reason.LEASE_LOST)
    assert await world.value(STATE) == state


@pytest.mark.parametrize("way", ENDINGS)
async def test_another_agent_with_the_token_has_no_lease(
    team: Team, world: World, way: str
) -> None:
    one = await held(team)
    other = await team.worker()
    state = await world.value(STATE)
    await refused(getattr(one, way)(other.client), Reason.LEASE_LOST)
    assert await world.value(STATE) == state
    await getattr(one, way)()
    await refused(getattr(one, way)(other.client), Reason.LEASE_LOST)


@pytest.mark.parametrize("way", ENDINGS)
async def test_who_may_not(team: Team, world: World, way: str) -> None:
    one = await held(team)
    stranger, editor = await world.user(), await world.user()
    await world.member(team.project.id, editor, "editor")
    elsewhere = await (await Team.formed(world)).worker()
    state = await world.value(STATE)
    for by, reason in [
        (stranger, Reason.NOT_PROJECT_OWNER),
        (editor, Reason.INSUFFICIENT_ROLE),
        (elsewhere.client, Reason.NOT_ALLOWED_FOR_AGENT),
    ]:
        await refused(getattr(one, way)(by), reason)
    missing = Held(one.worker, one.claimed)
    await refused(getattr(missing, way)(task_id=str(uuid4())), Reason.TASK_NOT_FOUND)
    await world.execute("UPDATE projects SET status = 'archived'")
    await refused(getattr(one, way)(), Reason.PROJECT_NOT_ACTIVE)
    await world.execute("UPDATE projects SET status = 'active'")
    assert await world.value(STATE) == state


@pytest.mark.parametrize("way", ENDINGS)
async def test_an_admin_may_for_any_agent(team: Team, world: World, way: str) -> None:
    admin = await world.user()
    await world.member(team.project.id, admin, "admin")
    for by in (admin, team.owner, await world.user(superuser=True)):
        one = await held(team)
        task = await getattr(one, way)(by)
        assert not task.leased
        assert await getattr(one, way)(by) == task
    assert await world.value(LEASES) == 0


@pytest.mark.parametrize("way", ENDINGS)
async def test_of_two_calls_at_once_one_ends_the_lease(team: Team, world: World, way: str) -> None:
    one = await held(team)
    answers = await asyncio.gather(*(getattr(one, way)() for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    assert len(await events(world, one.id)) == 3


async def test_of_different_ends_at_once_one_counts(team: Team, world: World) -> None:
    one = await held(team)
    calls = [outcome_of(getattr(one, way)()) for way in ENDINGS]
    answers = await asyncio.gather(*calls)
    # To ask for input is to give the task back, too.
    assert answers.count("OK") in (1, 2)
    assert {*answers} == {"OK", "LEASE_LOST"}
    assert len(await events(world, one.id)) == 3


@pytest.mark.parametrize("way", ENDINGS)
async def test_a_lost_answer_is_given_again(team: Team, way: str) -> None:
    one = await held(team)
    request_id = str(uuid4())
    first = await getattr(one, way)(request_id=request_id)
    assert await getattr(one, way)(request_id=request_id) == first
