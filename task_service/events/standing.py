"""What a caller may read of a log for now: it is looked at again while a watch lasts."""

from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from shared.auth.caller import Agent, Caller, User
from shared.auth.permissions import Permission, Scope
from shared.errors import Reason, Refusal, caller_inactive, not_found
from shared.events.vocabulary import NIL
from shared.resources.building import Row
from task_service.events.visible import Sight, sight


class Standing(NamedTuple):
    """What a caller sees of a log, and how that stands.

    `keys` says whether a snapshot may have API keys, `is_gone` that the project was deleted.
    """

    log_id: UUID
    first: int
    last: int
    sight: Sight
    keys: bool
    is_gone: bool


def begin(caller: Caller, project_id: UUID, row: Row | None) -> Standing:
    """What a caller may read who begins to; `row` is one of queries.LOG. Raises as `sight`."""
    seen = sight(caller, project_id, row)
    assert row is not None, "it is refused"
    return _of(caller, project_id, row, seen)


def go_on(caller: Caller, project_id: UUID, row: Row) -> Standing:
    """What a caller may read who has read before, by a row of queries.…_STANDING.

    Raises Refusal: CALLER_INACTIVE, and those of `sight`.
    """
    if not row["is_active"]:
        raise caller_inactive()
    if isinstance(caller, Agent):
        now: Caller = replace(caller, scopes=frozenset(map(Scope, row["scopes"] or ())))
    else:
        assert isinstance(caller, User)
        now = replace(caller, is_superuser=row["is_superuser"])
    return begin(now, project_id, row if row["log_id"] else None)


def saw_the_end(was: Standing, caller: Caller, project_id: UUID, row: Row) -> bool:
    """Whether the project was deleted: a caller who could read its log is shown that, and all
    before. An agent has gone with it."""
    is_there = row["is_active"] or isinstance(caller, Agent)
    return bool(row["log_id"] and is_there and not was.is_gone and _is_gone(project_id, row))


def at_the_end(was: Standing, row: Row) -> Standing:
    """What a caller may still read of a log that `saw_the_end`."""
    return was._replace(last=row["last"], is_gone=True)


def gone(project_id: UUID) -> Refusal:
    """There is no such project, or no more."""
    return not_found(Reason.PROJECT_NOT_FOUND, project_id)


def _of(caller: Caller, project_id: UUID, row: Row, seen: Sight) -> Standing:
    keys = row["found_role"] in Permission.ADMINISTER.roles
    if isinstance(caller, User):
        keys |= caller.is_superuser
    is_gone = _is_gone(project_id, row)
    return Standing(row["log_id"], row["first"], row["last"], seen, keys, is_gone)


def _is_gone(project_id: UUID, row: Row) -> bool:
    return bool(row["is_deleted"]) and project_id != NIL
