"""The exception of the supervisor and of the addresses."""


class LocalError(Exception):
    """This machine does not allow what was asked. The message is a sentence for the user."""
