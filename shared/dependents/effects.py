"""What the status of a task means for those that depend on it and wait. Pure."""

from collections.abc import Iterable
from typing import Any, NamedTuple

# A dependency with one of these will not be completed, unless it is retried.
LOST = ("failed", "cancelled")
# What becomes of a task that waits if a dependency is lost, and what it waits for no longer.
GIVES_UP = {"cancel": "cancelled", "fail": "failed"}
IGNORES = "ignore"


class Effect(NamedTuple):
    """What a move does to each task that waits for the one that has moved.

    How many more tasks it waits for, and how many more if it ignores those that are lost; and
    whether a dependency `is_lost` now.
    """

    step: int
    step_if_ignored: int
    is_lost: bool


def effect(before: str, after: str) -> Effect | None:
    """The effect of a move between two statuses; None if there is none."""
    step = _is_open(after, "") - _is_open(before, "")
    step_if_ignored = _is_open(after, IGNORES) - _is_open(before, IGNORES)
    is_lost = after in LOST and before not in LOST
    if step or step_if_ignored or is_lost:
        return Effect(step, step_if_ignored, is_lost)
    return None


def initial(on_failure: str, statuses: Iterable[str]) -> dict[str, Any]:
    """The columns of a new task that waits for tasks with these statuses, where they matter."""
    known = list(statuses)
    is_open = sum(_is_open(status, on_failure) for status in known)
    if not is_open:
        return {}
    is_lost = on_failure != IGNORES and any(status in LOST for status in known)
    return {
        "status": GIVES_UP.get(on_failure, "blocked") if is_lost else "blocked",
        "status_reason": "dependency_failed" if is_lost else "dependencies",
        "open_dependencies": is_open,
    }


def _is_open(status: str, on_failure: str) -> bool:
    """Whether a task with this status is waited for."""
    return status != "completed" and not (on_failure == IGNORES and status in LOST)
