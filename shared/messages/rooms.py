"""Rooms and participants out of rows."""

from shared.resources.building import Row
from tandem.agent.v1 import room_service_pb2 as pb

# The columns of a participant's row of which one says who it is.
MEMBERS = ("agent_id", "user_id")


def room(row: Row) -> pb.Room:
    """A row as a message."""
    return pb.Room(
        id=str(row["id"]),
        project_id=str(row["project_id"]),
        name=row["name"],
        description=row["description"],
        created_by=row["created_by"] and str(row["created_by"]),
        created_by_agent_id=row["created_by_agent_id"] and str(row["created_by_agent_id"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
    )


def participant(row: Row) -> pb.Participant:
    """A participant's row as a message."""
    return pb.Participant(
        id=str(row["id"]),
        room_id=str(row["room_id"]),
        joined_at=row["joined_at"],
        **{name: str(row[name]) for name in MEMBERS if row[name] is not None},
    )
