"""What may happen to rooms and in them: one method, one use case, one transaction."""

from uuid import UUID

from uuid_utils.compat import uuid7

from agent_service.rooms import queries
from agent_service.rooms.queries import ROOMS
from shared.auth.caller import Caller, User, offered
from shared.auth.permissions import Permission
from shared.database.pool import Connection, Record
from shared.database.transaction import Database, translate_violations
from shared.errors import Reason, Refusal, caller_inactive, not_found
from shared.events.recording import Log, Recorder
from shared.resources.idempotency import IdempotentCall, M
from shared.resources.membership import unless_of_project
from shared.resources.pagination import Listing, Query
from shared.resources.project_scoped import PROJECTS, Refusals, Values, as_new
from shared.resources.validation import Parsed, as_uuid
from shared.schema import (
    FK_CHAT_PARTICIPANTS_AGENT,
    FK_CHAT_PARTICIPANTS_ROOM,
    FK_CHAT_PARTICIPANTS_USER,
    FK_CHAT_ROOMS_CREATED_BY,
    FK_CHAT_ROOMS_CREATED_BY_AGENT,
    FK_CHAT_ROOMS_PROJECT,
    UQ_CHAT_PARTICIPANTS_AGENT,
    UQ_CHAT_PARTICIPANTS_USER,
)


class RoomRules:
    """The use cases of rooms."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, call: IdempotentCall[M], project_id: str, room: Parsed[Values]) -> M:
        """Create a room, without participants."""

        async def work(connection: Connection, log: Recorder) -> Record:
            needed = Permission.MANAGE_ROOMS
            values = await PROJECTS.content(connection, call.caller, project_id, room, needed)
            values = {"id": uuid7(), **call.caller.as_creator, **values}
            return await ROOMS.insert(connection, log, call.caller, values, REFUSALS)

        return await call.single(self._database, work)

    async def get(self, caller: Caller, room_id: UUID) -> Record:
        """One room."""
        return await self._database.read(lambda c: ROOMS.get(c, caller, room_id))

    async def list(self, caller: Caller, project_id: str, query: Parsed[Query]) -> Listing:
        """A page of rooms."""
        return await self._database.read(
            lambda c: queries.LIST.page(c, caller, PROJECTS, project_id, query)
        )

    async def update(
        self, call: IdempotentCall[M], room_id: str, revision: int, changes: Parsed[Values]
    ) -> M:
        """Change some fields of a room."""

        async def work(connection: Connection, log: Recorder) -> Record:
            return await ROOMS.update(
                connection, log, call.caller, room_id, revision, changes, REFUSALS
            )

        return await call.single(self._database, work)

    async def delete(self, call: IdempotentCall[M], room_id: str, revision: Parsed[int]) -> M:
        """Delete a room with its participants, and take its tasks out of it.

        The room is locked first: a call that puts a task or a participant into it either has
        committed before, and is found here, or waits and then finds no room.
        """

        async def work(connection: Connection, log: Log) -> None:
            room = await ROOMS.lock_to_delete(connection, call.caller, room_id, revision)
            of_room = {"of_project": room["project_id"], "row_id": room["id"]}
            log.add(await queries.DETACH_TASKS.rows(connection, **of_room))
            await ROOMS.delete(connection, log, room["id"])

        return await call.transaction(self._database, work)

    async def add_participant(
        self, call: IdempotentCall[M], room_id: str, participant: Parsed[Values]
    ) -> M:
        """Add an agent or a user to a room. The unique constraints decide who comes first."""

        async def work(connection: Connection, log: Recorder) -> Record:
            who = await ROOMS.content(connection, call.caller, room_id, participant)
            new = as_new({"id": uuid7(), **who})
            with translate_violations(PARTICIPANT_REFUSALS, {"room_id": room_id, **who}):
                outcome = await ROOMS.decide(
                    connection, log, call.caller, queries.ADD_PARTICIPANT, UUID(room_id), **new
                )
            if outcome.row is None:
                user_id, project_id = who["user_id"], outcome.found["found_project_id"]
                missing = not_found(Reason.USER_NOT_FOUND, user_id)
                raise await unless_of_project(connection, project_id, user_id, missing)
            return outcome.row

        return await call.single(self._database, work)

    async def remove_participant(
        self, call: IdempotentCall[M], room_id: str, user_id: str, participant: Parsed[Values]
    ) -> M:
        """Take an agent or a user out of a room. The user with this id, if any, may leave."""
        needed, change = Permission.MANAGE_ROOMS, queries.REMOVE_PARTICIPANT
        if isinstance(call.caller, User) and as_uuid(user_id) == call.caller.id:
            needed, change = Permission.LEAVE_ROOMS, queries.LEAVE_ROOM

        async def work(connection: Connection, log: Recorder) -> None:
            who = await ROOMS.content(connection, call.caller, room_id, participant, needed)
            of_room = {"of_room": UUID(room_id), **who}
            removed = await log.run(connection, change, offered(call.caller), of_room)
            if removed is None:
                await ROOMS.require(connection, call.caller, room_id, needed)
                participant_id = who["agent_id"] or who["user_id"]
                raise not_found(Reason.PARTICIPANT_NOT_FOUND, participant_id)

        return await call.single(self._database, work)

    async def list_participants(
        self, caller: Caller, room_id: str, query: Parsed[Query]
    ) -> Listing:
        """A page of the participants of a room."""
        return await self._database.read(
            lambda c: queries.LIST_PARTICIPANTS.page(c, caller, ROOMS, room_id, query)
        )


def _taken(participant: Values) -> Refusal:
    return Refusal(
        Reason.ALREADY_PARTICIPANT,
        "The room has this participant already.",
        metadata={name: str(value) for name, value in participant.items() if value is not None},
    )


REFUSALS: Refusals = {
    FK_CHAT_ROOMS_PROJECT: lambda room: not_found(Reason.PROJECT_NOT_FOUND, room["project_id"]),
    FK_CHAT_ROOMS_CREATED_BY: lambda _room: caller_inactive(),
    FK_CHAT_ROOMS_CREATED_BY_AGENT: lambda _room: caller_inactive(),
}
# An agent of another project violates the key of agents: for this project there is no such agent.
PARTICIPANT_REFUSALS: Refusals = {
    UQ_CHAT_PARTICIPANTS_AGENT: _taken,
    UQ_CHAT_PARTICIPANTS_USER: _taken,
    FK_CHAT_PARTICIPANTS_ROOM: lambda who: not_found(Reason.ROOM_NOT_FOUND, who["room_id"]),
    FK_CHAT_PARTICIPANTS_AGENT: lambda who: not_found(Reason.AGENT_NOT_FOUND, who["agent_id"]),
    FK_CHAT_PARTICIPANTS_USER: lambda who: not_found(Reason.USER_NOT_FOUND, who["user_id"]),
}
