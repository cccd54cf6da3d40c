"""Every statement on rooms and their participants."""

from functools import lru_cache

from sqlalchemy import (
    String,
    Uuid,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
)

from agent_service.queries import clear
from shared.auth.access import writable
from shared.database.statement import Statement
from shared.errors import Reason
from shared.resources.listing import Lister
from shared.resources.pagination import MAXIMUM_PAGE_SIZE
from shared.resources.project_scoped import Owned, found, new_values
from shared.schema import chat_participants, chat_rooms, projects, tasks, users

# Of rows with up to 64 KiB each.
PORTION = 251
PARTICIPANT_BYTES = 200

ROOMS = Owned(chat_rooms, Reason.ROOM_NOT_FOUND)

_agent_id = bindparam("agent_id", type_=Uuid)
_user_id = bindparam("user_id", type_=Uuid)
_members = chat_participants.c

# Creates a room.
CREATE = ROOMS.insert(("id", "project_id", "name", "description", "created_by"))


@lru_cache(maxsize=8)
def update_fields(names: frozenset[str]) -> Statement:
    """Changes these columns."""
    return ROOMS.update(new_values(chat_rooms, sorted(names)))


# Takes the tasks of a room out of it.
CLEAR_TASKS = clear(tasks.c.room_id, "of_room")

# Deletes a room; its participants go with it by their foreign key.
DELETE = Statement(delete(chat_rooms).where(chat_rooms.c.id == bindparam("id")))

_room = ROOMS.parent("of_room")
_added = (
    insert(chat_participants)
    .from_select(
        ["id", "project_id", "room_id", "agent_id", "user_id"],
        select(
            bindparam("id", type_=Uuid),
            _room.c.project_id,
            _room.c.id,
            _agent_id,
            _user_id,
        ).where(
            writable(_room.c.owner_id, _room.c.project_status),
            or_(_user_id.is_(None), exists().where(users.c.id == _user_id, users.c.is_active)),
        ),
    )
    .returning(*_members)
    .cte("added")
)
# Adds an agent or an active user to the room `of_room`, where the caller may. Answers as
# Owned.update does; a participant without an id is a user who is not there or not active.
ADD_PARTICIPANT = Statement(
    select(*found(_room), *_added.c).select_from(_room.outerjoin(_added, true()))
)

# Takes an agent or a user out of a room, and answers whether there was one.
REMOVE_PARTICIPANT = Statement(
    delete(chat_participants)
    .where(
        _members.room_id == bindparam("of_room"),
        or_(_members.agent_id == _agent_id, _members.user_id == _user_id),
    )
    .returning(_members.id)
)

LIST = Lister(
    select(*chat_rooms.c).select_from(ROOMS.with_project),
    chat_rooms.c.id,
    filters={
        "project_id": chat_rooms.c.project_id == bindparam("project_id"),
        "name_prefix": func.starts_with(chat_rooms.c.name, bindparam("name_prefix", type_=String)),
    },
    orders={
        "created_at": chat_rooms.c.created_at,
        "updated_at": chat_rooms.c.updated_at,
        "name": chat_rooms.c.name,
    },
    weight=lambda row: len(row["description"] or ""),
    portion=PORTION,
)

LIST_PARTICIPANTS = Lister(
    select(*_members).select_from(
        chat_participants.join(projects, projects.c.id == _members.project_id)
    ),
    _members.id,
    filters={"room_id": _members.room_id == bindparam("room_id")},
    orders={"joined_at": _members.joined_at},
    weight=lambda _row: PARTICIPANT_BYTES,
    portion=MAXIMUM_PAGE_SIZE + 1,
)
