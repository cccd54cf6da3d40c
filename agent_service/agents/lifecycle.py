"""The moves of an agent's status. Pure."""

MOVES: dict[str, tuple[str, ...]] = {
    "offline": ("online", "error"),
    "online": ("offline", "busy", "error"),
    "busy": ("online", "offline", "error"),
    "error": ("offline", "online"),
}


def sources(status: str) -> list[str]:
    """The statuses from which an agent may go to `status`."""
    return [source for source, targets in MOVES.items() if status in targets]
