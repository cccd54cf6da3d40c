"""API keys out of rows."""

from shared.resources.building import Row
from tandem.agent.v1 import auth_service_pb2 as pb

TO_STATUS = {
    "active": pb.API_KEY_STATUS_ACTIVE,
    "revoked": pb.API_KEY_STATUS_REVOKED,
    "expired": pb.API_KEY_STATUS_EXPIRED,
}
TO_SCOPE = {
    "claim_tasks": pb.API_KEY_SCOPE_CLAIM_TASKS,
    "read_project": pb.API_KEY_SCOPE_READ_PROJECT,
    "create_tasks": pb.API_KEY_SCOPE_CREATE_TASKS,
    "manage_tasks": pb.API_KEY_SCOPE_MANAGE_TASKS,
    "manage_rooms": pb.API_KEY_SCOPE_MANAGE_ROOMS,
}


def api_key(row: Row) -> pb.ApiKey:
    """A row as a message."""
    creator = row["created_by_id"]
    return pb.ApiKey(
        id=str(row["id"]),
        project_id=str(row["project_id"]),
        agent_id=str(row["agent_id"]),
        key_id=row["key_id"],
        key_prefix=row["key_prefix"],
        capabilities=row["capabilities"],
        scopes=map(TO_SCOPE.__getitem__, row["scopes"]),
        status=TO_STATUS[row["status"]],
        expires_at=row["expires_at"],
        last_used_at=row["last_used_at"],
        created_by_id=None if creator is None else str(creator),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
    )
