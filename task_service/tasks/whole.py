"""Changes that are one statement, unless what it finds needs a transaction."""

from shared.database.transaction import Database
from shared.resources.idempotency import IdempotentCall, M, Work


class Whole(Exception):  # noqa: N818
    """A statement alone declines: a lease has to end, or other tasks may be concerned."""


async def alone_or_whole(
    call: IdempotentCall[M], database: Database, alone: Work, whole: Work
) -> M:
    """Run `alone` as one statement; if that raises Whole, `whole` as a transaction instead.

    A statement that has waited for a row sees of other tables what was there before (a snapshot),
    so it cannot go on by itself: the transaction looks again when it has the row.
    """
    try:
        return await call.single(database, alone)
    except Whole:
        return await call.transaction(database, whole)
