"""New tasks that refer to each other. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from shared.dependents.effects import initial
from shared.errors import Reason, Refusal, invalid_field

MAXIMUM_DEPENDENCIES = 1000
MAXIMUM_DEPTH = 10
# Of a circle.
REFS_NAMED = 100


@dataclass(frozen=True, slots=True)
class New:
    """A task that is to be created: its columns, and others of the batch by their names.

    `project_id` is the project if it is said.
    """

    values: Mapping[str, Any]
    ref: str = ""
    depends_on_refs: Sequence[str] = ()
    parent_ref: str = ""
    project_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """New tasks, each of which comes after those of the batch that it depends on in `order`.

    `upon` and `parents` are places in the batch.
    """

    tasks: Sequence[New]
    upon: Sequence[Sequence[int]]
    parents: Sequence[int | None]
    order: Sequence[int]

    @property
    def awaited(self) -> set[int]:
        """The places of those for which others wait."""
        return {place for places in self.upon for place in places}

    def root(self, place: int) -> int:
        """The place of the outermost task of the batch that one is a part of, if not itself."""
        while (parent := self.parents[place]) is not None:
            place = parent
        return place


def resolve(tasks: Sequence[New]) -> Batch:
    """The batch that tasks make. Raises Refusal: INVALID_FIELD, DEPENDENCY_CYCLE."""
    places = _places(tasks)
    upon = [_upon(number, task, places) for number, task in enumerate(tasks)]
    parents = [_parent(number, task, places) for number, task in enumerate(tasks)]
    for number in range(len(tasks)):
        _require_depth(number, parents)
    return Batch(tasks, upon, parents, _in_order(tasks, upon))


def depth(batch: Batch, place: int) -> int:
    """How many tasks of the batch one is a part of, one in the other."""
    found = 0
    while (parent := batch.parents[place]) is not None:
        place, found = parent, found + 1
    return found


def states(batch: Batch, ids: Sequence[UUID], outside: Mapping[UUID, str]) -> list[dict[str, Any]]:
    """The columns of each task that follow from the batch, and from the statuses `outside`."""
    statuses = dict.fromkeys(range(len(ids)), "pending")
    found: list[dict[str, Any]] = [{} for _ in ids]
    for place in batch.order:
        values, upon = batch.tasks[place].values, batch.upon[place]
        listed = [*values["dependencies"], *(str(ids[each]) for each in upon)]
        parent = batch.parents[place]
        columns: dict[str, Any] = {"id": ids[place], "dependencies": listed}
        if parent is not None:
            columns["parent_id"] = ids[parent]
        if values["dependency_policy"] == "wait":
            known = [outside[UUID(each)] for each in values["dependencies"]]
            known += [statuses[each] for each in upon]
            columns |= initial(values["on_dependency_failure"], known)
        statuses[place] = columns.get("status", "pending")
        found[place] = columns
    return found


def _places(tasks: Iterable[New]) -> dict[str, int]:
    places: dict[str, int] = {}
    for number, task in enumerate(tasks):
        if task.ref in places:
            raise invalid_field(f"tasks[{number}].ref", "is that of another task of the batch")
        if task.ref:
            places[task.ref] = number
    return places


def _upon(number: int, task: New, places: Mapping[str, int]) -> list[int]:
    path = f"tasks[{number}].depends_on_refs"
    unknown = [ref for ref in task.depends_on_refs if ref not in places]
    if unknown:
        raise invalid_field(path, f'has "{unknown[0]}", which is no task of the batch')
    if len(task.depends_on_refs) + len(task.values["dependencies"]) > MAXIMUM_DEPENDENCIES:
        limit = f"must have at most {MAXIMUM_DEPENDENCIES:,} items with task.dependencies"
        raise invalid_field(path, limit)
    if task.depends_on_refs and task.values["dependency_policy"] != "wait":
        policy = f"tasks[{number}].task.dependency_policy"
        raise invalid_field(policy, "must be DEPENDENCY_POLICY_WAIT with depends_on_refs")
    return [places[ref] for ref in task.depends_on_refs]


def _parent(number: int, task: New, places: Mapping[str, int]) -> int | None:
    path = f"tasks[{number}].parent_ref"
    if not task.parent_ref:
        return None
    if task.values.get("parent_id"):
        raise invalid_field(path, "must not be set together with task.parent_id")
    if task.parent_ref not in places:
        raise invalid_field(path, f'is "{task.parent_ref}", which is no task of the batch')
    return places[task.parent_ref]


def _require_depth(number: int, parents: Sequence[int | None]) -> None:
    place: int | None = number
    for _ in range(MAXIMUM_DEPTH + 1):
        if place is None or (place := parents[place]) is None:
            return
    limit = f"must be part of at most {MAXIMUM_DEPTH} others, one in the other"
    raise invalid_field(f"tasks[{number}].parent_ref", limit)


def _in_order(tasks: Sequence[New], upon: Sequence[Sequence[int]]) -> list[int]:
    missing = [len(places) for places in upon]
    above: list[list[int]] = [[] for _ in tasks]
    for number, places in enumerate(upon):
        for place in places:
            above[place].append(number)
    order = [number for number, count in enumerate(missing) if not count]
    for number in order:  # which grows
        for place in above[number]:
            missing[place] -= 1
            if not missing[place]:
                order.append(place)
    if len(order) < len(tasks):
        raise _circle([tasks[place].ref for place in _circle_in(upon, set(order))])
    return order


def _circle_in(upon: Sequence[Sequence[int]], free: set[int]) -> list[int]:
    """A circle among the places that are not free: each depends on one of them, too."""
    walked: dict[int, None] = {}
    place = next(number for number in range(len(upon)) if number not in free)
    while place not in walked:
        walked[place] = None
        place = next(each for each in upon[place] if each not in free)
    found = list(walked)
    return found[found.index(place) :]


def _circle(refs: Sequence[str]) -> Refusal:
    named = ",".join(refs[:REFS_NAMED])
    message = f"{len(refs)} tasks of the batch depend on each other in a circle: {named}."
    return Refusal(Reason.DEPENDENCY_CYCLE, message, {"refs": named, "total": str(len(refs))})
