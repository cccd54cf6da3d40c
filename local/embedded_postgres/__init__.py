"""The embedded PostgreSQL: the database if TANDEM_DATABASE_URL is not set."""

from local.embedded_postgres.command import server_for_command
from local.embedded_postgres.errors import EmbeddedPostgresError
from local.embedded_postgres.server import Server, running_url, start

__all__ = ["EmbeddedPostgresError", "Server", "running_url", "server_for_command", "start"]
