"""Tells those who wait for changes that this process has committed one, which they see at once."""

from collections.abc import Callable

_listeners: list[Callable[[], None]] = []


def listen(listener: Callable[[], None]) -> None:
    """Call `listener`, which must be quick and raise nothing, at each commit from now on."""
    _listeners.append(listener)


def ignore(listener: Callable[[], None]) -> None:
    """Undo `listen`."""
    _listeners.remove(listener)


def committed() -> None:
    """This process has committed something that is in a log."""
    for listener in _listeners:
        listener()
