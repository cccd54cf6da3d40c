"""The critical path of a graph of tasks. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

ENDED = ("completed", "failed", "cancelled")


class Node(NamedTuple):
    """A task, and how much work it is."""

    id: UUID
    status: str
    estimate: float | None


def critical_path(
    nodes: Iterable[Node], edges: Iterable[tuple[UUID, UUID]]
) -> tuple[Sequence[UUID], float]:
    """The longest chain of tasks that have not ended, the first to be done first, and its length.

    An edge leads from a task to one that it depends on. Of chains that are equally long it is the
    one that ends with the first id, and so on backwards.
    """
    work = {node.id: node.estimate or 1.0 for node in nodes if node.status not in ENDED}
    upon: dict[UUID, list[UUID]] = {task: [] for task in work}
    for task, dependency in edges:
        if task in work and dependency in work:
            upon[task].append(dependency)
    length: dict[UUID, float] = {}
    before: dict[UUID, UUID | None] = {}
    for task in _in_order(upon):
        last = _longest(upon[task], length)
        before[task] = last
        length[task] = work[task] + (length[last] if last else 0.0)
    end = _longest(length, length)
    path: list[UUID] = []
    at = end
    while at is not None:
        path.append(at)
        at = before[at]
    return path[::-1], length[end] if end else 0.0


def _in_order(upon: Mapping[UUID, Sequence[UUID]]) -> list[UUID]:
    """Each task after those that it depends on; those in a circle are left out."""
    missing = {task: len(dependencies) for task, dependencies in upon.items()}
    above: dict[UUID, list[UUID]] = {task: [] for task in upon}
    for task, dependencies in upon.items():
        for dependency in dependencies:
            above[dependency].append(task)
    order = [task for task, count in missing.items() if not count]
    for task in order:  # which grows
        for each in above[task]:
            missing[each] -= 1
            if not missing[each]:
                order.append(each)
    return order


def _longest(tasks: Iterable[UUID], length: Mapping[UUID, float]) -> UUID | None:
    return min(tasks, key=lambda task: (-length[task], task), default=None)
