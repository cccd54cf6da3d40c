"""What an agent asks for, and what it gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from shared.database.pool import Record
from task_service.presence.rules import Sign


@dataclass(frozen=True, slots=True)
class Claim:
    """What an agent asks for. `only` narrows what it can do; `task_ids` name the tasks, if any."""

    project_id: UUID
    agent_id: UUID
    number: int
    seconds: int
    only: Sequence[str] | None = None
    task_ids: Sequence[UUID] = ()
    wait: float = 0.0

    @property
    def parameters(self) -> Mapping[str, Any]:
        """As the statement takes them."""
        names = {"task_ids": self.task_ids} if self.task_ids else {}
        return {
            "project_id": self.project_id,
            "agent_id": self.agent_id,
            "number": self.number,
            "seconds": self.seconds,
            "only": self.only,
            **names,
        }


@dataclass(frozen=True, slots=True)
class Worker:
    """An agent as a claim has found it: what it can do, and how many more tasks it could hold."""

    able: frozenset[str]
    free: int
    revision: int
    sign: Sign


@dataclass(frozen=True, slots=True)
class Claimed:
    """Tasks that are claimed for `seconds`, and what the agent should know of each, by its id.

    `is_cut`: something is left out, because a response has no room for it.
    """

    rows: Sequence[Mapping[str, Any]]
    seconds: int
    previous: Mapping[UUID, list[Record]] = field(default_factory=dict)
    inputs: Mapping[UUID, list[Record]] = field(default_factory=dict)
    is_cut: bool = False

    @property
    def leases(self) -> Mapping[str, Any]:
        """What the agent holds, as a statement takes it."""
        return {
            "project_id": self.rows[0]["project_id"],
            "agent_id": self.rows[0]["assigned_agent_id"],
            "task_ids": [row["id"] for row in self.rows],
            "fences": [row["fence"] for row in self.rows],
        }
