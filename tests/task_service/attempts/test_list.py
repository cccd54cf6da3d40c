"""ListAttempts: the attempts at a task, the latest first."""

from typing import Any

from google.protobuf.json_format import MessageToDict

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import ListAttemptsRequest, ListAttemptsResponse
from tests.refusals import refused
from tests.task_service.leases.held import Held, claimed, held, outcome
from tests.task_service.team import Team
from tests.world import Client, World

MANY = """
INSERT INTO task_attempts
    (project_id, task_id, fence, attempt, agent_id, ended_at, outcome, progress)
SELECT project_id, id, n, 1, assigned_agent_id, now(), 'expired',
    jsonb_build_object('text', repeat('x', $2::int))
FROM tasks, generate_series(2, $3::int) n WHERE id = $1
"""


async def listed(client: Client, one: Held, **fields: Any) -> ListAttemptsResponse:
    request = ListAttemptsRequest(task_id=str(one.id), **fields)
    found: ListAttemptsResponse = await client.tasks.ListAttempts(request)
    return found


async def test_the_latest_comes_first(team: Team) -> None:
    one = await held(team)
    await one.release()
    two = await claimed(await team.worker(), one.id)
    [now, before] = (await listed(team.owner, one)).attempts
    assert (now.fencing_token, before.fencing_token) == (2, 1)
    assert (outcome(now.outcome), outcome(before.outcome)) == ("UNSPECIFIED", "RELEASED")
    assert not now.HasField("ended_at")
    assert before.HasField("ended_at")
    await two.fail(error={"message": "Broken"})
    [last, _] = (await listed(team.owner, one)).attempts
    assert MessageToDict(last.error) == {"message": "Broken"}
    assert last.agent_id == two.worker.agent.id


async def test_pages(team: Team, world: World) -> None:
    one = await held(team)
    await world.execute(MANY, one.id, 1, 5)
    found, token = [], ""
    for size in (2, 2, 1):
        page = await listed(team.owner, one, page_size=2, page_token=token)
        assert len(page.attempts) == size
        found += [each.fencing_token for each in page.attempts]
        token = page.next_page_token
    assert found == [5, 4, 3, 2, 1]
    assert token == ""
    other = await held(team)
    page = await listed(team.owner, one, page_size=2)
    call = listed(team.owner, other, page_token=page.next_page_token)
    await refused(call, Reason.INVALID_PAGE_TOKEN)


async def test_a_page_is_no_larger_than_clients_take(team: Team, world: World) -> None:
    one = await held(team)
    await world.execute(MANY, one.id, 65_000, 101)
    found, token, pages = [], "", 0
    while token or not pages:
        page = await listed(team.owner, one, page_size=1000, page_token=token)
        assert page.ByteSize() <= 3 * 1024 * 1024 + 70_000
        found += [each.fencing_token for each in page.attempts]
        token, pages = page.next_page_token, pages + 1
    assert found == [*range(101, 0, -1)]
    assert pages == 3


async def test_the_agent_that_a_task_is_assigned_to_sees_its_attempts(team: Team) -> None:
    one = await held(team)
    assert (await listed(one.worker.client, one)).attempts
    other = await team.worker()
    await refused(listed(other.client, one), Reason.SCOPE_MISSING)
