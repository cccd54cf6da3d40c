"""The moves of a task's status. Pure."""

MOVES: dict[str, tuple[str, ...]] = {
    "pending": ("in_progress", "blocked", "cancelled"),
    "in_progress": ("review", "blocked", "pending", "completed", "failed", "cancelled"),
    "review": ("in_progress", "pending", "completed", "failed", "cancelled"),
    "blocked": ("pending", "in_progress", "cancelled"),
    "completed": ("in_progress",),
    "failed": ("pending",),
    "cancelled": ("pending",),
}
# A task in one of these is never overdue.
ENDED = ("completed", "failed", "cancelled")


def sources(status: str) -> list[str]:
    """The statuses from which a task may go to `status`."""
    return [source for source, targets in MOVES.items() if status in targets]
