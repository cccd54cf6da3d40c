"""The embedded PostgreSQL: what runs where no TANDEM_DATABASE_URL names another."""

from local.embedded_postgres.borrow import borrow
from local.embedded_postgres.errors import EmbeddedPostgresError
from local.embedded_postgres.server import Server, running_url, start

__all__ = ["EmbeddedPostgresError", "Server", "borrow", "running_url", "start"]
