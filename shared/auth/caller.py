"""Who calls, and the call that is being served."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from uuid import UUID

from shared.auth.permissions import Scope, permitted_in


@dataclass(frozen=True)
class Caller(ABC):
    """An active user or agent that has proved its identity. `name` is for the log."""

    id: UUID
    name: str

    @property
    @abstractmethod
    def rights(self) -> Mapping[str, Any]:
        """What decides access, and who acts: parameters that a statement takes if it names them."""

    @property
    @abstractmethod
    def as_creator(self) -> Mapping[str, Any]:
        """The columns of a row that say that the caller created it."""


@dataclass(frozen=True)
class User(Caller):
    """A user, who may what the user's role in a project permits; a superuser may everything."""

    email: str
    full_name: str | None
    is_superuser: bool
    created_at: datetime | None = None
    updated_at: datetime | None = None
    revision: int = 1

    @cached_property
    def rights(self) -> Mapping[str, Any]:
        return {
            "caller_id": self.id,
            "caller_agent_id": None,
            "superuser": self.is_superuser,
            **permitted_in(None, frozenset()),
            "actor_type": "user",
            "actor_id": self.id,
            "actor_api_key_id": None,
        }

    @cached_property
    def as_creator(self) -> Mapping[str, Any]:
        return {"created_by": self.id}


@dataclass(frozen=True)
class Agent(Caller):
    """An agent of a project: itself, its tasks, and what the scopes of its API key permit.

    `api_key_id` is the key that its token was given for, if any; `capabilities` say what that is
    meant for, and are not evaluated.
    """

    project_id: UUID
    capabilities: list[str]
    scopes: frozenset[Scope] = frozenset()
    api_key_id: UUID | None = None

    @cached_property
    def rights(self) -> Mapping[str, Any]:
        # The id of an agent may also be that of a user, if both came from an older system.
        return {
            "caller_id": None,
            "caller_agent_id": self.id,
            "superuser": False,
            **permitted_in(self.project_id, self.scopes),
            "actor_type": "agent",
            "actor_id": self.id,
            "actor_api_key_id": self.api_key_id,
        }

    @cached_property
    def as_creator(self) -> Mapping[str, Any]:
        return {"created_by_agent_id": self.id}


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
NO_CALL = Call("", "")
# https://www.w3.org/TR/trace-context/: a version but ff, and ids that are not all zeros. Versions
# after the first may have more behind the flags.
TRACEPARENT = re.compile(
    r"(?:00-(?=[^-]*-[^-]*-[^-]*\Z)|(?!00|ff)[0-9a-f]{2}-)"
    r"(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
)


def caller() -> Caller:
    """The caller of the call that is being served; the interceptor has refused all others."""
    found = current_call.get().caller
    assert found is not None
    return found


def log_fields() -> Mapping[str, str]:
    """What every line of the log has that is written within a call.

    The span is the one of the W3C trace context that came with the call: its caller's.
    """
    call = current_call.get(NO_CALL)
    if call is NO_CALL:
        return {}
    parents = [value for key, value in call.trace if key == "traceparent"] if call.trace else []
    found = TRACEPARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None:
        return {"request_id": call.request_id}
    return {"request_id": call.request_id, "trace_id": found[1], "span_id": found[2]}


def offered(caller: Caller) -> Mapping[str, Any]:
    """What is offered to a statement that changes something: the rights, and which call it is."""
    call = current_call.get(NO_CALL)
    called = {"called_method": call.method[1:], "called_request_id": call.request_id}
    return {**caller.rights, **called}
