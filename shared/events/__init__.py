"""The log of what changes: how an event comes into it, and how long it stays there."""
