"""The one exception of the embedded PostgreSQL."""


class EmbeddedPostgresError(Exception):
    """The embedded PostgreSQL cannot be had. The message is a sentence for whoever asked for it."""
