"""Users out of rows."""

from shared.resources.building import Row
from tandem.agent.v1.auth_service_pb2 import User


def user(row: Row) -> User:
    """A row as a message."""
    return User(
        id=str(row["id"]),
        username=row["username"],
        email=row["email"],
        full_name=row["full_name"],
        is_active=row["is_active"],
        is_superuser=row["is_superuser"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
    )
