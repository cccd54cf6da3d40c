"""RequestInput and AnswerInput: what an agent asks for, and who goes on with the answer."""

from datetime import timedelta
from typing import Any

from google.protobuf.json_format import MessageToDict

from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import (
    ASSIGNEE_TYPE_AGENT,
    INPUT_KIND_AUTH,
    TASK_STATUS_PENDING,
    AnswerInputRequest,
    Input,
    Task,
)
from tests.refusals import outcomes as outcomes_of
from tests.refusals import refused
from tests.task_service.leases.held import (
    LEASES,
    STATE,
    Held,
    claimed,
    events,
    held,
    now,
    outcomes,
    status,
)
from tests.task_service.steps import move
from tests.task_service.team import Team
from tests.world import Client, World

PREFERRED = "SELECT preferred_until - updated_at FROM tasks WHERE id = $1"
FOREVER = "SELECT preferred_until = 'infinity' FROM tasks WHERE id = $1"
MANY = """
INSERT INTO task_inputs (project_id, task_id, key, kind, prompt)
SELECT project_id, id, n::text, 'input', 'Which?' FROM tasks, generate_series(1, 99) n
"""


async def answered(by: Client, one: Held, key: str = "k", **answer: Any) -> Task:
    fields: dict[str, Any] = {"key": key, "answer": answer or {"yes": True}}
    request = AnswerInputRequest(task_id=str(one.id), **fields)
    found: Task = await by.tasks.AnswerInput(request)
    return found


async def test_a_task_is_blocked_until_the_answer(team: Team, world: World) -> None:
    one = await held(team)
    schema: Any = {"type": "object"}
    task = await one.ask(input=Input(key="k", prompt="Which?", schema=schema))
    assert status(task) == ("BLOCKED", "INPUT")
    assert not task.leased
    assert task.attempt == 0
    assert task.assigned_to == one.worker.agent.id
    assert await world.value(FOREVER, one.id)
    assert await world.value(LEASES) == 0
    assert await outcomes(world, one.id) == ["released"]
    assert await one.worker.claim() == []
    task = await answered(team.owner, one, color="red")
    assert status(task) == ("PENDING", "")
    assert await world.value(PREFERRED, one.id) == timedelta(minutes=10)
    assert await (await team.worker()).claim() == []
    again = await claimed(one.worker, one.id)
    assert (again.claimed.task.attempt, again.fence) == (1, 2)
    [found] = again.claimed.inputs
    assert MessageToDict(found.answer) == {"color": "red"}
    assert MessageToDict(found.schema) == schema
    assert found.HasField("answered_at")
    assert (await events(world, one.id))[2:] == ["task.blocked", "task.unblocked", "task.claimed"]
    # Taken from all, it goes back to all.
    assert not (await again.release()).assigned_to


async def test_who_else_can_when_the_time_is_over(team: Team, world: World) -> None:
    one = await held(team)
    await one.ask()
    await answered(team.owner, one)
    await world.execute("UPDATE tasks SET assigned_agent_id = NULL, preferred_until = NULL")
    assert await (await team.worker()).claim()


async def test_a_task_of_one_agent_stays_its(team: Team, world: World) -> None:
    worker = await team.worker()
    fields = {"assigned_to": worker.agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    one = await held(team, worker, **fields)
    task = await one.ask(input=Input(key="k", prompt="?", kind=INPUT_KIND_AUTH))
    assert status(task) == ("BLOCKED", "AUTH")
    await answered(team.owner, one)
    assert await world.value(PREFERRED, one.id) is None
    again = await claimed(worker, one.id)
    assert (await again.release()).assigned_to == worker.agent.id


async def test_a_key_is_used_once(team: Team, world: World) -> None:
    one = await held(team)
    await one.ask()
    await answered(team.owner, one)
    again = await claimed(one.worker, one.id)
    found = await refused(again.ask(), Reason.INPUT_KEY_USED)
    assert found.metadata == {"task_id": str(one.id), "key": "k"}
    assert await world.value(LEASES) == 1
    await again.ask(input=Input(key="l", prompt="And?"))


async def test_a_task_has_at_most_a_hundred_inputs(team: Team, world: World) -> None:
    one = await held(team)
    await world.execute(MANY)
    await one.ask()
    await answered(team.owner, one)
    again = await claimed(one.worker, one.id)
    await refused(again.ask(input=Input(key="l", prompt="?")), Reason.LIMIT_EXCEEDED)
    assert await world.value(LEASES) == 1


async def test_asking_under_a_lease_that_was_given_back_is_refused(
    team: Team, world: World
) -> None:
    one = await held(team)
    await one.release()
    await refused(one.ask(), Reason.LEASE_LOST)
    assert await world.value("SELECT count(*) FROM task_inputs") == 0


async def test_answers(team: Team) -> None:
    one = await held(team)
    await refused(answered(team.owner, one), Reason.INPUT_NOT_FOUND)
    await one.ask()
    found = await refused(answered(team.owner, one, "other"), Reason.INPUT_NOT_FOUND)
    assert found.metadata == {"task_id": str(one.id), "key": "other"}
    await refused(answered(one.worker.client, one), Reason.SCOPE_MISSING)
    task = await answered(team.owner, one)
    assert await answered(team.owner, one) == task
    await refused(answered(team.owner, one, yes=False), Reason.INPUT_ANSWERED)


async def test_what_is_not_blocked_any_more_is_not_answered(team: Team, world: World) -> None:
    one = await held(team)
    await one.ask()
    await world.execute("UPDATE tasks SET status = 'cancelled', status_reason = NULL")
    await refused(answered(team.owner, one), Reason.INVALID_STATUS_TRANSITION)
    assert await world.value("SELECT answered_at FROM task_inputs") is None


async def test_an_answer_to_what_is_not_asked_any_more_changes_nothing(
    team: Team, world: World
) -> None:
    one = await held(team)
    await one.ask()
    await move(team.owner, await now(team, one.id), TASK_STATUS_PENDING)
    again = await claimed(one.worker, one.id)
    await again.ask(input=Input(key="l", prompt="And?"))
    state = await world.value(STATE)
    found = await refused(answered(team.owner, one, "k"), Reason.INPUT_NOT_FOUND)
    assert found.metadata == {"task_id": str(one.id), "key": "k"}
    assert await world.value(STATE) == state
    assert await world.value("SELECT count(answered_at) FROM task_inputs") == 0
    assert status(await answered(team.owner, one, "l")) == ("PENDING", "")
    await refused(answered(team.owner, one, "k"), Reason.INPUT_NOT_FOUND)


async def test_of_two_answers_at_once_one_counts(team: Team, world: World) -> None:
    one = await held(team)
    await one.ask()
    calls = [answered(team.owner, one, n=n) for n in range(4)]
    assert await outcomes_of(*calls) == [*["INPUT_ANSWERED"] * 3, "OK"]
    assert (await events(world, one.id)).count("task.unblocked") == 1


async def test_what_is_to_be_cancelled_is_due(team: Team, world: World) -> None:
    one = await held(team)
    await world.execute("UPDATE tasks SET cancel_requested_at = now(), status_message = 'Stop'")
    await one.ask()
    assert await world.value("SELECT cancel_deadline <= now() FROM tasks")
    assert (await now(team, one.id)).status_message == "Stop"
