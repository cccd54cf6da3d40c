"""Which events a watch sends, decided in Python: each is read once, for all who watch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple
from uuid import UUID

from task_service.events.visible import Sight

AGENT = "agent"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is looked at in an event.

    `assignees` are those of the task after the event, and before it, if the event is about a task:
    the kind and the id. `rooms` are the room that the event is about or in whose it is.
    """

    type: str
    kind: str
    resource_id: UUID
    assignees: frozenset[tuple[str, str]] = frozenset()
    rooms: frozenset[str] = frozenset()

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Facts":
        """Those of a row of the log, whose JSON was read."""
        kind, resource_id = row["resource_type"], row["resource_id"]
        if kind == "room":
            return cls(row["type"], kind, resource_id, rooms=frozenset({str(resource_id)}))
        if kind not in ("task", "participant"):
            return cls(row["type"], kind, resource_id)
        after = row["after"]
        states = (after, {**after, **(row["before"] or {})})
        rooms = frozenset(state["room_id"] for state in states if state.get("room_id"))
        assignees = frozenset(
            (state["assigned_to_type"], state["assigned_to"])
            for state in states
            if kind == "task" and state.get("assigned_to")
        )
        return cls(row["type"], kind, resource_id, assignees, rooms)


class Start(NamedTuple):
    """Where a watch begins: after a number of a log, None: from now on; or with a snapshot."""

    after: int | None
    log_id: UUID | None
    snapshot: bool


@dataclass(frozen=True)
class Selection:
    """Filters, None for each that is not set; `own` is the agent to whom only its own is shown."""

    kinds: frozenset[str] | None = None
    types: frozenset[str] | None = None
    resource_ids: frozenset[UUID] | None = None
    assigned_to: UUID | None = None
    room_id: UUID | None = None
    own: UUID | None = None

    def of(self, sight: Sight) -> "Selection":
        """The same, for a caller who sees this."""
        return replace(self, own=sight.own)

    def matches(self, event: Facts) -> bool:
        """Whether the event is to be sent."""
        if self.kinds is not None and event.kind not in self.kinds:
            return False
        if self.types is not None and event.type not in self.types:
            return False
        if self.resource_ids is not None and event.resource_id not in self.resource_ids:
            return False
        if self.assigned_to is not None and not _is_assigned(event, str(self.assigned_to)):
            return False
        if self.room_id is not None and str(self.room_id) not in event.rooms:
            return False
        return self.own is None or _is_own(event, self.own)


def _is_assigned(event: Facts, assignee_id: str) -> bool:
    return any(found == assignee_id for _, found in event.assignees)


def _is_own(event: Facts, agent_id: UUID) -> bool:
    if event.kind == AGENT:
        return event.resource_id == agent_id
    return (AGENT, str(agent_id)) in event.assignees
