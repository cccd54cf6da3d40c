"""Projects out of rows."""

from shared.resources.building import Row
from shared.resources.struct_json import to_struct
from tandem.agent.v1 import project_service_pb2 as pb

TO_STATUS = {
    "active": pb.PROJECT_STATUS_ACTIVE,
    "suspended": pb.PROJECT_STATUS_SUSPENDED,
    "archived": pb.PROJECT_STATUS_ARCHIVED,
}


def project(row: Row) -> pb.Project:
    """A row as a message."""
    return pb.Project(
        id=str(row["id"]),
        owner_id=str(row["owner_id"]),
        slug=row["slug"],
        name=row["name"],
        description=row["description"],
        status=TO_STATUS[row["status"]],
        settings=row["settings"] and to_struct(row["settings"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
    )
