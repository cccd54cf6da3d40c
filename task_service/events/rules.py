"""Which events may be read: one method, one use case."""

from uuid import UUID

from shared.auth.caller import Caller
from shared.database.pool import Connection
from shared.database.transaction import Database
from shared.resources.validation import Parsed, as_uuid
from task_service.events import queries
from task_service.events.reading import Events, Query, read_page
from task_service.events.visible import sight


class EventRules:
    """The use cases of logs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, caller: Caller, project_id: str, query: Parsed[Query]) -> Events:
        """A page of events."""

        async def unit_of_work(connection: Connection) -> Events:
            known = as_uuid(project_id)
            if query.refusal is not None and known is not None:
                head = await queries.LOG.row(connection, caller.rights, project_id=known)
                sight(caller, known, head)
            given = query.value
            return await read_page(connection, caller, UUID(project_id), given)

        return await self._database.read(unit_of_work)
