"""Every method that changes something has its changes in the log, each once, and no others."""

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any
from uuid import UUID

import orjson
import pytest

from shared.events.vocabulary import (
    EVENT_TYPES,
    LARGE,
    LEFT_OUT,
    NIL,
    RESOURCE_TYPES,
    created,
    deleted,
)
from tandem.agent.v1.agent_service_pb2 import AGENT_STATUS_ONLINE, SetAgentStatusRequest
from tandem.task.v1.task_service_pb2 import AddDependencyRequest, UnassignTaskRequest
from tests.access.stage import Stage
from tests.access.table import Things
from tests.access.test_request_ids import IDEMPOTENT, staged
from tests.world import User, World

# Cleared by the deletion of what they refer to, without an event.
CLEARED = {"created_by", "created_by_agent_id", "created_by_id"}
# By kind: what deletes a row of it without an event of its own, and by which column.
PARENTS = {
    "api_key": {"agent": "agent_id"},
    "participant": {"agent": "agent_id", "room": "room_id"},
}
ROWS = "SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {} t"
EVENTS = "SELECT coalesce(jsonb_agg(to_jsonb(e) ORDER BY project_id, sequence), '[]') FROM events e"
HEADS = "SELECT jsonb_object_agg(project_id, last) FROM event_heads"

# What is done before a call that would change nothing else.
PREPARED: dict[str, Callable[[User, Things], Awaitable[Any]]] = {
    # A claim brings an agent online, by a transaction of its own.
    "tandem.task.v1.TaskService/ClaimTasks": lambda owner, its: owner.agents.SetAgentStatus(
        SetAgentStatusRequest(agent_id=its.agent.id, status=AGENT_STATUS_ONLINE)
    ),
    "tandem.task.v1.TaskService/AssignTask": lambda owner, its: owner.tasks.UnassignTask(
        UnassignTaskRequest(task_id=its.task.id)
    ),
    "tandem.task.v1.TaskService/RemoveDependency": lambda owner, its: owner.tasks.AddDependency(
        AddDependencyRequest(task_id=its.task.id, depends_on_id=its.done_id)
    ),
}

Key = tuple[str, str]
Row = Mapping[str, Any]


@pytest.mark.parametrize("name", IDEMPOTENT)
async def test_each_change_is_in_the_log_once(world: World, name: str) -> None:
    stage = await staged(world, name)
    its = await stage.things()
    if prepare := PREPARED.get(name):
        await prepare(stage.owner, its)
    request = stage.row.request(its)
    before, known, heads = await rows(world), len(await log(world)), await numbers(world)
    await stage.send(stage.owner, request)
    after, events = await rows(world), (await log(world))
    new = [event for event in events if event["sequence"] > heads.get(event["project_id"], 0)]
    assert len(events) == known + len(new)
    assert new, f"{name} has changed something, and the log of nothing."
    assert_numbered(new, heads, await numbers(world))
    assert_told_of_the_call(new, name, stage)
    told = {key_of(event): event for event in new}
    assert len(told) == len(new), "No row has two events of one transaction."
    assert_told(told, before, after)


@pytest.mark.parametrize("name", IDEMPOTENT)
async def test_what_changes_nothing_has_no_event(world: World, name: str) -> None:
    stage = await staged(world, name)
    request = stage.row.request(await stage.things())
    await stage.send(stage.owner, request)
    before, known = await rows(world), await log(world)
    try:
        await stage.send(stage.owner, request)
    except Exception:
        assert await log(world) == known
    if await rows(world) == before:
        assert await log(world) == known


def assert_numbered(events: list[Any], before: Mapping[str, int], after: Mapping[str, int]) -> None:
    """One transaction of each project, without a gap up to the number that the head has."""
    for project_id in {event["project_id"] for event in events}:
        mine = [event for event in events if event["project_id"] == project_id]
        first = before.get(project_id, 0) + 1
        assert [event["sequence"] for event in mine] == [*range(first, first + len(mine))]
        assert {event["batch"] for event in mine} == {first}
        assert after[project_id] == mine[-1]["sequence"]


def assert_told_of_the_call(events: list[Any], name: str, stage: Stage) -> None:
    for event in events:
        assert event["type"] in EVENT_TYPES
        assert (event["actor_type"], event["actor_id"]) == ("user", str(stage.owner.id))
        assert (event["method"], event["api_key_id"]) == (name, None)
        assert event["request_id"]


def assert_told(
    told: Mapping[Key, Row], before: Mapping[Key, Row], after: Mapping[Key, Row]
) -> None:
    """The events are of the rows that differ, and tell of each how."""
    gone = {key for key, event in told.items() if key not in after}
    for key in {*before, *after} - {*told}:
        implied = key not in after and is_implied(key[0], before[key], gone)
        assert implied or same(before.get(key), after.get(key)), f"No event of {key}."
    for key, event in told.items():
        was, now = before.get(key), after.get(key)
        assert not same(was, now), f"{key} has an event, and has not changed."
        shown = now or was
        assert shown is not None
        assert event["after"].keys() - {*shown} <= {"username"}
        assert {n: event["after"][n] for n in kept(shown)} == kept(shown)
        assert event["revision"] == shown.get("revision", 1) + (now is None)
        table = RESOURCE_TYPES[key[0]]
        assert (event["type"] == created(table)) is (was is None)
        assert (event["type"] == deleted(table)) is (now is None)
        if was is None or now is None:
            assert event["before"] is None
            continue
        assert event["before"] == {n: v for n, v in was.items() if n in event["before"]}
        differing = {n for n in kept(now) if now[n] != was[n]} - {"revision", "updated_at"}
        assert differing <= {*event["before"]}, f"{key} has changed {differing}."
        large = {n for n in LARGE & {*now} if now[n] != was[n]}
        assert {*(event["changed"] or ())} == large


def is_implied(kind: str, row: Row, gone: set[Key]) -> bool:
    """Whether the deletion of another row has an event that stands for this one's, too."""
    if ("project", row.get("project_id")) in gone:
        return True
    parents = PARENTS.get(kind, {}).items()
    return any((parent, row[column]) in gone for parent, column in parents)


def key_of(event: Row) -> Key:
    return event["resource_type"], event["resource_id"]


def kept(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in LARGE | LEFT_OUT}


def same(was: Row | None, now: Row | None) -> bool:
    if was is None or now is None:
        return was is now
    ignored = {*CLEARED, "last_used_at"}
    return all(was[name] == now[name] for name in was if name not in ignored)


async def rows(world: World) -> dict[Key, Row]:
    """Every row of a resource, by its kind and the id that clients know it by."""
    return {
        (kind, row["user_id" if kind == "member" else "id"]): row
        for kind, table in RESOURCE_TYPES.items()
        for row in await found(world, ROWS.format(table))
    }


async def log(world: World) -> list[Any]:
    return [*await found(world, EVENTS)]


async def numbers(world: World) -> dict[str, int]:
    text = await world.value(HEADS)
    found: dict[str, int] = orjson.loads(text)
    assert str(NIL) in found
    return found


async def found(world: World, statement: str) -> Iterator[Any]:
    value = await world.value(statement)
    return iter(orjson.loads(value) if isinstance(value, (bytes, str)) else value)


async def test_an_event_has_the_request_id_and_the_api_key_of_the_call(world: World) -> None:
    stage = await staged(world, "tandem.agent.v1.AgentService/SetAgentStatus")
    its = await stage.things()
    caller = await stage.owner.exchanged(its.key.secret)
    call = caller.agents.SetAgentStatus(stage.row.request(its))
    await call
    trailing = dict(await call.trailing_metadata())
    event = (await log(world))[-1]
    assert event["request_id"] == trailing["x-request-id"]
    assert (event["actor_type"], event["actor_id"]) == ("agent", its.agent.id)
    assert UUID(event["api_key_id"]) == UUID(its.key.api_key.id)
