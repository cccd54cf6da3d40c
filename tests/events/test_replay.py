"""The replay does what a log says, and finds each difference to the rows that there are."""

from typing import Any

import orjson
import pytest

from tests.events.replay import Rows, differences, replay


def event(what: str, resource_id: str, **after: Any) -> dict[str, Any]:
    kind = what.partition(".")[0].replace("key", "api_key")
    row = orjson.dumps({"id": resource_id, **after})
    return {"type": what, "resource_type": kind, "resource_id": resource_id, "after": row}


LOG = [
    event("agent.created", "a"),
    event("key.created", "k", agent_id="a"),
    event("room.created", "r", created_by="u"),
    event("participant.added", "p", room_id="r", agent_id="a", user_id=None),
    event("participant.added", "q", room_id="r", agent_id=None, user_id="u"),
    event("task.created", "t", title="old", created_by_agent_id="a"),
    event("task.updated", "t", title="new", created_by_agent_id="a"),
]
ROWS: Rows = {
    ("agent", "a"): {"id": "a"},
    ("api_key", "k"): {"id": "k", "agent_id": "a"},
    ("room", "r"): {"id": "r", "created_by": "u"},
    ("participant", "p"): {"id": "p", "room_id": "r", "agent_id": "a", "user_id": None},
    ("participant", "q"): {"id": "q", "room_id": "r", "agent_id": None, "user_id": "u"},
    ("task", "t"): {"id": "t", "title": "new", "created_by_agent_id": "a"},
}


def test_the_latest_of_each_resource_is_left() -> None:
    assert replay(LOG) == ROWS


@pytest.mark.parametrize(
    ("deletion", "left"),
    [
        (event("task.deleted", "t"), {"agent", "api_key", "room", "participant"}),
        (event("agent.deleted", "a"), {"room", "participant", "task"}),
        (event("room.deleted", "r"), {"agent", "api_key", "task"}),
        (event("project.deleted", "x"), set()),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
def test_a_deletion_implies_what_is_deleted_with_it(
    deletion: dict[str, Any], left: set[str]
) -> None:
    assert {kind for kind, _ in replay([*LOG, deletion])} == left


def test_a_deletion_clears_who_created_what() -> None:
    rows = replay([*LOG, event("agent.deleted", "a")], deleted_users=["u"])
    assert rows == {
        ("room", "r"): {"id": "r", "created_by": None},
        ("task", "t"): {"id": "t", "title": "new", "created_by_agent_id": None},
    }


def test_a_deletion_clears_what_was_a_part_of_it() -> None:
    log = [event("task.created", "t"), event("task.created", "s", parent_id="t")]
    left = replay([*log, event("task.deleted", "t")])
    assert left == {("task", "s"): {"id": "s", "parent_id": None}}


def test_each_difference_is_found() -> None:
    found = {**ROWS, ("task", "t"): {**ROWS["task", "t"], "title": "other"}}
    del found["agent", "a"]
    found["room", "s"] = {"id": "s"}
    assert list(differences(ROWS, ROWS)) == []
    assert list(differences(ROWS, found)) == [
        "agent a is only in the log",
        "room s is not in the log",
        "task t: title is other, in the log new",
    ]


def test_times_are_compared_as_times() -> None:
    row: Rows = {("task", "t"): {"at": "2026-01-01T12:00:00+00:00"}}
    same: Rows = {("task", "t"): {"at": "2026-01-01T13:00:00+01:00"}}
    other: Rows = {("task", "t"): {"at": "2026-01-01T13:00:00+00:00"}}
    assert list(differences(row, same)) == []
    assert len(list(differences(row, other))) == 1
