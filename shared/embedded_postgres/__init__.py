"""The embedded PostgreSQL: what runs where no TANDEM_DATABASE_URL names another."""

from shared.embedded_postgres.borrow import borrow
from shared.embedded_postgres.errors import EmbeddedPostgresError
from shared.embedded_postgres.server import Server, running_url, start

__all__ = ["EmbeddedPostgresError", "Server", "borrow", "running_url", "start"]
