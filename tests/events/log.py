"""The log of a project as the database has it, and its oldest events as if they were too old."""

from uuid import UUID

from shared.database.transaction import Database
from shared.events.retention import sweep

RETENTION_DAYS = 90
AGE = """
UPDATE events SET at = at - interval '1000 days' WHERE project_id = $1 AND sequence <= $2
"""


async def compact(database: Database, project_id: str, through: int) -> None:
    """Remove the events up to a number, if a transaction ends with it, as their age would."""
    await database.read(lambda connection: connection.execute(AGE, UUID(project_id), through))
    while await sweep(database, RETENTION_DAYS):
        pass
