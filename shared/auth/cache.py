"""A cache with a limit."""

from typing import Any, TypeVar

V = TypeVar("V")


class Cache(dict[Any, V]):
    """A dict of up to `size` entries that forgets the oldest one when it is full."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def put(self, key: Any, value: V) -> None:
        """Remember a value; it is the newest one then, also if the key was known."""
        self.pop(key, None)
        if len(self) >= self._size:
            del self[next(iter(self))]
        self[key] = value
