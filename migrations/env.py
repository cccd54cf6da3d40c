"""Alembic's environment: runs on the connection of `migrations.run`, or opens its own.

It opens its own for Alembic's command line, with the URL in `TANDEM_DATABASE_OWNER_URL`, or
else in `TANDEM_DATABASE_URL`.
"""

from alembic import context
from sqlalchemy import Connection

from migrations.transaction import in_transaction, lock_out_other_migrators
from shared.schema import metadata
from shared.settings import SettingsError, load_settings


def migrate(connection: Connection) -> None:
    lock_out_other_migrators(connection)
    context.configure(connection=connection, target_metadata=metadata)
    with context.begin_transaction():
        context.run_migrations()


if (given := context.config.attributes.get("connection")) is not None:
    migrate(given)
else:
    settings = load_settings()
    url = settings.database_owner_url or settings.database_url
    if url is None:
        raise SettingsError("Set TANDEM_DATABASE_OWNER_URL or TANDEM_DATABASE_URL.")
    in_transaction(url.get_secret_value(), migrate)
