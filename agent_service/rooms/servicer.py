"""RoomService: messages in, messages out."""

from google.protobuf.empty_pb2 import Empty

from agent_service.rooms import messages
from agent_service.rooms.rules import RoomRules
from shared.auth.caller import caller
from shared.grpc_server.interceptor import Context
from shared.messages import rooms
from shared.resources.idempotency import idempotent_call, to_empty
from shared.resources.pagination import Pager
from shared.resources.validation import parse, read_changes, read_id, read_revision
from tandem.agent.v1 import room_service_pb2 as pb
from tandem.agent.v1.room_service_pb2_grpc import RoomServiceServicer


class RoomServicer(RoomServiceServicer):
    """Translates and delegates; the methods are described in the proto."""

    def __init__(self, rules: RoomRules, pager: Pager) -> None:
        self._rules = rules
        self._pager = pager

    async def CreateRoom(self, request: pb.CreateRoomRequest, context: Context) -> pb.Room:
        return await self._rules.create(
            idempotent_call(request, rooms.room, pb.Room),
            request.room.project_id,
            parse(messages.new_room, request),
        )

    async def GetRoom(self, request: pb.GetRoomRequest, context: Context) -> pb.Room:
        return rooms.room(await self._rules.get(caller(), read_id(request, "room_id")))

    async def ListRooms(
        self, request: pb.ListRoomsRequest, context: Context
    ) -> pb.ListRoomsResponse:
        query = parse(messages.query, request, self._pager)
        listing = await self._rules.list(caller(), request.project_id, query)
        return await messages.listing(listing, self._pager)

    async def UpdateRoom(self, request: pb.UpdateRoomRequest, context: Context) -> pb.Room:
        return await self._rules.update(
            idempotent_call(request, rooms.room, pb.Room),
            request.room.id,
            request.room.revision,
            parse(read_changes, request, "room", messages.COLUMNS, messages.FIXED),
        )

    async def DeleteRoom(self, request: pb.DeleteRoomRequest, context: Context) -> Empty:
        return await self._rules.delete(
            idempotent_call(request, to_empty, Empty),
            request.room_id,
            parse(read_revision, request),
        )

    async def AddParticipant(
        self, request: pb.AddParticipantRequest, context: Context
    ) -> pb.Participant:
        return await self._rules.add_participant(
            idempotent_call(request, rooms.participant, pb.Participant),
            request.room_id,
            parse(messages.member, request),
        )

    async def RemoveParticipant(
        self, request: pb.RemoveParticipantRequest, context: Context
    ) -> Empty:
        return await self._rules.remove_participant(
            idempotent_call(request, to_empty, Empty),
            request.room_id,
            request.user_id,
            parse(messages.member, request),
        )

    async def ListParticipants(
        self, request: pb.ListParticipantsRequest, context: Context
    ) -> pb.ListParticipantsResponse:
        query = parse(messages.query_of_participants, request, self._pager)
        listing = await self._rules.list_participants(caller(), request.room_id, query)
        return await messages.participants(listing, self._pager)
