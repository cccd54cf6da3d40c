"""The exception of everything in here that cannot be done."""


class LocalError(Exception):
    """This machine does not allow what was asked. The message is a sentence for the user."""
