"""Reading many tasks by their ids, all or nothing."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
import pytest
from uuid_utils.compat import uuid7

from shared.auth.caller import User as Caller
from shared.errors import Reason
from tandem.task.v1.task_service_pb2 import ASSIGNEE_TYPE_AGENT, BatchGetTasksRequest, Task
from task_service.tasks.queries import GET_MANY
from tests.refusals import refused
from tests.world import Client, World

MIB = 1024 * 1024


async def found(client: Client, *ids: str) -> list[Task]:
    answer = await client.tasks.BatchGetTasks(BatchGetTasksRequest(task_ids=ids))
    return list(answer.tasks)


async def test_many_are_answered_in_the_order_of_their_ids(world: World) -> None:
    alice = await world.user()
    first, second = await alice.project(), await alice.project()
    a = await alice.task(first, result={"n": [1, "x"]}, description="A")
    b, c = await alice.task(second), await alice.task(first)
    assert await found(alice, c.id, a.id.upper(), c.id, b.id) == [c, a, c, b]
    root = await world.user(superuser=True)
    assert await found(root, b.id, a.id) == [b, a]


async def test_those_that_are_missing_fail_the_batch_and_are_named(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    gone = [str(uuid7()) for _ in range(150)]
    refusal = await refused(found(alice, task.id, gone[0]), Reason.TASK_NOT_FOUND)
    assert refusal.metadata == {"task_id": gone[0], "task_ids": gone[0], "total": "1"}
    assert refusal.message == f"There is no task {gone[0]}."
    refusal = await refused(found(alice, *gone, task.id, *gone), Reason.TASK_NOT_FOUND)
    named = ",".join(gone[:100])
    assert refusal.metadata == {"task_id": gone[0], "task_ids": named, "total": "150"}
    assert refusal.details["ResourceInfo"].resource_name == gone[0]


async def test_the_first_id_that_fails_decides_which_error_it_is(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    mine, his = [(await user.task(await user.project())).id for user in (alice, bob)]
    gone = str(uuid7())
    await refused(found(alice, mine, his, gone), Reason.NOT_PROJECT_OWNER)
    await refused(found(alice, mine, gone, his), Reason.TASK_NOT_FOUND)


async def test_an_agent_gets_what_is_assigned_to_it(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    calling = await alice.as_agent(agent)
    its: dict[str, Any] = {"assigned_to": agent.id, "assigned_to_type": ASSIGNEE_TYPE_AGENT}
    a, b = await alice.task(project, **its), await alice.task(project, **its)
    assert await found(calling, b.id, a.id) == [b, a]
    other = await alice.task(project)
    await refused(found(calling, a.id, other.id, str(uuid7())), Reason.SCOPE_MISSING)
    await refused(found(calling, a.id, str(uuid7()), other.id), Reason.TASK_NOT_FOUND)


async def test_a_batch_has_limits(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    assert len(await found(alice, *[task.id] * 1000)) == 1000
    for ids, field in (([], "task_ids"), ([task.id] * 1001, "task_ids"), (["x"], "task_ids[0]")):
        assert list((await refused(found(alice, *ids), Reason.INVALID_FIELD)).fields) == [field]


@pytest.mark.parametrize("field", ["description", "result"])
async def test_a_batch_too_large_for_a_client_is_refused(world: World, field: str) -> None:
    alice = await world.user()
    text = "x" * 60_000
    value: Any = text if field == "description" else {"text": text}
    task = await alice.task(await alice.project(), **{field: value})
    assert len(await found(alice, *[task.id] * 50)) == 50
    refusal = await refused(found(alice, *[task.id] * 100), Reason.LIMIT_EXCEEDED)
    assert refusal.metadata == {"limit_bytes": str(3 * MIB)}
    assert refusal.message == "The tasks are larger than 3072 KiB together; ask for fewer."


async def test_no_more_of_a_batch_is_measured_than_a_client_could_take(world: World) -> None:
    """And nothing of rows that the caller does not reach."""
    alice = await world.user()
    project = await alice.project()
    ids = [UUID((await alice.task(project)).id) for _ in range(20)]
    large = "UPDATE tasks SET result = jsonb_build_object('text', repeat('x', $1::int))"
    owner, stranger = (
        Caller(one, "user", "user@example.com", None, is_superuser=False).rights
        for one in (alice.id, uuid7())
    )

    async def measured(rights: Mapping[str, Any]) -> int:
        """How many rows are measured."""
        statement = GET_MANY.statement
        plan = await world.value(
            f"EXPLAIN (ANALYZE, FORMAT JSON) {statement.sql}",
            *statement.arguments(rights, {"ids": ids}),
        )
        nodes = list(below(orjson.loads(plan)[0]["Plan"]))
        (cte,) = [node for node in nodes if node.get("Subplan Name") == "CTE measured"]
        return int(cte["Actual Rows"]) - 1 if cte["Actual Loops"] else 0

    assert await measured(owner) == 20
    await world.execute(large, MIB)
    assert await measured(owner) == 12
    assert await measured(stranger) == 0
    rows = await world.database.read(lambda c: GET_MANY.statement.rows(c, stranger, ids=ids))
    assert [row["result"] for row in rows] == [None] * 20
    await refused(found(alice, *map(str, ids)), Reason.LIMIT_EXCEEDED)
    bob = await world.user()
    await refused(found(bob, *map(str, ids)), Reason.NOT_PROJECT_OWNER)


def below(node: dict[str, Any]) -> Any:
    """A node of a plan, and all nodes below it."""
    yield node
    for each in node.get("Plans", ()):
        yield from below(each)
