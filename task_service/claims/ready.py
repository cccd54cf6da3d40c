"""What is ready to be claimed, and which of the calls that wait could claim some of it."""

from collections.abc import Iterable
from functools import lru_cache
from uuid import UUID

from shared.resources.building import Row
from task_service.claims.claim import Claim, Worker

SHARED, OWN = "=", "@"


class Ready:
    """Lanes in which tasks are ready, and tasks that were asked for by their ids."""

    def __init__(self, rows: Iterable[Row]) -> None:
        """`rows` are those of CLAIMABLE."""
        self.soonest = float("inf")
        """In how many seconds something else will be ready."""
        self._lanes: set[str] = set()
        self._tasks: dict[UUID, str] = {}
        # What agents can do for whom nothing is ready in the lanes of all.
        self._hopeless: set[frozenset[str]] = set()
        for row in rows:
            if row["seconds"] > 0:
                self.soonest = min(self.soonest, row["seconds"])
            elif row["id"] is None:
                self._lanes.add(row["lane"])
            else:
                self._tasks[row["id"]] = row["lane"]

    def __bool__(self) -> bool:
        return bool(self._lanes or self._tasks)

    def concerns(self, claim: Claim, worker: Worker | None) -> bool:
        """Whether a claim may get some of it. `worker` is what is known of its agent."""
        if claim.task_ids:
            mine = (self._tasks.get(each) for each in claim.task_ids)
            return any(lane is not None and _can_do(lane, claim, worker) for lane in mine)
        if f"{OWN}{claim.agent_id}" in self._lanes:
            return True
        if worker is None:
            return bool(self._lanes)
        if worker.able not in self._hopeless:
            if any(_can_do(lane, claim, worker) for lane in self._lanes):
                return True
            self._hopeless.add(worker.able)
        return False

    def is_not_for(self, claim: Claim, worker: Worker | None) -> None:
        """A claim that could have got all that its agent can do has got nothing."""
        for each in claim.task_ids:
            self._tasks.pop(each, None)
        if not claim.task_ids:
            self._lanes = {lane for lane in self._lanes if not _can_do(lane, claim, worker)}


def _can_do(lane: str, claim: Claim, worker: Worker | None) -> bool:
    if lane.startswith(OWN):
        return lane == f"{OWN}{claim.agent_id}"
    return worker is None or _required(lane) <= worker.able


@lru_cache(maxsize=4096)
def _required(lane: str) -> frozenset[str]:
    """What is required for a lane of all agents; nothing for the first one."""
    return frozenset(lane[len(SHARED) :].split(",")) if lane != SHARED else frozenset()
