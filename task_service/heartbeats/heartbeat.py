"""What an agent says of the leases that it holds, and what it is answered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from shared.database.pool import Record


@dataclass(frozen=True)
class Heartbeats:
    """Leases of one agent, each by its task and its fence, and the progress of some of them."""

    project_id: UUID
    agent_id: UUID
    task_ids: Sequence[UUID]
    fences: Sequence[int]
    progress: Sequence[dict[str, Any] | None]

    @cached_property
    def parameters(self) -> Mapping[str, Any]:
        """As the statements take them."""
        return {
            "project_id": self.project_id,
            "agent_id": self.agent_id,
            "task_ids": self.task_ids,
            "fences": self.fences,
        }


class Beaten(NamedTuple):
    """What has become of leases: those that are renewed, and of others how their attempt ended."""

    asked: Heartbeats
    held: Mapping[UUID, Record]
    outcomes: Mapping[UUID, str | None]
