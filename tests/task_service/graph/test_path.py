"""The critical path, and the order within a batch. Pure."""

from uuid import UUID

import pytest

from shared.errors import Reason, Refusal
from task_service.graph.batch import New, resolve
from task_service.graph.path import Node, critical_path

A, B, C, D = (UUID(int=number) for number in range(1, 5))


def node(task: UUID, estimate: float | None = None, status: str = "pending") -> Node:
    return Node(task, status, estimate)


def new(ref: str, *upon: str, parent_ref: str = "", policy: str = "wait") -> New:
    return New({"dependencies": [], "dependency_policy": policy}, ref, upon, parent_ref)


@pytest.mark.parametrize(
    ("nodes", "edges", "path", "length"),
    [
        ([], [], [], 0.0),
        ([node(B), node(A)], [], [A], 1.0),
        ([node(A), node(B), node(C)], [(B, A), (C, B)], [A, B, C], 3.0),
        # By the estimates, not by the number.
        ([node(A), node(B), node(C), node(D, 2.5)], [(B, A)], [D], 2.5),
        ([node(A, 2), node(B), node(C, 0.5)], [(C, A), (C, B)], [A, C], 2.5),
        # What has ended is not waited for.
        ([node(A, 9, "completed"), node(B), node(C)], [(B, A), (C, B)], [B, C], 2.0),
        # Of two that are equally long, the one with the first id.
        ([node(A), node(B), node(C), node(D)], [(C, B), (D, A)], [B, C], 2.0),
        ([node(A), node(B), node(C)], [(C, B), (C, A)], [A, C], 2.0),
        # An edge to a task that is not shown.
        ([node(B)], [(B, A)], [B], 1.0),
    ],
)
def test_the_critical_path(
    nodes: list[Node], edges: list[tuple[UUID, UUID]], path: list[UUID], length: float
) -> None:
    assert critical_path(nodes, edges) == (path, length)


def test_tasks_of_a_batch_come_after_those_that_they_wait_for() -> None:
    batch = resolve([new("c", "b", "a"), new("b", "a"), new("a"), new("", "c")])
    assert list(batch.order) == [2, 1, 0, 3]
    assert batch.awaited == {0, 1, 2}


@pytest.mark.parametrize(
    ("tasks", "path"),
    [
        ([new("a"), new("a")], "tasks[1].ref"),
        ([new("a"), new("b", "c")], "tasks[1].depends_on_refs"),
        ([new("a"), new("b", parent_ref="c")], "tasks[1].parent_ref"),
        ([new("a"), new("b", "a", policy="strict")], "tasks[1].task.dependency_policy"),
        ([new("a", parent_ref="a")], "tasks[0].parent_ref"),
        ([new("0"), *(new(str(n), parent_ref=str(n - 1)) for n in range(1, 12))], "tasks[11]."),
    ],
)
def test_a_batch_that_cannot_be(tasks: list[New], path: str) -> None:
    with pytest.raises(Refusal) as raised:
        resolve(tasks)
    assert raised.value.reason is Reason.INVALID_FIELD
    (field,) = raised.value.fields
    assert field.subject.startswith(path)


@pytest.mark.parametrize(
    ("tasks", "refs"),
    [
        ([new("a", "a")], "a"),
        ([new("a"), new("b", "a", "c"), new("c", "b"), new("d", "c")], "b,c"),
    ],
)
def test_a_circle_names_who_is_in_it(tasks: list[New], refs: str) -> None:
    with pytest.raises(Refusal) as raised:
        resolve(tasks)
    assert raised.value.reason is Reason.DEPENDENCY_CYCLE
    assert raised.value.metadata["refs"] == refs
