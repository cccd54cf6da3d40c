"""Which events of a log a caller may see."""

from dataclasses import dataclass
from uuid import UUID

from shared.auth.access import Reach, Standing, may, reach, require
from shared.auth.caller import Agent, Caller, User
from shared.auth.permissions import Permission
from shared.errors import Reason, events_compacted, log_rewound, not_found
from shared.resources.building import Row

READ = Permission.READ_EVENTS


@dataclass(frozen=True, slots=True)
class Sight:
    """What a caller sees of a log: all of it, or only what is the own of the agent `own`.

    What is its own, queries.OWN says in SQL, and Selection.matches in Python.
    """

    own: UUID | None


def shown_own(caller: Caller) -> bool:
    """Whether a caller sees no more of any log than what is its own."""
    return reach(caller, READ) is Reach.OWN


def sight(caller: Caller, project_id: UUID, head: Row | None) -> Sight:
    """What a caller sees of the log with this head, a row of queries.LOG or queries.page.

    To others than its last owner and superusers, a project that is deleted is one that there never
    was; so is the nil project, whose log has no owner.

    Raises Refusal: PROJECT_NOT_FOUND, and those of `access.require`.
    """
    if head is None or (head["is_deleted"] and not _saw_the_end(caller, head)):
        raise not_found(Reason.PROJECT_NOT_FOUND, project_id)
    if head["is_deleted"]:
        return Sight(None)
    is_of_project = isinstance(caller, Agent) and caller.project_id == project_id
    standing = Standing(project_id, head["found_role"], is_of_project)
    require(caller, READ, standing, named=True)
    return Sight(None if may(caller, READ, standing._replace(is_own=False)) else caller.id)


def require_position(head: Row, after: int, log_id: UUID | None) -> None:
    """Raise a Refusal unless the log can be read on from a number, 0 for its beginning.

    It is LOG_REWOUND if that is in another log (None: any) or still to come, and EVENTS_COMPACTED
    if what comes next is not kept any more.
    """
    if log_id not in (None, head["log_id"]) or after > head["last"]:
        raise log_rewound(head["last"], head["log_id"])
    if after and after + 1 < head["first"]:
        raise events_compacted(head["first"])


def _saw_the_end(caller: Caller, head: Row) -> bool:
    return isinstance(caller, User) and (caller.is_superuser or caller.id == head["owner_id"])
