"""What leases and dependencies are, in Python: what the service has to agree with after each call.

It knows nothing of statements, locks and counters: what a task waits for is counted anew each time.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

LIVE_ATTEMPT = "under way"
ENDED = {"completed", "failed", "cancelled"}
LOST = {"failed", "cancelled"}
WAITING = {"dependencies", "dependency_failed"}
GIVES_UP = {"cancel": "cancelled", "fail": "failed"}


@dataclass
class Task:
    """A task as the model has it."""

    id: str
    on_failure: str
    max_attempts: int
    rank: int
    lock_key: str | None
    requires: str
    depends_on: set[str] = field(default_factory=set)
    status: str = "pending"
    reason: str | None = None
    assigned: str | None = None
    attempt: int = 0
    fence: int = 0
    releases: int = 0
    open: int = 0
    is_later: bool = False
    is_preferred: bool = False
    is_leased: bool = False
    is_pooled: bool = False
    is_to_be_cancelled: bool = False
    asked: dict[str, bool] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether it is blocked because it waits for others, and only for that."""
        return self.status == "blocked" and self.reason in WAITING

    def shown(self) -> tuple[object, ...]:
        """What of it the database must have, too."""
        return (
            self.status,
            self.reason,
            self.assigned,
            self.attempt,
            self.fence,
            self.open,
            self.is_leased,
            self.is_to_be_cancelled,
        )


class Model:
    """The tasks of a project."""

    def __init__(self) -> None:
        self.tasks: dict[str, Task] = {}

    def create(self, task: Task) -> None:
        """A task that waits for its dependencies if there are open ones."""
        self.tasks[task.id] = task
        task.open = self._count(task)
        if task.open:
            task.status = self._gives_up(task) or "blocked"
            task.reason = self._reason(task)

    def claimable(self, agent: str, able: set[str]) -> list[Task]:
        """What an agent that can do this could be given, if it had slots enough."""
        return [task for task in self.tasks.values() if self._is_for(task, agent, able)]

    def claim(self, task: Task, agent: str) -> None:
        """The next lease of a task."""
        task.is_pooled = task.assigned is None or task.is_preferred
        task.status, task.reason, task.assigned = "in_progress", None, agent
        task.fence, task.attempt = task.fence + 1, task.attempt + 1
        task.is_leased, task.is_preferred, task.is_later = True, False, False
        task.outcomes[task.fence] = LIVE_ATTEMPT

    def complete(self, task: Task) -> None:
        """The holder has done it, even if it was asked to stop."""
        self._end(task, "completed")
        self.move(task, "completed")

    def fail(self, task: Task, *, retryable: bool) -> None:
        """The holder could not do it."""
        self._try_again(task, "failed", "attempt_failed", None if retryable else "not_retryable")

    def expire(self, task: Task) -> None:
        """The holder has given no sign."""
        is_over = task.is_to_be_cancelled or task.attempt >= task.max_attempts
        self._try_again(task, "expired", "lease_expired", None)
        task.is_later = not is_over

    def release(self, task: Task) -> None:
        """The holder gives it back."""
        self._end(task, "released")
        task.attempt, task.releases = task.attempt - 1, task.releases + 1
        self._free(task, None)

    def ask(self, task: Task, key: str) -> None:
        """The holder asks for input, and is preferred when that is there."""
        self._end(task, "released")
        task.attempt, task.asked[key] = task.attempt - 1, False
        task.is_preferred = task.is_pooled
        self.leave(task, "blocked", "input")

    def answer(self, task: Task, key: str) -> None:
        """What it has asked for."""
        task.asked[key] = True
        self.move(task, "pending")

    def override(self, task: Task, status: str) -> None:
        """Somebody else moves or assigns it, which ends the lease, if there is one."""
        if task.is_leased:
            self._end(task, "overridden")
            task.is_preferred = task.is_pooled
        if status == "pending":
            self._share(task)
        task.is_preferred = False

    def leave(self, task: Task, status: str, reason: str | None = None) -> None:
        """Another status. If it is to be cancelled, and has not ended so, that is done then."""
        is_due = task.is_to_be_cancelled
        self.move(task, status, reason)
        if is_due and task.status not in ENDED:
            self._share(task)
            self.move(task, "cancelled", "cancel_requested")

    def assign(self, task: Task, agent: str | None) -> None:
        """Another assignee, or none: the agent that holds it loses it, and has not failed."""
        task.is_preferred = False
        if task.assigned != agent:
            is_leased, task.assigned = task.is_leased, agent
            if is_leased:
                self._end(task, "overridden")
                task.attempt -= 1
                self.leave(task, "pending")

    def cancel(self, task: Task, *, at_once: bool) -> None:
        """At once, or when the holder is ready for it."""
        if task.is_leased and not at_once:
            task.is_to_be_cancelled = True
            return
        if task.is_leased:
            self._end(task, "cancelled")
            task.is_preferred = task.is_pooled
        self._share(task)
        self.move(task, "cancelled", "cancel_requested")

    def retry(self, task: Task) -> None:
        """New attempts for one that has failed or was cancelled."""
        task.attempt = task.releases = 0
        task.is_later = task.is_preferred = False
        self.move(task, "pending")

    def move(self, task: Task, status: str, reason: str | None = None) -> None:
        """Another status, and what follows from that for those that wait."""
        before, task.status, task.reason = task.status, status, reason
        task.is_to_be_cancelled = False
        if status == "pending":
            self._hold_back(task)
        self._told(task, before)

    def depend(self, task: Task, on: Task) -> None:
        """One more dependency."""
        task.depends_on.add(on.id)
        self._recount(task, is_lost=on.status in LOST)

    def no_longer_depend(self, task: Task, on: Task) -> None:
        """One dependency fewer."""
        task.depends_on.discard(on.id)
        self._recount(task, is_lost=False)

    def delete(self, task: Task) -> None:
        """Nothing depends on it any more."""
        waiting = list(self._waiting_for(task))
        for other in waiting:
            other.depends_on.discard(task.id)
        del self.tasks[task.id]
        for other in waiting:
            self._recount(other, is_lost=False)

    def would_be_cycle(self, task: Task, on: Task) -> bool:
        """Whether one that depends on the other cannot be depended on by it."""
        return task is on or any(
            self.would_be_cycle(task, self.tasks[above]) for above in on.depends_on
        )

    def _is_for(self, task: Task, agent: str, able: set[str]) -> bool:
        if task.status != "pending" or task.is_later:
            return False
        is_free = task.lock_key is None or not any(
            other.is_leased and other.lock_key == task.lock_key for other in self.tasks.values()
        )
        is_able = task.assigned is None and (not task.requires or task.requires in able)
        return is_free and (task.assigned == agent or is_able)

    def _try_again(self, task: Task, outcome: str, reason: str, final: str | None) -> None:
        is_swept = task.is_to_be_cancelled and outcome == "expired"
        self._end(task, "cancelled" if is_swept else outcome)
        if not is_swept and (final or task.attempt >= task.max_attempts):
            task.is_preferred = task.is_pooled
            self._share(task)
            self.move(task, "failed", final or "attempts_exhausted")
        else:
            self._free(task, reason)

    def _free(self, task: Task, reason: str | None) -> None:
        task.is_preferred = task.is_pooled
        self._share(task)
        self.leave(task, "pending", reason)

    def _share(self, task: Task) -> None:
        """It is for all again if an agent was only preferred, or had it of all."""
        if task.is_preferred:
            task.assigned, task.is_preferred = None, False

    def _end(self, task: Task, outcome: str) -> None:
        task.is_leased = False
        task.outcomes[task.fence] = outcome

    def _hold_back(self, task: Task) -> None:
        task.open = self._count(task)
        if task.open:
            task.status, task.reason = self._gives_up(task) or "blocked", self._reason(task)
        if task.status in LOST:
            self._share(task)

    def _told(self, task: Task, before: str) -> None:
        for other in list(self._waiting_for(task)):
            is_lost = task.status in LOST and before not in LOST
            self._recount(other, is_lost=is_lost)

    def _recount(self, task: Task, *, is_lost: bool) -> None:
        task.open = self._count(task)
        may_begin = task.waits or task.status == "pending"
        is_hit = may_begin or (is_lost and task.status == "blocked")
        if is_hit and task.open and (gives_up := self._gives_up(task)):
            self._share(task)
            self.move(task, gives_up, "dependency_failed")
        elif not may_begin:
            return
        elif task.open:
            task.status, task.reason = "blocked", self._reason(task)
        elif task.waits:
            task.status, task.reason = "pending", None

    def _waiting_for(self, task: Task) -> Iterator[Task]:
        return (other for other in self.tasks.values() if task.id in other.depends_on)

    def _count(self, task: Task) -> int:
        done = {"completed", *(LOST if task.on_failure == "ignore" else ())}
        return sum(self.tasks[above].status not in done for above in task.depends_on)

    def _has_lost(self, task: Task) -> bool:
        is_lost = any(self.tasks[above].status in LOST for above in task.depends_on)
        return is_lost and task.on_failure != "ignore"

    def _gives_up(self, task: Task) -> str | None:
        """What a task becomes that waits for what is lost, if it is to end with that."""
        return GIVES_UP.get(task.on_failure) if self._has_lost(task) else None

    def _reason(self, task: Task) -> str:
        return "dependency_failed" if self._has_lost(task) else "dependencies"
