"""The event log of projects: lists of it, and streams."""
