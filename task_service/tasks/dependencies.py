"""What a task may depend on. Pure: facts in, failures out."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from shared.errors import Reason, Refusal, Violation

DESCRIPTIONS = {
    Reason.DEPENDENCY_NOT_FOUND: "does not exist",
    Reason.DEPENDENCY_OUTSIDE_PROJECT: "is a task of another project",
    Reason.DEPENDENCY_CYCLE: "depends on this task, or is this task",
    Reason.DEPENDENCY_NOT_COMPLETED: "is not completed",
}
FUNDAMENTAL_FIRST = tuple(DESCRIPTIONS)


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the dependencies that a task is to have.

    `statuses` are those of the tasks of its project, `elsewhere` are tasks of other projects,
    `dependents` depend on it, directly or through others; it is one of them itself. A task that
    `waits` may depend on what is not completed.
    """

    statuses: Mapping[UUID, str]
    elsewhere: Collection[UUID] = ()
    dependents: Collection[UUID] = ()
    waits: bool = False


def failures(wanted: Iterable[UUID], facts: Facts) -> list[tuple[UUID, Reason]]:
    """Each dependency that a task cannot have, with why: the most fundamental reasons first."""
    found = [(task, reason) for task in wanted if (reason := _failure(task, facts))]
    return sorted(found, key=lambda failure: FUNDAMENTAL_FIRST.index(failure[1]))


def require_possible(wanted: Iterable[UUID], facts: Facts) -> None:
    """Raise Refusal for the first of the failures, naming all of them."""
    found = failures(wanted, facts)
    if not found:
        return
    task, reason = found[0]
    others = f", and {len(found) - 1} more cannot be depended on" if len(found) > 1 else ""
    raise Refusal(
        reason,
        f"The dependency {task} {DESCRIPTIONS[reason]}{others}.",
        preconditions=[Violation(str(t), DESCRIPTIONS[r], r.name) for t, r in found],
    )


def _failure(task: UUID, facts: Facts) -> Reason | None:
    if task in facts.elsewhere:
        return Reason.DEPENDENCY_OUTSIDE_PROJECT
    if task not in facts.statuses:
        return Reason.DEPENDENCY_NOT_FOUND
    if task in facts.dependents:
        return Reason.DEPENDENCY_CYCLE
    if facts.statuses[task] != "completed" and not facts.waits:
        return Reason.DEPENDENCY_NOT_COMPLETED
    return None
