"""Members out of rows."""

from shared.resources.building import Row
from tandem.agent.v1 import member_service_pb2 as pb

TO_ROLE = {
    "viewer": pb.MEMBER_ROLE_VIEWER,
    "editor": pb.MEMBER_ROLE_EDITOR,
    "admin": pb.MEMBER_ROLE_ADMIN,
}


def member(row: Row) -> pb.Member:
    """A row as a message."""
    return pb.Member(
        project_id=str(row["project_id"]),
        user_id=str(row["user_id"]),
        role=TO_ROLE[row["role"]],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
        username=row["username"],
    )
