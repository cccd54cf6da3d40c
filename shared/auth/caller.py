"""Who calls."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Caller(ABC):
    """Somebody active who has proved who they are: a User or an Agent. `name` is for the log."""

    id: UUID
    name: str

    @property
    @abstractmethod
    def rights(self) -> dict[str, Any]:
        """The parameters of the statements that decide access."""


@dataclass(frozen=True, slots=True)
class User(Caller):
    """A user, who reaches what is in their projects; a superuser, all."""

    email: str
    full_name: str | None
    is_superuser: bool

    @property
    def rights(self) -> dict[str, Any]:
        return {"caller_id": self.id, "caller_agent_id": None, "superuser": self.is_superuser}


@dataclass(frozen=True, slots=True)
class Agent(Caller):
    """An agent of a project, who reaches itself and its tasks; what its API key is for."""

    project_id: UUID
    capabilities: list[str]

    @property
    def rights(self) -> dict[str, Any]:
        # The id of an agent may be that of a user, too, where both came from an older system.
        return {"caller_id": None, "caller_agent_id": self.id, "superuser": False}


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
