"""Tasks out of rows."""

from shared.resources.building import Row
from shared.resources.struct_json import to_struct
from tandem.task.v1 import task_service_pb2 as pb

TO_STATUS = {
    "pending": pb.TASK_STATUS_PENDING,
    "in_progress": pb.TASK_STATUS_IN_PROGRESS,
    "review": pb.TASK_STATUS_REVIEW,
    "blocked": pb.TASK_STATUS_BLOCKED,
    "completed": pb.TASK_STATUS_COMPLETED,
    "failed": pb.TASK_STATUS_FAILED,
    "cancelled": pb.TASK_STATUS_CANCELLED,
}
TO_PRIORITY = {
    None: pb.TASK_PRIORITY_UNSPECIFIED,
    "low": pb.TASK_PRIORITY_LOW,
    "medium": pb.TASK_PRIORITY_MEDIUM,
    "high": pb.TASK_PRIORITY_HIGH,
    "critical": pb.TASK_PRIORITY_CRITICAL,
}
TO_TYPE = {
    None: pb.ASSIGNEE_TYPE_UNSPECIFIED,
    "agent": pb.ASSIGNEE_TYPE_AGENT,
    "user": pb.ASSIGNEE_TYPE_USER,
}


def task(row: Row) -> pb.Task:
    """A row as a message."""
    return pb.Task(
        id=str(row["id"]),
        project_id=str(row["project_id"]),
        room_id=row["room_id"] and str(row["room_id"]),
        title=row["title"],
        description=row["description"],
        status=TO_STATUS[row["status"]],
        priority=TO_PRIORITY[row["priority"]],
        assigned_to=row["assigned_to"] and str(row["assigned_to"]),
        assigned_to_type=TO_TYPE[row["assigned_to_type"]],
        created_by=row["created_by"] and str(row["created_by"]),
        created_by_agent_id=row["created_by_agent_id"] and str(row["created_by_agent_id"]),
        dependencies=row["dependencies"],
        started_at=row["started_at"],
        completed_at=row["completed_at"],
        due_date=row["due_date"],
        result=row["result"] and to_struct(row["result"]),
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        revision=row["revision"],
    )
