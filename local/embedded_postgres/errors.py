"""The exception of the embedded PostgreSQL."""

from local.errors import LocalError


class EmbeddedPostgresError(LocalError):
    """The embedded PostgreSQL cannot be started or found."""
