"""What may happen to rooms and in them: one method, one use case, one transaction."""

from collections.abc import Callable
from functools import partial
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.rooms import queries
from agent_service.rooms.queries import ROOMS
from shared.auth.access import as_uuid, require_project
from shared.auth.caller import Caller
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.errors import Reason, Refusal, caller_inactive, not_found
from shared.resources.idempotency import M, Mutation
from shared.resources.listing import Listing, Query
from shared.resources.project_scoped import created, require_revision
from shared.resources.validation import read_after_access
from shared.schema import (
    FK_CHAT_PARTICIPANTS_AGENT,
    FK_CHAT_PARTICIPANTS_ROOM,
    FK_CHAT_PARTICIPANTS_USER,
    FK_CHAT_ROOMS_CREATED_BY,
    FK_CHAT_ROOMS_PROJECT,
    UQ_CHAT_PARTICIPANTS_AGENT,
    UQ_CHAT_PARTICIPANTS_USER,
)

Values = dict[str, Any]


class RoomRules:
    """The use cases of rooms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, call: Mutation[M], project_id: str, read: Callable[[], Values]) -> M:
        """Create a room, with nobody in it."""

        async def work(connection: Connection) -> Record:
            access = partial(require_project, connection, call.caller, project_id)
            values = await read_after_access(read, access)
            refusals = {
                FK_CHAT_ROOMS_PROJECT: not_found(Reason.PROJECT_NOT_FOUND, project_id),
                FK_CHAT_ROOMS_CREATED_BY: caller_inactive(),
            }
            with translate_violations(refusals):
                row = await queries.CREATE.row(
                    connection,
                    **call.caller.rights,
                    id=uuid7(),
                    created_by=call.caller.id,
                    **values,
                )
            return created(row, call.caller, values["project_id"])

        return await call.single(self._database, work)

    async def get(self, caller: Caller, room_id: UUID) -> Record:
        """One room."""
        return await self._database.read(lambda c: ROOMS.get(c, caller, room_id))

    async def list(self, caller: Caller, project_id: str, read: Callable[[], Query]) -> Listing:
        """A page of rooms."""
        access = partial(require_project, caller=caller, project_id=project_id)
        return await queries.LIST.page(self._database, caller, read, access)

    async def update(
        self, call: Mutation[M], room_id: str, revision: int, read: Callable[[], Values]
    ) -> M:
        """Change some fields of a room."""

        async def work(connection: Connection) -> Record:
            access = partial(self._require_room, connection, call.caller, room_id)
            values = await read_after_access(read, access)
            row = await queries.update_fields(frozenset(values)).row(
                connection,
                **call.caller.rights,
                id=UUID(room_id),
                revision=revision,
                **{f"new_{name}": value for name, value in values.items()},
            )
            return ROOMS.written(row, call.caller, UUID(room_id), revision)

        return await call.single(self._database, work)

    async def delete(self, call: Mutation[M], room_id: str, read: Callable[[], int]) -> M:
        """Delete a room with its participants, and take its tasks out of it.

        The room is locked first: whoever puts a task or somebody into it either has committed
        before, and is found here, or waits and then finds no room.
        """

        async def work(connection: Connection) -> None:
            access = partial(self._require_room, connection, call.caller, room_id)
            revision = await read_after_access(read, access)
            room = await ROOMS.lock(connection, call.caller, UUID(room_id))
            require_revision(revision, room["revision"])
            await queries.CLEAR_TASKS.run(
                connection, of_project=room["project_id"], of_room=room["id"]
            )
            await queries.DELETE.run(connection, id=room["id"])

        return await call.transaction(self._database, work)

    async def add_participant(
        self, call: Mutation[M], room_id: str, read: Callable[[], Values]
    ) -> M:
        """Add an agent or a user to a room. The unique constraints decide who comes first."""

        async def work(connection: Connection) -> Record:
            access = partial(self._require_room, connection, call.caller, room_id)
            member = await read_after_access(read, access)
            with translate_violations(_refusals(UUID(room_id), member)):
                answer = await queries.ADD_PARTICIPANT.row(
                    connection, **call.caller.rights, id=uuid7(), of_room=UUID(room_id), **member
                )
            row = ROOMS.written(answer, call.caller, UUID(room_id))
            if row["id"] is None:
                raise not_found(Reason.USER_NOT_FOUND, member["user_id"])
            return row

        return await call.single(self._database, work)

    async def remove_participant(
        self, call: Mutation[M], room_id: str, read: Callable[[], Values]
    ) -> M:
        """Take an agent or a user out of a room."""

        async def work(connection: Connection) -> None:
            access = partial(self._require_room, connection, call.caller, room_id)
            member = await read_after_access(read, access)
            await access()
            removed = await queries.REMOVE_PARTICIPANT.row(
                connection, of_room=UUID(room_id), **member
            )
            if removed is None:
                who = member["agent_id"] or member["user_id"]
                raise not_found(Reason.PARTICIPANT_NOT_FOUND, who)

        return await call.single(self._database, work)

    async def list_participants(
        self, caller: Caller, room_id: str, read: Callable[[], Query]
    ) -> Listing:
        """A page of the participants of a room."""
        access = partial(self._require_room, caller=caller, room_id=room_id)
        return await queries.LIST_PARTICIPANTS.page(self._database, caller, read, access)

    async def _require_room(self, connection: Connection, caller: Caller, room_id: str) -> None:
        known = as_uuid(room_id)
        if known is not None:
            await ROOMS.get(connection, caller, known)


def _refusals(room_id: UUID, member: Values) -> dict[str, Refusal]:
    """What the constraints of a participant stand for. An agent of another project is none."""
    metadata = {name: str(value) for name, value in member.items() if value is not None}
    taken = Refusal(
        Reason.ALREADY_PARTICIPANT,
        "The room has this participant already.",
        metadata={"room_id": str(room_id), **metadata},
    )
    return {
        UQ_CHAT_PARTICIPANTS_AGENT: taken,
        UQ_CHAT_PARTICIPANTS_USER: taken,
        FK_CHAT_PARTICIPANTS_ROOM: not_found(Reason.ROOM_NOT_FOUND, room_id),
        FK_CHAT_PARTICIPANTS_AGENT: not_found(Reason.AGENT_NOT_FOUND, member["agent_id"]),
        FK_CHAT_PARTICIPANTS_USER: not_found(Reason.USER_NOT_FOUND, member["user_id"]),
    }
