"""Alembic's environment: runs on the connection of `migrations.run`, or opens its own.

It opens its own for Alembic's command line, with the URL in `TANDEM_DATABASE_OWNER_URL`, or
else in `TANDEM_DATABASE_URL`.
"""

import os

from alembic import context
from sqlalchemy import Connection

from migrations.transaction import in_transaction, lock_out_other_migrators
from shared.schema import metadata


def migrate(connection: Connection) -> None:
    lock_out_other_migrators(connection)
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    url = os.environ.get("TANDEM_DATABASE_OWNER_URL") or os.environ["TANDEM_DATABASE_URL"]
    in_transaction(url, migrate)
