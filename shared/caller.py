"""Who calls."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Caller:
    """An active user who has proved who they are."""

    id: UUID
    username: str
    email: str
    full_name: str | None
    is_superuser: bool

    @property
    def rights(self) -> dict[str, Any]:
        """The parameters of the statements that decide access."""
        return {"caller_id": self.id, "superuser": self.is_superuser}


@dataclass(frozen=True, slots=True)
class Call:
    """The call that is being served.

    `token` is what the caller sent: passed on, never logged. It ends at `token_expires_at`, seconds
    since 1970. `trace` is the W3C trace context in the metadata, `time_remaining` tells the seconds
    to the caller's deadline, None without one.
    """

    method: str
    request_id: str
    caller: Caller | None = None
    token: str = field(default="", repr=False)
    token_expires_at: float = 0.0
    trace: tuple[tuple[str, str], ...] = ()
    time_remaining: Callable[[], float | None] = lambda: None


current_call: ContextVar[Call] = ContextVar("current_call")


def caller() -> Caller:
    """Who makes the call that is being served; the interceptor has refused everybody else."""
    found = current_call.get().caller
    assert found is not None
    return found
