"""Agents out of rows."""

from shared.resources.building import Row
from shared.resources.struct_json import to_struct
from tandem.agent.v1 import agent_service_pb2 as pb

TO_STATUS = {
    "offline": pb.AGENT_STATUS_OFFLINE,
    "online": pb.AGENT_STATUS_ONLINE,
    "busy": pb.AGENT_STATUS_BUSY,
    "error": pb.AGENT_STATUS_ERROR,
}


def agent(row: Row) -> pb.Agent:
    """A row as a message."""
    return pb.Agent(
        id=str(row["id"]),
        project_id=str(row["project_id"]),
        name=row["name"],
        nickname=row["nickname"],
        agent_type=row["agent_type"],
        status=TO_STATUS[row["status"]],
        capabilities=row["capabilities"],
        config=row["config"] and to_struct(row["config"]),
        is_active=row["is_active"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
        max_leases=row["max_leases"],
    )
