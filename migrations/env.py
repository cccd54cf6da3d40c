"""Runs alembic on the connection that `migrations.run` opened, or opens one for its command."""

import os

from alembic import context
from sqlalchemy import Connection

from migrations.run import be_alone, in_transaction
from shared.schema import metadata


def migrate(connection: Connection) -> None:
    be_alone(connection)
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    in_transaction(os.environ["TANDEM_DATABASE_URL"], migrate)
