"""Every statement on rooms and their participants."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    String,
    Uuid,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
)

from agent_service.queries import detach_tasks
from shared.auth.access import RIGHTS
from shared.auth.permissions import Permission
from shared.errors import Reason
from shared.events.recording import Change, told
from shared.resources.listing import Lister
from shared.resources.membership import locked
from shared.resources.ordering import by
from shared.resources.pagination import MAXIMUM_PAGE_SIZE
from shared.resources.project_scoped import ProjectScopedTable
from shared.schema import chat_participants, chat_rooms, tasks

# Of rows with up to 64 KiB each.
BATCH_SIZE = 251

_participants = chat_participants.c

ROOMS = ProjectScopedTable(
    chat_rooms,
    Reason.ROOM_NOT_FOUND,
    Permission.READ_ROOMS,
    Permission.MANAGE_ROOMS,
    own=exists()
    .where(_participants.room_id == chat_rooms.c.id, _participants.user_id == RIGHTS["caller_id"])
    .correlate_except(chat_participants),
)

_new_user_id = bindparam("new_user_id", type_=Uuid)

DETACH_TASKS = detach_tasks("Takes the tasks of a room out of it.", "task.updated", tasks.c.room_id)


def _is_seatable(project_id: ColumnElement[Any]) -> ColumnElement[bool]:
    user = locked(_new_user_id, project_id)
    return or_(_new_user_id.is_(None), and_(user.is_of_project, user.is_active))


ADD_PARTICIPANT = ROOMS.creating_below(
    "Adds an agent, or the owner or a member of the project if active, to a room. No other user is "
    "said to exist.",
    _participants.room_id,
    ("id", "agent_id", "user_id"),
    _participants,
    _is_seatable,
)


def _remove(purpose: str, permission: Permission) -> Change:
    room = (
        select(chat_rooms.c.id)
        .select_from(ROOMS.with_project)
        .where(chat_rooms.c.id == bindparam("of_room", type_=Uuid), ROOMS.permits(permission))
        .scalar_subquery()
    )
    removed = (
        delete(chat_participants)
        .where(
            _participants.room_id == room,
            or_(
                _participants.agent_id == bindparam("agent_id", type_=Uuid),
                _participants.user_id == bindparam("user_id", type_=Uuid),
            ),
        )
        .returning(*_participants)
        .cte("removed")
    )
    purpose = f"{purpose}, if the caller may, and answers whether there was one."
    rows = select(*told(chat_participants, "participant.removed", removed, ends=True))
    return Change(purpose, [removed.c.id], removed, rows.cte("told"))


REMOVE_PARTICIPANT = _remove("Takes an agent or a user out of a room", Permission.MANAGE_ROOMS)
LEAVE_ROOM = _remove("Takes the caller out of a room", Permission.LEAVE_ROOMS)

LIST = Lister(
    chat_rooms,
    chat_rooms.c,
    filters={
        "project_id": chat_rooms.c.project_id == bindparam("project_id"),
        "name_prefix": func.starts_with(chat_rooms.c.name, bindparam("name_prefix", type_=String)),
    },
    orders={
        "created_at": by(chat_rooms.c.created_at),
        "updated_at": by(chat_rooms.c.updated_at),
        "name": by(chat_rooms.c.name),
    },
    batch_size=BATCH_SIZE,
    permission=Permission.LIST_ROOMS,
    project_of={"project_id": bindparam("project_id", type_=Uuid)},
)

_room_id = bindparam("room_id", type_=Uuid)
# The caller's own seat in the room, if it has one.
_seat = chat_participants.alias("seat")
_project_of_room = select(chat_rooms.c.project_id).where(chat_rooms.c.id == _room_id)
LIST_PARTICIPANTS = Lister(
    chat_participants,
    _participants,
    filters={"room_id": _participants.room_id == _room_id},
    orders={"joined_at": by(_participants.joined_at)},
    batch_size=MAXIMUM_PAGE_SIZE + 1,
    permission=Permission.READ_ROOMS,
    own_named=exists()
    .where(_seat.c.room_id == _room_id, _seat.c.user_id == RIGHTS["caller_id"])
    .correlate(None),
    project_of={"room_id": _project_of_room.scalar_subquery()},
)
