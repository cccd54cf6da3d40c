"""The embedded PostgreSQL: the database if TANDEM_DATABASE_URL is not set."""

from local.embedded_postgres.command import server_for_command
from local.embedded_postgres.server import Server, start

__all__ = ["Server", "server_for_command", "start"]
