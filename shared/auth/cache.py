"""What is remembered for a while, within limits."""

from typing import Any, Generic, TypeVar

V = TypeVar("V")


class Cache(Generic[V]):
    """A dict that forgets what it has had for longest when it is full."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: dict[Any, V] = {}

    def get(self, key: Any) -> V | None:
        """The value, None where there is none."""
        return self._entries.get(key)

    def put(self, key: Any, value: V) -> None:
        """Remember a value from now on."""
        self._entries.pop(key, None)
        if len(self._entries) >= self._size:
            del self._entries[next(iter(self._entries))]
        self._entries[key] = value
